"""Which images of a pool a small network learns from, and on which it is measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from deal.errors import ItemError, PoolError
from deal.machine.meter import Meter
from deal.pool.decode import decode
from deal.pool.fetch import Fetcher
from deal.pool.listing import Pool
from deal.types import MAX_PIXELS, FailedItem, PoolItem

__all__ = ["LEAST", "Drawn", "drawn", "read"]

LEAST = 32
"""Images that can be learned from."""

_HELD_OUT = 5  # a fifth as many images are held out as are learned from
_MOST_HELD_OUT = 200
_LISTED = 2  # times as many are listed as are needed, since a share by a hash varies


@dataclass(frozen=True)
class Drawn:
    """Images of a pool, in the order in which it lists them, as files that hold many want it.

    Attributes
    ----------
    learned, held_out : list of PoolItem
    missing : int
        Images that were drawn and cannot be listed.
    """

    learned: list[PoolItem]
    held_out: list[PoolItem]
    missing: int


def drawn(pool: Pool, images: int) -> Drawn:
    """Draw images by a hash of their ids, evenly and always the same.

    Parameters
    ----------
    pool : Pool
    images : int
        To learn from. A fifth as many others, and at most 200, are held out.

    Raises
    ------
    PoolError
        Fewer than 32 can be listed.
    """
    count = images + min(images // _HELD_OUT, _MOST_HELD_OUT)
    share = min(_LISTED * count / max(pool.count(), 1), 1.0)
    entries = list(pool.only(lambda name: _place(name) < share))
    found: dict[int, PoolItem] = {}  # by the place in the list, in the order of the draw
    missing = 0
    for index in sorted(range(len(entries)), key=lambda index: _rank(entries[index])):
        entry = entries[index]
        if len(found) == count:
            break
        if isinstance(entry, FailedItem):
            missing += 1
        else:
            found[index] = entry
    if len(found) < LEAST:
        raise PoolError(
            f"the pool has {len(found)} images that can be read; a small network needs at least "
            f"{LEAST} to learn from"
        )
    order, held = list(found), min(len(found) // (_HELD_OUT + 1), _MOST_HELD_OUT)
    return Drawn(
        learned=[found[index] for index in sorted(order[held:])],
        held_out=[found[index] for index in sorted(order[:held])],
        missing=missing,
    )


def read(items: Sequence[PoolItem]) -> Iterator[tuple[PoolItem, NDArray[np.uint8] | None]]:
    """Decode images: uint8 [H, W, 3], or None for one that cannot be read."""
    for item in Fetcher(Meter(), max_pixels=MAX_PIXELS)(items):
        try:
            yield item, decode(item).image
        except ItemError:
            yield item, None


def _place(name: str) -> float:
    """Where an id stands in the draw, 0…1."""
    value = blake2b(name.encode(), digest_size=8, person=b"deal distill").digest()
    return int.from_bytes(value, "little") / 2**64


def _rank(entry: PoolItem | FailedItem) -> tuple[float, str]:
    """Order of the draw."""
    name = (entry.item if isinstance(entry, FailedItem) else entry).id
    return _place(name), name
