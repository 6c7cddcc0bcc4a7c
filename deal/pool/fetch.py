"""Reads images ahead where their order matters, between the listing of a pool and its decoding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

from deal.errors import ItemError
from deal.machine.meter import Meter
from deal.pool.inside import Held, InOrder
from deal.types import Decoded, PoolItem

__all__ = ["fetched", "without_content"]

T = TypeVar("T")


def fetched(entries: Iterable[T], meter: Meter, *, max_pixels: int) -> Iterator[T]:
    """Items with what they hold where it has to be read in order; other entries as they are."""
    for entry in entries:
        if isinstance(entry, PoolItem) and isinstance(entry.locator, InOrder):
            locator = entry.locator
            with meter("fetch"):
                try:
                    rest = locator.fetch(max_pixels)
                except ItemError as error:
                    rest = _raising(error)
            entry = replace(entry, locator=Held(locator, rest))
        yield entry


def without_content(item: PoolItem) -> PoolItem:
    """The item without what was fetched, for whoever keeps it."""
    if isinstance(item.locator, Held):
        return replace(item, locator=item.locator.origin)
    return item


def _raising(error: ItemError) -> Callable[[], bytes | Decoded]:
    def rest() -> bytes | Decoded:
        raise error

    return rest
