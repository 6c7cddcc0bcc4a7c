"""Progress of work in stages on stderr: bars on a terminal, else lines at growing intervals."""

from __future__ import annotations

import sys
import time
from typing import Any

from deal.cli.display import FIRST_LINE, LAST_LINES

__all__ = ["Stages"]


class Stages:
    """Shows the stages that it is called with, and how long each still takes; a context manager.

    Parameters
    ----------
    enabled : bool
        False shows nothing.
    """

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}
        self._begun: dict[str, float] = {}
        self._printed = time.monotonic()
        self._wait = FIRST_LINE

    def __enter__(self) -> Stages:
        if self._enabled and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            self._bars = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Show how much of a stage is done."""
        if self._bars is not None:
            if stage not in self._tasks:
                self._tasks[stage] = self._bars.add_task(stage, total=total)
            self._bars.update(self._tasks[stage], completed=done)
            return
        now = time.monotonic()
        begun = self._begun.setdefault(stage, now)
        if self._enabled and now - self._printed >= self._wait:
            self._printed = now
            self._wait = min(2 * self._wait, LAST_LINES)
            print(described(stage, done, total, now - begun), file=sys.stderr, flush=True)


def described(stage: str, done: int, total: int | None, seconds: float) -> str:
    """``calibrating: 12 of 64, 0:40 left``, of a stage that began ``seconds`` ago."""
    if total is None:
        return stage
    text = f"{stage}: {done} of {total}"
    if not done or not seconds:
        return text
    minutes, rest = divmod(round(seconds / done * (total - done)), 60)
    return f"{text}, {minutes}:{rest:02} left"
