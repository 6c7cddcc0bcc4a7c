"""Threads that draw stored images, each with a session of its own on the same network."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

from deal.machine.cores import available_cores
from deal.machine.threads import ordered
from deal.scoring.session import Session

__all__ = ["Makers"]

_WORKERS = 4  # each holds an image and its maps at full size
_WORKERS_OF_A_DEVICE = 2  # one draws and writes while the network runs for the other

What = TypeVar("What")
Made = TypeVar("Made")


class Makers:
    """A context manager; leaving it closes the sessions.

    Parameters
    ----------
    session : Session
        Its networks are opened again, once per thread.
    count : int
        How many images there are.
    """

    def __init__(self, session: Session, count: int) -> None:
        most = _WORKERS if session.device == "cpu" else _WORKERS_OF_A_DEVICE
        self._workers = max(min(most, available_cores(), count), 1)
        self._session = session
        self._threads = max(available_cores() // self._workers, 1)
        self._own = threading.local()
        self._opened: list[Session] = []

    def __enter__(self) -> Makers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for session in self._opened:
            session.close()

    def each(
        self, make: Callable[[Session, What], Made], images: Iterable[What]
    ) -> Iterator[tuple[What, Made]]:
        """Map in order, a few images ahead."""

        def call(image: What) -> Made:
            return make(self._of_thread(), image)

        with ThreadPoolExecutor(self._workers, "deal-draw") as executor:
            yield from ordered(executor, call, images, 2 * self._workers)

    def _of_thread(self) -> Session:
        if not hasattr(self._own, "session"):
            self._own.session = self._session.again(threads=self._threads)
            self._opened.append(self._own.session)
        found: Session = self._own.session
        return found
