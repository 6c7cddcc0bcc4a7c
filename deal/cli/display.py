"""Progress on stderr: a bar on a terminal, elsewhere lines at growing intervals."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deal.run.progress import Progress

__all__ = ["FIRST_LINE", "LAST_LINES", "Display", "describe"]

_STOPPING = (
    "stopping: waiting for the images that are being read and scored; press Ctrl-C again to end "
    "without them"
)
FIRST_LINE, LAST_LINES = 10.0, 600.0  # seconds between lines: doubled from the first on


def describe(progress: Progress) -> str:
    """``1200/10000 images, 33.1 images/s, 4:26 left, 3 errors``."""
    finished = progress.skipped + progress.done
    parts = [f"{finished}/{progress.total} {progress.what}", f"{progress.rate:.1f} images/s"]
    if progress.remaining:
        minutes, seconds = divmod(round(progress.remaining), 60)
        hours, minutes = divmod(minutes, 60)
        left = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
        parts.append(f"{left} left")
    if progress.errors:
        parts.append(f"{progress.errors} error{'s' if progress.errors > 1 else ''}")
    return ", ".join(parts)


class Display:
    """Shows the progress it is called with; a context manager.

    Parameters
    ----------
    enabled : bool
        False shows nothing.
    """

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._bar: Any = None
        self._task: Any = None
        self._last: Progress | None = None
        self._printed = time.monotonic()
        self._wait = FIRST_LINE

    def __enter__(self) -> Display:
        if self._enabled and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

            columns = SpinnerColumn(), BarColumn(), TextColumn("{task.description}")
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("opening the model", total=None)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._enabled and self._last is not None:
            print(describe(self._last), file=sys.stderr)

    def __call__(self, progress: Progress) -> None:
        """Show where the run is."""
        last, self._last = self._last, progress
        if last is not None and last.what != progress.what:
            self._end(last)
        if progress.stopping:
            if self._enabled:
                self._show(f"{_STOPPING} ({describe(progress)})")
        elif self._bar is not None:
            finished = progress.skipped + progress.done
            text = describe(progress)
            self._bar.update(self._task, description=text, completed=finished, total=progress.total)
        elif self._enabled and time.monotonic() - self._printed >= self._wait:
            self._printed = time.monotonic()
            self._wait = min(2 * self._wait, LAST_LINES)
            print(describe(progress), file=sys.stderr)

    def _end(self, last: Progress) -> None:
        """Leave a line of what is done, before something else is counted."""
        if self._bar is not None:
            self._bar.console.print(describe(last), highlight=False, markup=False)
        elif self._enabled:
            print(describe(last), file=sys.stderr)

    def _show(self, text: str) -> None:
        if self._bar is not None:
            self._bar.update(self._task, description=text)
        else:
            with suppress(RuntimeError):  # a signal may come while another line is printed
                print(text, file=sys.stderr)
