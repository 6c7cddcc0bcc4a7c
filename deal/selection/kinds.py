"""Kinds of images: a pool without sequences is spread over groups of images that are alike.

Kinds are made from a sample of the pool, the rows whose ids have the least hashes. Their centers
are those of :func:`deal.acquisitions.k_center.k_center_greedy`, so that rare kinds are found, and
every image belongs to the nearest center. Features are the stored embedding, at length 1, or the
statistics by class, standardised over the sample.

Features are rounded to whole numbers, so that distances are exact and no processor, order or shard
changes a kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions.k_center import deviations, k_center_greedy, raw_features
from deal.errors import ResultsError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["SAMPLE", "STEPS", "KindRule", "Kinds", "rounded"]

SAMPLE = 16_384
"""Rows that kinds are made from."""
_MOST = 256
STEPS = {False: 1 << 10, True: 1 << 14}
"""What 1 becomes in features as whole numbers: standardised statistics, embeddings of length 1."""
_LARGEST = 1 << 20
_BLOCK = 4096
_UNKNOWN = -1


class Kinds:
    """Kinds that a sample has.

    Parameters
    ----------
    sample : pyarrow.Table
        Rows with the columns of :func:`deal.acquisitions.k_center.features`.
    count : int
        How many kinds to make; at most 256.

    Attributes
    ----------
    sizes : ndarray of int64 [kinds]
        How many rows of the sample each kind has.
    sampled : ndarray of int32 [rows of the sample]
        Kind of each row; −1 for rows without features.
    is_embedding : bool

    Raises
    ------
    ResultsError
        The sample lacks columns, or no row has features.
    """

    def __init__(self, sample: pa.Table, count: int) -> None:
        values, self.is_embedding = raw_features(sample)
        usable = np.asarray(np.isfinite(values).all(axis=1))
        if not usable.any() or not values.shape[1]:
            raise ResultsError("no row of the sample has features")
        self._scale: list[tuple[float, float]] = []
        if not self.is_embedding:
            self._scale = [deviations(column[usable]) for column in values.T.astype(np.float64)]
        whole = self._rounded(values)
        centers, _ = k_center_greedy(
            np.where(usable[:, None], whole, 0.0),
            min(count, _MOST, int(usable.sum())),
            metric="euclidean",
            candidates=usable,
        )
        self._centers = whole[centers]
        self.sampled = self._nearest(whole)
        self.sizes = np.bincount(self.sampled[usable], minlength=len(centers))

    def of(self, rows: pa.Table) -> NDArray[np.int32]:
        """Kind of each row, int32 [n]; −1 for rows without features."""
        parts = []
        for start in range(0, len(rows), _BLOCK):
            values, is_embedding = raw_features(rows.slice(start, _BLOCK))
            if is_embedding != self.is_embedding or values.shape[1] != self._centers.shape[1]:
                parts.append(np.full(len(values), _UNKNOWN, np.int32))
            else:
                parts.append(self._nearest(self._rounded(values)))
        return np.concatenate(parts) if parts else np.empty(0, np.int32)

    def _rounded(self, values: NDArray[Any]) -> NDArray[np.float64]:
        return rounded(values, self.is_embedding, self._scale)

    def _nearest(self, whole: NDArray[np.float64]) -> NDArray[np.int32]:
        """Number of the nearest center, the first of several."""
        usable = np.asarray(np.isfinite(whole).all(axis=1))
        values = np.where(usable[:, None], whole, 0.0)
        # Sums of whole numbers below 2^53 are exact in any order, so any matrix product will do.
        apart = (self._centers**2).sum(axis=1) - 2 * (values @ self._centers.T)
        return np.where(usable, apart.argmin(axis=1), _UNKNOWN).astype(np.int32)


def rounded(
    values: NDArray[Any], is_embedding: bool, scale: Sequence[tuple[float, float]]
) -> NDArray[np.float64]:
    """Features [n, E] as whole numbers up to 2²⁰; NaN in rows without features.

    Parameters
    ----------
    values : ndarray [n, E]
        As :func:`deal.acquisitions.k_center.raw_features` gives them.
    is_embedding : bool
        Embeddings get length 1.
    scale : sequence of (mean, deviation)
        Of each feature, for statistics, which are standardised by them.
    """
    values = values.astype(np.float64)
    if is_embedding:
        with np.errstate(invalid="ignore"):
            lengths = np.sqrt((values**2).sum(axis=1, keepdims=True))
        values /= np.where(lengths > 0, lengths, 1.0)
    else:
        for column, (mean, deviation) in zip(values.T, scale, strict=True):
            column -= mean
            column /= deviation or np.inf  # a constant tells nothing
    whole = np.rint(values * STEPS[is_embedding])
    return np.asarray(np.clip(whole, -_LARGEST, _LARGEST))


class KindRule:
    """Refuses rows of a kind that has its share; rows without features are never refused.

    Parameters
    ----------
    rows : int
        Rows of the pool.
    limits : ndarray of int64 [kinds]
        The most that may be taken of each kind.
    read : callable
        Kinds int32 [k] of k rows.

    Attributes
    ----------
    used : ndarray of int64 [kinds]
    """

    reads = True

    def __init__(
        self,
        rows: int,
        limits: NDArray[np.int64],
        read: Callable[[NDArray[np.int64]], NDArray[np.int32]],
    ) -> None:
        self.used = np.zeros(len(limits), np.int64)
        self._limits = limits
        self._read = read
        self._kinds = np.full(rows, _UNKNOWN, np.int16)

    def load(self, rows: NDArray[np.int64]) -> None:
        """Read the kinds of rows that come next."""
        if len(rows):
            self._kinds[rows] = self._read(rows)

    def set(self, rows: NDArray[np.int64], kinds: NDArray[np.int32]) -> None:
        """Give the kinds of rows, where they are known already."""
        self._kinds[rows] = kinds

    def allows(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each of these rows would fit alone."""
        kinds = self._kinds[rows]
        return np.asarray((kinds < 0) | (self.used[kinds] < self._limits[kinds]))

    def allows_one(self, row: int) -> bool:
        """Whether a row fits."""
        kind = self._kinds[row]
        return bool(kind < 0 or self.used[kind] < self._limits[kind])

    def take(self, row: int) -> None:
        """Count a row."""
        if self._kinds[row] >= 0:
            self.used[self._kinds[row]] += 1
