"""How SIGINT and SIGTERM end a run: what is finished stays, and the same command continues."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from deal.run.progress import InterruptedRunError, Progress

__all__ = ["interruptible", "until_signal"]


@contextmanager
def until_signal(stop: Callable[[], None]) -> Iterator[list[int]]:
    """Call ``stop`` at the first SIGINT or SIGTERM and list it; a second one acts as usual.

    Signals can only be handled in the main thread; in other threads nothing changes.
    """
    received: list[int] = []
    previous: dict[int, Any] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        received.append(number)
        for other, handler in previous.items():
            signal.signal(other, handler)
        stop()

    if threading.current_thread() is threading.main_thread():
        for name in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(name)
            if handler is not signal.SIG_IGN:
                previous[name] = handler
                signal.signal(name, handle)
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def interruptible(state: Callable[[], Progress]) -> Iterator[None]:
    """Raise InterruptedRunError in the block at the first SIGINT or SIGTERM.

    For runs whose work is done elsewhere, so that nothing here has to be brought to an end.
    """

    def stop() -> None:
        raise InterruptedRunError(received[0], state())

    with until_signal(stop) as received:
        yield
