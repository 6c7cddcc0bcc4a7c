"""Records about a run: progress while it works, the report at its end, and the interruption."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deal.selection import Selection

__all__ = ["InterruptedRunError", "Progress", "RunReport"]


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a run.

    Attributes
    ----------
    total : int
        Images of the pool in this shard.
    skipped : int
        Images that an earlier run stored.
    done : int
        Images that this run finished, including errors and duplicates.
    errors : int
        Images that failed in this run.
    seconds : float
        Time since the run began to read the pool.
    stopping : bool
        A signal arrived, and the run waits for the images that are being read and scored.
    what : str
        What is counted: ``images`` that are scored, ``images screened`` before that, and after
        scoring ``previews drawn`` and ``images mapped``.
    """

    total: int
    skipped: int
    done: int
    errors: int
    seconds: float
    stopping: bool = False
    what: str = "images"

    @property
    def finished(self) -> int:
        """Number of images stored by this run or an earlier one."""
        return self.skipped + self.done

    @property
    def rate(self) -> float:
        """Images per second of this run."""
        return self.done / self.seconds if self.seconds > 0 else 0.0

    @property
    def remaining(self) -> float | None:
        """Seconds left at the present rate; None before the first image."""
        left = self.total - self.finished
        return left / self.rate if self.rate > 0 else None


class InterruptedRunError(KeyboardInterrupt):
    """SIGINT or SIGTERM ended the run; finished images are stored.

    Attributes
    ----------
    exit_code : int
        128 + the number of the signal.
    """

    def __init__(self, number: int, state: Progress) -> None:
        super().__init__(
            f"interrupted: {state.finished} of {state.total} images are stored; "
            "the same command continues from there"
        )
        self.exit_code = 128 + number


InterruptedRunError.__module__ = "deal"  # so that a traceback shows the name that users import


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    """The report of a run with ``screen``.

    Attributes
    ----------
    reason : str or None
        Why everything was scored exactly; then nothing else is known but the goal.
    goal : float
        The share of the best possible mean score that was asked for.
    kept : float
        The share that the picks reach at least, up to the goal.
    bounded : bool
        Whether ``kept`` holds with 95 % confidence; else it is an estimate
        (:func:`deal.selection.screened.is_bounded`).
    shown, folder : str
        How the pool was screened, and the output with the screen's rows.
    screened : int
        Images of this shard that the screen scored, in this run or an earlier one.
    exact, skipped : int
        Images of the output that are scored exactly, and those of this shard that are not.
    elsewhere : int
        Images of other shards that still have to be scored exactly.
    cost : float
        Estimate of the time of network and kernel, in times of scoring everything exactly.
    seconds : float
        Time of the screen in this run.
    """

    reason: str | None = None
    goal: float
    kept: float = 1.0
    bounded: bool = True
    shown: str = ""
    folder: str = ""
    screened: int = 0
    exact: int = 0
    skipped: int = 0
    elsewhere: int = 0
    cost: float = 1.0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class RunReport:
    """The report of a run.

    Attributes
    ----------
    output : Path
    total, skipped, scored, duplicates : int
        Numbers of images: in the pool (of this shard), stored by earlier runs, scored by this run,
        and found by this run to repeat others.
    errors : dict of error code to count
        Images that failed in this run.
    selection : Selection
        The selection from all rows of the output, the same as `select` returns.
    seconds : float
        Time from the first image to the last.
    busy_seconds : dict of stage to float
        Busy seconds per stage, summed over its threads: ``decode``, ``network``, ``kernel``,
        ``write``. For a network on a device, ``network`` and ``kernel`` are measured there from
        launch to end, ``transfer`` is the copy of the images to the device, and ``staging`` is the
        work of the host before that copy.
    bound_by : str
        The stage that was busy the longest, so that it limits the speed.
    notes : tuple of str
        Notes for the user.
    previews : Path or None
        The contact sheet, if one was drawn.
    maps : Path or None
        The folder of the maps, if any were stored.
    exit_code : int
        0, or 3 if images failed and no ``max_errors`` was given to allow it.
    screen : Screened or None
        What screening did, if it was asked for.
    """

    output: Path
    total: int
    skipped: int
    scored: int
    duplicates: int
    errors: dict[str, int]
    selection: Selection
    seconds: float
    busy_seconds: dict[str, float]
    bound_by: str
    notes: tuple[str, ...]
    previews: Path | None
    maps: Path | None
    exit_code: int
    screen: Screened | None = None
