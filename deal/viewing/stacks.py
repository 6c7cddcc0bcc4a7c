"""Near-duplicates of the page, folded into stacks under the image that ranks first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deal.viewing.pack import valid

if TYPE_CHECKING:
    from deal.viewing.rows import Pool

__all__ = ["THRESHOLD", "near_duplicates", "stacks"]

THRESHOLD = 3
"""Grey levels within which two images are near-duplicates."""


def stacks(pool: Pool, signatures: dict[int, NDArray[np.uint8]]) -> NDArray[np.uint32]:
    """For each row 1 + the row that it is folded under; 0 for rows that stand for themselves.

    Rows that a run stored as duplicates go under what they repeat. Of the rows with a signature,
    each goes under the first row in the order of rank and place that it is a near-duplicate of.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    leaders = np.zeros(len(pool), np.uint32)
    named = pool.table.column("duplicate_of").cast(pa.large_string())
    found = pc.index_in(named, pool.ids)
    known = valid(found) & valid(named)
    leaders[known] = found.fill_null(0).to_numpy()[known] + 1
    last = len(pool) + pool.total + 1
    order = sorted(
        (row for row in signatures if not leaders[row]),
        key=lambda row: (pool.picks[row] or last, pool.places[row] or last, row),
    )
    alike = near_duplicates([signatures[row] for row in order])
    for row, leader in zip(order, alike, strict=True):
        if leader >= 0:
            leaders[row] = order[leader] + 1
    return leaders


def near_duplicates(
    signatures: list[NDArray[np.uint8]], threshold: int = THRESHOLD
) -> NDArray[np.int64]:
    """For each signature the first kept one within the threshold; −1 for those that are kept.

    Two are alike if the mean absolute difference of their pixels, each without its mean, is at most
    ``threshold`` grey levels; in integers, so the answer is exact.
    """
    leaders = np.full(len(signatures), -1, np.int64)
    if not signatures:
        return leaders
    flat = np.stack(signatures).reshape(len(signatures), -1).astype(np.int32)
    count = flat.shape[1]
    kept: list[int] = []
    held = np.empty_like(flat)
    for index, own in enumerate(flat):
        delta = held[: len(kept)] - own
        centered = np.abs(count * delta - delta.sum(axis=1, keepdims=True)).sum(axis=1)
        near = np.flatnonzero(centered <= threshold * count * count)
        if len(near):
            leaders[index] = kept[near[0]]
        else:
            held[len(kept)] = own
            kept.append(index)
    return leaders
