"""The interface for training the model of a round, by deal itself or by a command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from deal.errors import OutputError
from deal.loop.labeled import Item
from deal.loop.pool import Pool

__all__ = ["HeldError", "Learner", "Task"]


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

    def model(self, folder: Path, *, dropout: bool) -> Path:
        """The file to score with, from a folder in which a training is done.

        Parameters
        ----------
        dropout : bool
            Whether the model must be able to run dropout passes.
        """

    def forget(self, folder: Path) -> None:
        """Delete the networks in a folder, if there are any."""
