"""The rows that a choice looks at, and what it has to know of all the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deal.selection.order import Digest
from deal.selection.places import Places
from deal.selection.sources import Sources

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Groups", "Pool", "Rows", "image_codes"]


@dataclass
class Groups:
    """Rows grouped by a text that they share.

    Attributes
    ----------
    values : dict of str or None to int
        Each text of the pool and its code; None stands for rows without a text.
    without : int
        Rows of the pool that have a score, but no text.
    codes : ndarray of int32 [n]
    """

    values: dict[str | None, int] = field(default_factory=dict)
    without: int = 0
    codes: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))

    def encode(self, texts: pa.ChunkedArray, scored: NDArray[np.bool_]) -> NDArray[np.int32]:
        """Codes of the texts of some rows, of which some have a score."""
        encoded = texts.combine_chunks().dictionary_encode("encode")
        numbers = [self.values.setdefault(v, len(self.values)) for v in encoded.dictionary.tolist()]
        codes: NDArray[np.int32] = np.array(numbers, np.int32)[
            encoded.indices.to_numpy(zero_copy_only=False)
        ]
        if None in self.values:
            self.without += int((scored & (codes == self.values[None])).sum())
        return codes


@dataclass
class Pool:
    """What a choice has to know of all rows, however many there are.

    Attributes
    ----------
    rows, scored : int
        Rows, and those that have a score.
    unscored : int
        Rows that are ok but have no score, since a value is missing or not a number.
    skipped : int
        Rows that were only screened: images of the pool that cannot be picked.
    least, most : float
        Least and greatest key of the rows that have a score.
    named : int
        Rows that have a score and that a list names.
    digest : Digest
        Of the rows that have a score.
    """

    rows: int = 0
    scored: int = 0
    unscored: int = 0
    skipped: int = 0
    least: float = np.inf
    most: float = -np.inf
    named: int = 0
    digest: Digest = field(default_factory=Digest)


@dataclass
class Rows:
    """Rows of the sources, in their order: the best ones, or all; and those that lists name.

    Attributes
    ----------
    source : Sources
    numbers : ndarray of int64 [n]
        What the sources count them by.
    ids : pyarrow.LargeStringArray [n]
    regions : ndarray of int32 [n] or None
    scores : ndarray of float64 [n]
        NaN for rows that cannot be ranked; 0 for the others if the function has no scores.
    keys : ndarray of float64 [n]
        What decides the order; NaN as above.
    costs : ndarray of float64 [n]
        1 for rows without a score.
    groups : dict of attribute name to Groups
        Those of quotas and strata, and ``sequence`` and ``camera`` if there is a gap.
    times : ndarray of int64 [n]
        Nanoseconds or frame numbers, for the gap; empty without one.
    pool : Pool
        All rows.
    first, drawn, sampled : ndarray of bool [n]
        Rows that come first by their keys, by their draws (or keys, if none are drawn), and those
        whose names have the least hashes.
    is_whole : bool
        Whether ``drawn`` are all rows that have a score.
    draws : ndarray of float64 [n] or None
        The greatest is drawn first, if rows are drawn.
    names : ndarray of uint64, optional
        Hashes of the names of all rows of the pool, with ``places``.
    places : Places, optional
        What all rows of the pool say of their sequence and time, if they are to be spread by it.
    """

    source: Sources
    numbers: NDArray[np.int64]
    ids: pa.Array
    regions: NDArray[np.int32] | None
    scores: NDArray[np.float64]
    keys: NDArray[np.float64]
    costs: NDArray[np.float64]
    groups: dict[str, Groups]
    times: NDArray[np.int64]
    pool: Pool
    first: NDArray[np.bool_]
    drawn: NDArray[np.bool_]
    sampled: NDArray[np.bool_]
    is_whole: bool
    draws: NDArray[np.float64] | None = None
    names: NDArray[np.uint64] | None = None
    places: Places | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def read(
        self,
        rows: NDArray[np.int64],
        columns: Sequence[str],
        summary: Callable[[pa.Table], pa.Table] | None = None,
    ) -> pa.Table:
        """Read columns of some of these rows, as :meth:`Sources.take` does."""
        return self.source.take(self.numbers[rows], columns, summary)


def image_codes(rows: Rows, taken: NDArray[np.int64]) -> NDArray[Any]:
    """Codes [n] of the images of the taken rows, equal for rows of one image; −1 for other rows."""
    import pyarrow as pa

    codes = np.full(len(rows), -1, np.int64)
    if len(taken):
        codes[taken] = rows.ids.take(pa.array(taken)).dictionary_encode().indices.to_numpy()
    return codes
