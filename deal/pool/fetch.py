"""Gets images ahead of their decoding: from a network many at once, from some files in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from threading import Lock
from typing import Protocol, TypeVar, runtime_checkable

from deal.errors import ItemError
from deal.machine.meter import Meter
from deal.machine.threads import overlapped
from deal.pool.inside import Held, InOrder
from deal.pool.locator import LocalFile
from deal.pool.reach import Reach
from deal.pool.remote import DOWNLOADS
from deal.pool.schemes import is_remote
from deal.types import MAX_PIXELS, Decoded, PoolItem

__all__ = ["DOWNLOADS", "Fetcher", "without_content"]

T = TypeVar("T")


@runtime_checkable
class Distant(Protocol):
    """A locator whose image may lie in a store, where a request takes long and many go at once."""

    @property
    def far(self) -> int:
        """Bytes that come from there; 0 if it lies here."""

    def read(
        self, max_pixels: int = MAX_PIXELS, again: Callable[[str], object] | None = None
    ) -> bytes:
        """See `deal.pool.remote.RemoteObject.read`."""


_ROOM = 2**28  # bytes that wait to be decoded


class Fetcher:
    """Gets what items hold, where that is better done before they are decoded.

    Parameters
    ----------
    meter : Meter
        Gets the busy seconds of ``fetch`` (one thread) and ``download`` (`DOWNLOADS` threads).
    max_pixels : int

    Attributes
    ----------
    repeated : Counter of str
        Requests that had to be repeated, by reason.
    """

    def __init__(self, meter: Meter, *, max_pixels: int) -> None:
        self.repeated: Counter[str] = Counter()
        self._meter = meter
        self._max_pixels = max_pixels
        self._lock = Lock()
        self._reach = Reach()

    def __call__(self, entries: Iterable[T]) -> Iterator[T]:
        """Yield items with what they hold, and other entries as they are, in their order.

        Raises PoolError where nobody answers for a store (:mod:`deal.pool.reach`).
        """
        loaded = overlapped(entries, self._download, _size, threads=DOWNLOADS, room=_ROOM)
        return map(self._in_order, loaded)

    def notes(self) -> list[str]:
        """What the user should hear at the end."""
        if not self.repeated:
            return []
        reasons = ", ".join(f"{count} × {reason}" for reason, count in self.repeated.most_common(3))
        return [f"{self.repeated.total()} requests for images were repeated ({reasons})"]

    def _in_order(self, entry: T) -> T:
        if isinstance(entry, PoolItem) and isinstance(entry.locator, InOrder):
            with self._meter("fetch"):
                heard = self._reach.heard if is_remote(entry.uri) else _ignored
                return _held(entry, entry.locator.fetch, self._max_pixels, heard)
        return entry

    def _download(self, entry: T) -> T:
        assert isinstance(entry, PoolItem)
        locator = entry.locator
        assert isinstance(locator, Distant)

        def fetch(max_pixels: int) -> Callable[[], bytes]:
            data = locator.read(max_pixels, self._again)
            return lambda: data

        with self._meter("download"):
            return _held(entry, fetch, self._max_pixels, self._reach.heard)

    def _again(self, reason: str) -> None:
        with self._lock:
            self.repeated[reason] += 1


def without_content(item: PoolItem) -> PoolItem:
    """The item without what was fetched, for whoever keeps it."""
    if isinstance(item.locator, Held):
        return replace(item, locator=item.locator.origin)
    return item


def _size(entry: object) -> int:
    # A file on this machine comes first, since the test of a protocol takes long.
    if not isinstance(entry, PoolItem) or isinstance(entry.locator, LocalFile):
        return 0
    return entry.locator.far if isinstance(entry.locator, Distant) else 0


def _held(
    item: T,
    fetch: Callable[[int], Callable[[], bytes | Decoded]],
    max_pixels: int,
    heard: Callable[[ItemError | None], object],
) -> T:
    assert isinstance(item, PoolItem)
    try:
        rest = fetch(max_pixels)
        heard(None)
    except ItemError as error:
        heard(error)
        rest = _raising(error)
    return replace(item, locator=Held(item.locator, rest))


def _ignored(error: ItemError | None) -> None:
    pass


def _raising(error: ItemError) -> Callable[[], bytes | Decoded]:
    def rest() -> bytes | Decoded:
        raise error

    return rest
