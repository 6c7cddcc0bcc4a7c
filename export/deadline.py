"""Work in stages that ends by a deadline and reports its progress."""

from __future__ import annotations

import time
from collections.abc import Callable

from deal.errors import ModelError

__all__ = ["Deadline", "OutOfTimeError", "Progress"]

Progress = Callable[[str, int, int | None], None]
"""Called with a stage, how much of it is done, and how much there is, if that is known."""

_ENOUGH = 16  # steps of a stage after which its length is estimated
_CAUTION = 1.5


class OutOfTimeError(ModelError):
    """The time has run out, or will before the stage ends."""


class Deadline:
    """Pass progress on until the time has run out.

    Parameters
    ----------
    seconds : float
        From now on.
    report : Progress
    """

    def __init__(self, seconds: float, report: Progress) -> None:
        self._minutes = seconds / 60
        self._end = time.monotonic() + seconds
        self._report = report
        self._stage, self._begin = "", 0.0

    @property
    def left(self) -> float:
        """Seconds."""
        return self._end - time.monotonic()

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Report; raises OutOfTimeError if the stage cannot end in time."""
        if stage != self._stage:
            self._stage, self._begin = stage, time.monotonic()
        self._report(stage, done, total)
        remaining = 0.0
        if total is not None and done >= _ENOUGH:
            remaining = (time.monotonic() - self._begin) / done * (total - done)
        if self.left > 0 and remaining <= _CAUTION * self.left:
            return
        more = f", and the rest would take {remaining / 60:.1f} minutes" if remaining else ""
        raise OutOfTimeError(
            f"--search-minutes {self._minutes:g} is too short: {stage} is at {done}"
            f"{'' if total is None else f' of {total}'}{more}; nothing is written. Give more "
            "minutes, or smaller images"
        )
