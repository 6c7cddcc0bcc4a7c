"""SIGTERM ends a command as Ctrl-C does: what it began is cleared away first."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["TerminatedError", "cleared_on_sigterm"]


class TerminatedError(KeyboardInterrupt):
    """SIGTERM came; the command line exits with 143."""

    exit_code = 128 + signal.SIGTERM


@contextmanager
def cleared_on_sigterm() -> Iterator[None]:
    """Raise TerminatedError where SIGTERM arrives, in the main thread."""

    def end(number: int, frame: FrameType | None) -> None:
        raise TerminatedError("terminated; nothing is left behind")

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:  # not the main thread, to which signals are no matter
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
