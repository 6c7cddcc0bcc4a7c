"""Near-duplicates: of two picks that look alike only the one that comes first in the order stays.

Two images look alike if their signatures differ by at most δ grey levels
(:func:`deal.pool.signature.difference`), whatever their sequence, folder and age. A row is compared
with the rows that were taken, never with rows that were refused.

Comparing is exact, yet few pairs are compared in full. The difference of two images is an L1
distance, and a sum of the values of a signature with signs +1 and −1 changes by no more than that
distance. Taken rows lie in cells of such sums, each as wide as the limit, so that a row's
near-duplicates lie in its own cell or in one beside it. Of those, sums over 12 blocks, whose L1
distance is a lower bound too, leave the few that are compared in full.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from deal.pool.signature import BYTES, SHAPE, centred

__all__ = ["NearDuplicates", "Read"]

Signatures = NDArray[np.uint8]
Read = Callable[[NDArray[np.int64]], tuple[Signatures, NDArray[np.bool_]]]
"""Signatures uint8 [k, 192] of k rows, and which of them are known, bool [k]."""

_BLOCKS = (3, 4)
# Narrower cells would need more than 13 bits for a coordinate: a sum is below 192 · 192 · 255.
_NARROWEST = 4096
_BITS = 13
_PAIRS = 1 << 19  # pairs looked at together by their blocks
_FULL = 1 << 14  # pairs compared in full together
_TOGETHER = 1 << 19  # rows that are read together without asking: 100 MB
_RECENT = 4096  # rows that are sorted again with each addition


class NearDuplicates:
    """Refuses rows that look like a taken row; rows without a signature are never refused.

    Parameters
    ----------
    read : callable
        Reads signatures of rows; see `Read`.
    limit : int
        Greatest :func:`deal.pool.signature.distance` of near-duplicates.
    images : ndarray of int [n], optional
        Image of each row, where several rows belong to one: they do not refuse each other.

    Attributes
    ----------
    refused : set of int
        Rows that nothing else refused.
    unknown : set of int
        Rows that were looked at and have no signature.
    """

    def __init__(self, read: Read, limit: int, images: NDArray[np.integer] | None = None) -> None:
        self.refused: set[int] = set()
        self.unknown: set[int] = set()
        self._read = read
        self._images = images
        self._seen: set[int] = set()
        self._taken = _Index(limit)
        self._limit = limit
        self._rows = np.empty(0, np.int64)  # those in memory, ascending
        self._signatures = np.empty((0, BYTES), np.uint8)
        self._known = np.empty(0, bool)
        self._like_taken: set[int] = set()
        self._place: dict[int, int] = {}  # of the prepared rows that look like an earlier one
        self._earlier = np.empty(0, np.int64)  # the earlier ones, by place: those of place i are
        self._starts = np.empty(0, np.int64)  # from starts[i] to starts[i + 1]
        self._picked = np.empty(0, bool)  # by place
        self._pending: list[int] = []

    def open(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of the rows that were not refused: what looks like a taken row always will."""
        if not self.refused:
            return rows
        refused = np.fromiter(self.refused, np.int64, len(self.refused))
        return rows[~np.isin(rows, refused)]

    def load(self, rows: NDArray[np.int64]) -> None:
        """Read the signatures of rows that come next; those of earlier rows are forgotten."""
        self._settle()
        self._rows = np.unique(rows)
        self._signatures, self._known = self._read(self._rows)
        self.unknown.update(self._rows[~self._known].tolist())

    def prepare(self, rows: NDArray[np.int64]) -> None:
        """Compare loaded rows with those taken and with each other, before `allows` is asked."""
        self._settle()
        rows, signatures = self._of(rows)
        found = self._taken.near(signatures)
        self._like_taken = set(rows[found].tolist())
        rows, signatures = rows[~found], signatures[~found]
        later, earlier = _Layer.of(signatures, self._limit).all_pairs(signatures, self._limit)
        ordered = earlier < later
        later, earlier = later[ordered], earlier[ordered]
        order = np.argsort(later, kind="stable")
        self._earlier = earlier[order]
        self._starts = np.searchsorted(later[order], np.arange(len(rows) + 1))
        self._place = {int(row): place for place, row in enumerate(rows)}
        self._picked = np.zeros(len(rows), bool)

    def allows(self, row: int) -> bool:
        """Whether no taken row looks like this one; it was prepared, and all else allows it."""
        if self._images is not None and int(self._images[row]) in self._seen:
            return True
        like = row in self._like_taken
        if not like and (place := self._place.get(row)) is not None:
            start, stop = self._starts[place : place + 2]
            like = start < stop and bool(self._picked[self._earlier[start:stop]].any())
        if like:
            self.refused.add(row)
        return not like

    def take(self, row: int) -> None:
        """Remember a row that was prepared."""
        if (place := self._place.get(row)) is not None:
            self._picked[place] = True
        self._pending.append(row)
        self.refused.discard(row)
        if self._images is not None:
            self._seen.add(int(self._images[row]))

    def cover(self, rows: NDArray[np.int64]) -> None:
        """Count rows as taken without asking."""
        for start in range(0, len(rows), _TOGETHER):
            some = rows[start : start + _TOGETHER]
            self.load(some)
            self._taken.add(self._of(some)[1])
        if self._images is not None:
            self._seen.update(self._images[rows].tolist())

    def _of(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], Signatures]:
        """Those of the loaded rows that have a signature, and their signatures."""
        place = np.searchsorted(self._rows, rows)
        assert np.array_equal(self._rows[place], rows), "some rows are not loaded"
        known = self._known[place]
        return rows[known], self._signatures[place[known]]

    def _settle(self) -> None:
        """Put rows taken since the last time where `near` finds them."""
        if self._pending:
            self._taken.add(self._of(np.array(self._pending, np.int64))[1])
            self._pending = []


