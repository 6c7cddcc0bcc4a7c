"""What makes the model of a round: deal's own training, or a command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from deal._install import pip_install
from deal.errors import DealError, OutputError
from deal.loop.config import LoopConfig
from deal.loop.labeled import Item
from deal.loop.pool import Pool
from deal.loop.training import CommandConfig

__all__ = ["HeldError", "Learner", "Task", "open_learner"]


class HeldError(OutputError):
    """Another process trains in the folder of a task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One training.

    Attributes
    ----------
    folder : Path
        Where its files go.
    labeled : tuple of Item
        What it is trained on.
    seed : int
    difficulty_loss, uncertainty : bool
        As of :class:`deal.loop.config.MethodConfig`.
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
        """Train, unless that is done, and measure.

        Parameters
        ----------
        task : Task
        say : callable
            Told one line at a time what happens.

        Returns
        -------
        dict
            ``miou``, ``accuracy``, ``iou`` by class and ``auroc`` by score, 0…1 or None.

        Raises
        ------
        DealError
            The training fails, or what it made cannot be used.
        HeldError
            Another process trains there.
        """

    def model(self, folder: Path, *, dropout: bool) -> Path:
        """The file to score with, of a folder that was learned in.

        Parameters
        ----------
        dropout : bool
            Whether passes with dropout are asked of it.
        """

    def forget(self, folder: Path) -> None:
        """Delete the networks of a folder, if they are there."""


def open_learner(config: LoopConfig) -> Learner:
    """Open data and device, or the command; errors are those of :func:`deal.loop.run_loop`."""
    if isinstance(config.training, CommandConfig):
        from deal.loop.by_command import CommandLearner

        return CommandLearner(config, config.training)
    try:
        from deal.loop.by_recipe import RecipeLearner
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise DealError(
            f"deal loop needs PyTorch for its own training: {pip_install('train')}, or give "
            "[training] command"
        ) from error
    return RecipeLearner(config, config.training)
