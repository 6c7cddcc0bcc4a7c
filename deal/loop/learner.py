"""The interface for training the model of a round, by deal itself or by a command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from deal.errors import OutputError, TooManyErrorsError
from deal.loop.labeled import Item
from deal.loop.pool import Pool
from deal.results.claim import OtherSettingsError
from deal.run.pipeline import score_pool

__all__ = ["HeldError", "Learner", "Task", "score_model"]


class HeldError(OutputError):
    """Another process trains in the folder of a task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One training.

    Attributes
    ----------
    folder : Path
        Folder for the files of the training.
    labeled : tuple of Item
        The items to train on.
    seed : int
    difficulty_loss, uncertainty : bool
        As in :class:`deal.loop.config.MethodConfig`.
    """

    folder: Path
    labeled: tuple[Item, ...]
    seed: int
    difficulty_loss: bool = True
    uncertainty: bool = False


class Learner(Protocol):
    """Trains networks and measures them.

    Attributes
    ----------
    pool : Pool
        The training split.
    """

    pool: Pool

    def learn(self, task: Task, say: Callable[[str], None]) -> dict[str, Any]:
        """Train, unless that is done already, and measure.

        Parameters
        ----------
        task : Task
        say : callable
            Gets messages about progress, one line per call.

        Returns
        -------
        dict
            ``miou``, ``accuracy``, ``iou`` by class and ``auroc`` by score, 0…1 or None.

        Raises
        ------
        DealError
            The training fails, or its model cannot be used.
        HeldError
            Another process trains in the folder.
        """

    def score(self, folder: Path, output: Path, options: Mapping[str, Any]) -> Path:
        """Score the pool with the network in a folder in which a training is done.

        A call that was interrupted continues.

        Parameters
        ----------
        folder : Path
        output : Path
            Folder for the results.
        options : mapping
            Of :func:`deal.score_pool`.

        Returns
        -------
        Path
            The file of the network, to name it in errors.
        """

    def has_network(self, folder: Path) -> bool:
        """Whether the network of a training is in its folder, to score with."""

    def forget(self, folder: Path) -> None:
        """Delete the networks in a folder, if there are any."""


def score_model(pool: Pool, model: Path, output: Path, options: Mapping[str, Any]) -> Path:
    """:meth:`Learner.score` with the code that users run, for a model in a file.

    Its errors name options of `deal-score`, which a loop sets itself.
    """
    try:
        score_pool(pool.images, model=model, output=output, **options)
    except OtherSettingsError as error:
        raise OutputError(
            f"{output} holds scores of another model or engine: if [scoring] engine was changed, "
            "change it back; else delete that folder, and the same deal loop scores again"
        ) from error
    except TooManyErrorsError as error:
        raise TooManyErrorsError(
            f"images of the pool cannot be scored: the column error in {output}/images says why. "
            "Mend them, or the training if its network gives NaN, and run the same deal loop again"
        ) from error
    return model
