"""What a run tells: progress while it works, a report at its end, how it was interrupted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deal.selection import Selection

__all__ = ["InterruptedRunError", "Progress", "RunReport"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes
    ----------
    total : int
        Images of the pool, in this shard.
    skipped : int
        Stored by an earlier run.
    done : int
        Finished by this run, errors and duplicates included.
    errors : int
    seconds : float
        Since the run began to ask for images.
    stopping : bool
        A signal has ended the run, which waits for what is being read and scored.
    """

    total: int
    skipped: int
    done: int
    errors: int
    seconds: float
    stopping: bool = False

    @property
    def finished(self) -> int:
        """Images that are stored, by this run or an earlier one."""
        return self.skipped + self.done

    @property
    def rate(self) -> float:
        """Images per second of this run."""
        return self.done / self.seconds if self.seconds > 0 else 0.0

    @property
    def remaining(self) -> float | None:
        """Seconds left at this rate; None before the first image."""
        left = self.total - self.finished
        return left / self.rate if self.rate > 0 else None


class InterruptedRunError(KeyboardInterrupt):
    """SIGINT or SIGTERM ended the run; what was finished is stored.

    Attributes
    ----------
    exit_code : int
        128 + the number of the signal.
    """

    def __init__(self, number: int, state: Progress) -> None:
        super().__init__(
            f"interrupted: {state.finished} of {state.total} images are stored; "
            "the same command goes on from there"
        )
        self.exit_code = 128 + number


InterruptedRunError.__module__ = "deal"  # as users import it, and so as a traceback names it


@dataclass(frozen=True, slots=True)
class RunReport:
    """What a run did.

    Attributes
    ----------
    output : Path
    total, skipped, scored, duplicates : int
        Images in the pool (of this shard), stored before, scored now, found to repeat others now.
    errors : dict of error code to count
        Images that failed in this run.
    selection : Selection
        Over every row of the output, the same as `select` gives.
    seconds : float
        From the first image to the last.
    busy_seconds : dict of stage to float
        Sum over the stage's threads: ``decode``, ``network``, ``kernel``, ``write``. Of a network
        on a device ``network`` and ``kernel`` are what it measures from their launch to their end,
        ``transfer`` is that of the images to it, ``staging`` the host's part before.
    bound_by : str
        The stage whose threads, or part of the device, was busy the longest.
    notes : tuple of str
        What the user should hear.
    previews : Path or None
    exit_code : int
        0, or 3 when inputs were quarantined and no ``max_errors`` allowed it.
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
    exit_code: int
