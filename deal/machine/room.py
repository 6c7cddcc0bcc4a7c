"""A limit on the bytes that threads hold together."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Room"]


class Room:
    """A budget of bytes; threads get their share in the order in which they ask.

    Parameters
    ----------
    size : int
        The budget. A thread that asks for more gets all of it, and is then alone.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._free = size
        self._turn = threading.Lock()  # else small requests could overtake a large one for ever
        self._changed = threading.Condition()

    @contextmanager
    def take(self, count: int) -> Iterator[None]:
        """Hold ``count`` bytes; waits until they are free. Calls must not be nested."""
        count = min(count, self.size)
        with self._turn, self._changed:
            self._changed.wait_for(lambda: self._free >= count)
            self._free -= count
        try:
            yield
        finally:
            with self._changed:
                self._free += count
                self._changed.notify_all()
