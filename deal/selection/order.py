"""The order of ranked rows, the search for repeated names, a digest of the ranking, and sums.

All of it is vectorised, and ids stay in Arrow buffers: a pool of ten million images never becomes
ten million Python strings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "Digest",
    "mixed",
    "name_hashes",
    "rank",
    "repeated",
    "text_buffers",
    "text_hashes",
    "total",
    "twice",
]

_STEP = 8192  # rows worked on at once


def rank(
    ids: Sequence[str] | pa.Array | pa.ChunkedArray,
    scores: NDArray[np.float64],
    budget: int | None = None,
    *,
    regions: NDArray[np.int32] | None = None,
) -> NDArray[np.int64]:
    """Order rows by score descending, ties by id ascending (UTF-8 bytes); leave out NaN rows.

    Parameters
    ----------
    ids : sequence of str, or pyarrow array of strings, length n
    scores : ndarray of float64 [n]
    budget : int or None
        Keep this many of the first rows; None keeps all.
    regions : ndarray of int32 [n], optional
        Region numbers; rows of one id that tie go by region ascending.

    Returns
    -------
    ndarray of int64 [min(k, budget)]
        Indices into ``ids``.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = np.flatnonzero(~np.isnan(scores))
    order = rows[np.argsort(-scores[rows])]
    ranked = scores[order]
    same = ranked[1:] == ranked[:-1]
    tied = np.flatnonzero(np.concatenate([same, [False]]) | np.concatenate([[False], same]))
    if len(tied):
        column = ids if isinstance(ids, (pa.Array, pa.ChunkedArray)) else pa.array(ids, pa.string())
        members = order[tied]
        keys: dict[str, Any] = {
            "run": np.cumsum(np.concatenate([[True], ~same]))[tied],
            "id": column.take(pa.array(members)),
        }
        if regions is not None:
            keys["region"] = regions[members]
        by = [(key, "ascending") for key in keys]
        order[tied] = members[pc.sort_indices(pa.table(keys), sort_keys=by).to_numpy()]
    return order[:budget]


def repeated(ids: pa.Array, regions: NDArray[np.int32] | None = None) -> int | None:
    """Return a row whose name (id, or id and region) occurs twice, or None.

    Of several such names, the least one counts. The result is exact: hashes only say which rows to
    compare.
    """
    import pyarrow as pa

    hashes = name_hashes(ids, regions)
    double = twice(np.sort(hashes))
    if not len(double):
        return None
    suspects = np.flatnonzero(np.isin(hashes, double))
    names = ids.take(pa.array(suspects)).to_pylist()
    numbers = [0] * len(suspects) if regions is None else regions[suspects].tolist()
    seen: set[tuple[str, int]] = set()
    again = []
    for row, name in zip(suspects.tolist(), zip(names, numbers, strict=True), strict=True):
        if name in seen:
            again.append((name, row))
        seen.add(name)
    return min(again)[1] if again else None


def twice(ascending: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Values that occur more than once in a sorted array."""
    return np.unique(ascending[1:][ascending[1:] == ascending[:-1]])


class Digest:
    """A digest of ranked rows, 128 bits; the order in which rows come does not change it.

    Each row has two hashes of 64 bits, made of its name and its score, and each half of the digest
    is the sum of one of them. So digests of parts of a pool can be added. A sum of hashes notices
    what changes by accident; unlike SHA-256 it is no proof against somebody who wants it to fit.
    """

    def __init__(self) -> None:
        self._sums = [0, 0]

    def add(self, hashes: NDArray[np.uint64], scores: NDArray[np.float64]) -> None:
        """Add rows: hashes of their names (:func:`name_hashes`) and scores, [n] each."""
        for start in range(0, len(hashes), _STEP):
            names = hashes[start : start + _STEP]
            # 0.0 and -0.0 tie, so they are one number.
            numbers = mixed((scores[start : start + _STEP] + 0.0).view(np.uint64))
            first = mixed(names ^ numbers)
            for half, values in enumerate((first, mixed(first + names))):
                self._sums[half] = (self._sums[half] + int(values.sum(dtype=np.uint64))) % 2**64

    def __str__(self) -> str:
        return "".join(f"{half:016x}" for half in self._sums)


def text_buffers(ids: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Offsets [n + 1] from 0 and bytes of an array of strings, large or not, without nulls."""
    if not len(ids):
        return np.zeros(1, np.int64), np.empty(0, np.uint8)
    ends, data = _ends(ids), ids.buffers()[2]
    start, stop = int(ends[0]), int(ends[-1])
    text = np.empty(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)[start:stop]
    return ends - start, text


def _ends(ids: pa.Array) -> NDArray[np.int64]:
    """Offsets of strings in their buffer, and the end: int64 [n + 1]."""
    import pyarrow as pa

    if not len(ids):
        return np.zeros(1, np.int64)
    width = np.int64 if pa.types.is_large_string(ids.type) else np.int32
    ends = np.frombuffer(ids.buffers()[1], width)[ids.offset : ids.offset + len(ids) + 1]
    return ends.astype(np.int64, copy=False)


def name_hashes(ids: pa.Array, regions: NDArray[np.int32] | None = None) -> NDArray[np.uint64]:
    """Hash each name (id, or id and region): uint64 [n]."""
    hashes = np.empty(len(ids), np.uint64)
    for start in range(0, len(ids), _STEP):
        offsets, data = text_buffers(ids[start : start + _STEP])
        hashes[start : start + len(offsets) - 1] = text_hashes(data, offsets[:-1], np.diff(offsets))
    if regions is not None:
        hashes = mixed(hashes ^ (regions.astype(np.uint64) + np.uint64(1)))
    return hashes


def text_hashes(
    data: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> NDArray[np.uint64]:
    """Hash pieces of a text: uint64 [n]. Each step takes eight bytes of all pieces at once."""
    padded = np.concatenate([data, np.zeros(8, np.uint8)])
    words = np.ndarray((len(data) + 1,), "<u8", padded, strides=(1,))
    value = mixed(lengths.astype(np.uint64))
    whole = int(lengths.min()) & ~7 if len(lengths) else 0
    for step in range(0, whole, 8):  # all pieces have these bytes
        value ^= words[starts + step]
        _mix(value)
    for step in range(whole, int(lengths.max(initial=0)), 8):
        rows = np.flatnonzero(lengths > step)
        word = words[starts[rows] + step]
        cut = np.clip(8 - (lengths[rows] - step), 0, 7).astype(np.uint64) * np.uint64(8)
        word = (word << cut) >> cut  # drops the bytes of the next piece
        value[rows] = mixed(value[rows] ^ word)
    return value


def mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64 (Steele et al. 2014): a bijection in which every input bit affects all others."""
    found = np.array(values, np.uint64)
    _mix(found)
    return found


def _mix(values: NDArray[np.uint64]) -> None:
    """Replace values by those of `mixed`."""
    values += np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        values ^= values >> np.uint64(shift)
        values *= np.uint64(factor)
    values ^= values >> np.uint64(31)


def total(scores: NDArray[np.float64]) -> float:
    """Sum of scores, the same in any order; infinite where it is too large for a float."""
    try:
        return math.fsum(scores)
    except OverflowError:  # ten scores of 1e308
        return math.inf
