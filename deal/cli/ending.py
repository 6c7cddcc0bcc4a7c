"""How signals end a command: SIGTERM as Ctrl-C does, and both at once when all is done."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["TerminatedError", "cleared_on_sigterm", "end_at_signals", "ended_by_signal"]


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


@contextmanager
def ended_by_signal() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or SIGTERM has asked to end; a second one ends the command at once."""
    asked: list[int] = []
    before: dict[int, object] = {}

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, ask)
    except ValueError:  # not the main thread, to which signals are no matter
        pass
    try:
        yield lambda: bool(asked)
    finally:
        restore()


def end_at_signals() -> None:
    """Let Ctrl-C end the process at once, as it does without Python.

    For a command that is done: what closes at the end would report an interruption as an error.
    """
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