class _Index:
    """Signatures, found by what they are near to."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # Most of the signatures are sorted once; those added last are sorted with each addition.
        self._layers = [_Layer.of(np.empty((0, BYTES), np.uint8), limit) for _ in range(2)]

    def add(self, signatures: Signatures) -> None:
        if not len(signatures):
            return
        most, recent = self._layers
        recent = _Layer.of(np.concatenate([recent.signatures, signatures]), self._limit)
        if len(recent.keys) > max(_RECENT, len(most.keys) // 8):
            joined = np.concatenate([most.signatures, recent.signatures])
            most = _Layer.of(joined, self._limit)
            recent = _Layer.of(joined[:0], self._limit)
        self._layers = [most, recent]

    def near(self, signatures: Signatures) -> NDArray[np.bool_]:
        """Whether any signature is within the limit of each of these, bool [m]."""
        found = np.zeros(len(signatures), bool)
        for layer in self._layers:
            left = np.flatnonzero(~found)
            for query, _ in layer.pairs(signatures[left], self._limit, once=True):
                found[left[query]] = True
        return found


class _Layer:
    """Signatures sorted by their cells."""

    def __init__(
        self, signatures: Signatures, numbers: NDArray[np.int64], keys: NDArray[np.int64]
    ) -> None:
        self.signatures, self._numbers, self.keys = signatures, numbers, keys
        self.blocks = _blocks(signatures)

    @classmethod
    def of(cls, signatures: Signatures, limit: int) -> _Layer:
        keys = _packed(_cells(signatures, limit))
        order = np.argsort(keys, kind="stable")
        return cls(signatures[order], order, keys[order])

    def pairs(
        self, queries: Signatures, limit: int, *, once: bool = False
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Pairs of a query and a signature within the limit; with ``once``, some of each query."""
        if not len(self.keys) or not len(queries):
            return
        blocks = _blocks(queries)
        done = np.zeros(len(queries), bool)
        for query, target in self._beside(_cells(queries, limit)):
            if once:
                open_ = ~done[query]
                query, target = query[open_], target[open_]
            apart = np.abs(blocks[query] - self.blocks[target]).sum(axis=1)
            close = apart <= limit
            query, target = query[close], target[close]
            for start in range(0, len(query), _FULL):
                q, t = query[start : start + _FULL], target[start : start + _FULL]
                if once:
                    open_ = ~done[q]
                    q, t = q[open_], t[open_]
                near = _distances(queries[q], self.signatures[t]) <= limit
                done[q[near]] = True
                yield q[near], t[near]

    def all_pairs(
        self, queries: Signatures, limit: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All pairs within the limit: numbers of queries, and of signatures as they were given."""
        found = list(self.pairs(queries, limit))
        none = np.empty(0, np.int64)
        later = np.concatenate([query for query, _ in found] or [none])
        target = np.concatenate([target for _, target in found] or [none])
        return later, self._numbers[target]

    def _beside(
        self, cells: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Queries with every signature of the cells beside theirs, some pairs at a time."""
        ones = cells.shape[1] - 1
        for step in product((-1, 0, 1), repeat=ones):
            low, high = (cells + np.array([*step, end]) for end in (-1, 1))
            first = np.searchsorted(self.keys, _packed(low), "left")
            counts = np.searchsorted(self.keys, _packed(high), "right") - first
            some = np.flatnonzero(counts)
            ends = np.cumsum(counts[some])
            start = 0
            while start < len(some):
                before = ends[start - 1] if start else 0
                stop = max(int(np.searchsorted(ends, before + _PAIRS, "right")), start + 1)
                rows = some[start:stop]
                lengths = counts[rows]
                query = np.repeat(rows, lengths)
                offset = np.arange(len(query)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
                yield query, first[query] + offset
                start = stop


def _signs() -> NDArray[np.int64]:
    """Signs [4, 192] of the sums that give a signature's cell: coarse shapes of a picture."""
    rows, columns = np.indices(SHAPE)
    top, left = rows < SHAPE[0] // 2, columns < SHAPE[1] // 2
    middle = np.abs(2 * rows + 1 - SHAPE[0]) < SHAPE[0] // 2
    inner = np.abs(2 * columns + 1 - SHAPE[1]) < SHAPE[1] // 2
    return np.where(np.stack([top, left, top == left, middle == inner]), 1, -1).reshape(4, BYTES)


_SIGNS = _signs()


def _cells(signatures: Signatures, limit: int) -> NDArray[np.int64]:
    sums = centred(signatures).astype(np.int64) @ _SIGNS.T
    return np.asarray(sums // max(limit + 1, _NARROWEST))


def _packed(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """One number per cell, in the order of the coordinates: int64 [n]."""
    keys = np.zeros(len(cells), np.int64)
    for column in cells.T:
        keys = (keys << _BITS) + column + (1 << (_BITS - 1))
    return keys


def _blocks(signatures: Signatures) -> NDArray[np.int32]:
    """Sums of `centred` over 3×4 blocks, int32 [n, 12]."""
    high, wide = SHAPE[0] // _BLOCKS[0], SHAPE[1] // _BLOCKS[1]
    values = signatures.reshape(len(signatures), _BLOCKS[0], high, _BLOCKS[1], wide)
    sums = values.sum(axis=(2, 4), dtype=np.int32).reshape(-1, _BLOCKS[0] * _BLOCKS[1])
    whole = sums.sum(axis=1, keepdims=True, dtype=np.int32)
    return np.asarray(BYTES * sums - high * wide * whole)


def _distances(a: Signatures, b: Signatures) -> NDArray[np.int64]:
    """`deal.pool.signature.distance` of each pair, int64 [n]."""
    delta = a.astype(np.int16) - b
    wide = BYTES * delta.astype(np.int32)
    wide -= delta.sum(axis=1, keepdims=True, dtype=np.int32)
    return np.asarray(np.abs(wide, out=wide).sum(axis=1))
