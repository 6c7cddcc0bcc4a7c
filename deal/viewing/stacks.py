"""Near-duplicates of the page, folded into stacks under the image that ranks first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deal.pool.signature import BYTES, centred, limit_of
from deal.viewing.pack import valid

if TYPE_CHECKING:
    from deal.viewing.drives import Drives
    from deal.viewing.rows import Pool

__all__ = ["THRESHOLD", "levels_of", "near_duplicates", "signatures_of", "stacks"]

THRESHOLD = 3
"""Grey levels within which two images are near-duplicates."""

_COMPARED = 3000  # rows that are compared with all others; the rest with what follows in time
_AHEAD = 64


def signatures_of(
    pool: Pool, drawn: dict[int, NDArray[np.uint8]]
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Rows with a signature and their signatures [k, 192]: stored ones, or those of pictures."""
    if "thumbnail" in pool.table.column_names:
        column = pool.table.column("thumbnail").combine_chunks()
        known = np.flatnonzero(valid(column))
        if len(known):
            kept = column.drop_null()
            data = np.frombuffer(kept.buffers()[1], np.uint8)
            start = kept.offset * BYTES
            return known, data[start : start + len(kept) * BYTES].reshape(-1, BYTES)
    rows = np.array(sorted(drawn), np.int64)
    if not len(rows):
        return rows, np.empty((0, BYTES), np.uint8)
    return rows, np.stack([drawn[row].reshape(-1) for row in rows.tolist()])


def levels_of(metadata: Mapping[str, Any]) -> float:
    """Grey levels within which the selection took two images for near-duplicates; 3 by default."""
    near = (metadata.get("spreading") or {}).get("near_duplicates") or {}
    return float(near.get("levels") or THRESHOLD)


def stacks(
    pool: Pool,
    drives: Drives,
    rows: NDArray[np.int64],
    signatures: NDArray[np.uint8],
    levels: float = THRESHOLD,
) -> NDArray[np.uint32]:
    """For each row 1 + the row that it is folded under; 0 for rows that stand for themselves.

    Rows that a run stored as duplicates go under what they repeat. The picks and the best others,
    3,000 in all, each go under the first row in the order of rank and place that they are
    near-duplicates of. The rows of a larger pool are compared along their drives: with the last one
    that stands for itself.

    Parameters
    ----------
    rows, signatures : ndarray of int64 [k] and of uint8 [k, 192]
        As :func:`signatures_of` gives them.
    levels : float
        Grey levels within which two images are near-duplicates.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    leaders = np.zeros(len(pool), np.uint32)
    named = pool.table.column("duplicate_of").cast(pa.large_string())
    found = pc.index_in(named, pool.ids)
    known = valid(found) & valid(named)
    leaders[known] = found.fill_null(0).to_numpy()[known] + 1
    last = len(pool) + pool.total + 1
    open_rows = np.flatnonzero(leaders[rows] == 0)
    picks, places = pool.picks[rows[open_rows]], pool.places[rows[open_rows]]
    keys = [np.where(places > 0, places, last), np.where(picks > 0, picks, last)]
    order = open_rows[np.lexsort([rows[open_rows], *keys])]
    first = order[:_COMPARED]
    alike = near_duplicates(signatures[first], levels)
    folded = alike >= 0
    leaders[rows[first[folded]]] = rows[first[alike[folded]]] + 1
    if len(order) > _COMPARED:
        _along(leaders, drives, rows, signatures, levels)
    higher = leaders[leaders.astype(np.int64) - 1]  # of what a duplicate repeats, if that is folded
    return np.where((leaders > 0) & (higher > 0), higher, leaders).astype(np.uint32)


def near_duplicates(
    signatures: NDArray[np.uint8], threshold: float = THRESHOLD
) -> NDArray[np.int64]:
    """For each signature the first kept one within the threshold; −1 for those that are kept.

    Two are alike if the mean absolute difference of their pixels, each without its mean, is at most
    ``threshold`` grey levels (:mod:`deal.pool.signature`).
    """
    leaders = np.full(len(signatures), -1, np.int64)
    whole = centred(signatures)
    limit = limit_of(threshold)
    held, kept = np.empty_like(whole), np.empty(len(whole), np.int64)
    count = 0
    for index, own in enumerate(whole):
        near = np.flatnonzero(np.abs(held[:count] - own).sum(axis=1) <= limit)
        if len(near):
            leaders[index] = kept[near[0]]
        else:
            held[count], kept[count] = own, index
            count += 1
    return leaders


def _along(
    leaders: NDArray[np.uint32],
    drives: Drives,
    rows: NDArray[np.int64],
    signatures: NDArray[np.uint8],
    levels: float,
) -> None:
    """Fold what follows a row in its drive, as long as it is alike, unless it is folded already."""
    at = np.full(len(leaders), -1, np.int64)
    at[rows] = np.arange(len(rows))
    along = drives.along[(at[drives.along] >= 0)].astype(np.int64)
    whole, limit = centred(signatures), limit_of(levels)
    led = np.zeros(len(leaders), bool)
    led[leaders[leaders > 0] - 1] = True
    start = 0
    while start < len(along):
        head = along[start]
        stop = start + 1
        while leaders[head] == 0:
            ahead = along[stop : stop + _AHEAD]
            ahead = ahead[drives.drive[ahead] == drives.drive[head]]
            near = np.abs(whole[at[ahead]] - whole[at[head]]).sum(axis=1) <= limit
            near &= ~led[ahead]
            run = len(near) if near.all() else int(near.argmin())
            mine = ahead[:run]
            leaders[mine[leaders[mine] == 0]] = head + 1
            stop += run
            if run < _AHEAD:
                break
        start = stop
