"""Where a score stands among all scores of a pool, and the pool's median and easiest rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deal.selection.gather import pool_totals, scored_pieces
from deal.selection.ranking import Ranking
from deal.selection.sources import Source, Sources

__all__ = ["Row", "Standing", "standing"]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a pool: an image, or a region of it."""

    id: str
    region: int | None
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """The scores of a pool.

    Attributes
    ----------
    ascending : ndarray of float64 [n], n ≥ 1
        All scores, sorted.
    median : Row
        The row in the middle of the ranking: of 5 the third, of 4 the third.
    easiest : Row
        The last row of the ranking.
    """

    ascending: NDArray[np.float64]
    median: Row
    easiest: Row

    @property
    def count(self) -> int:
        """Rows that have a score."""
        return len(self.ascending)

    def percent_below(self, score: float) -> float:
        """Percent of the pool whose score is lower, 0 … below 100."""
        return 100.0 * int(np.searchsorted(self.ascending, score, "left")) / self.count


def standing(sources: Source | Iterable[Source], ranking: Ranking) -> Standing | None:
    """Look at all scores of the sources, in two passes; raises the errors of `select`.

    None where there are no scores, or none that say anything of an image: functions that pick by
    distance, and ``random``.
    """
    stored = Sources(sources, ranking.table)
    bound = ranking.bind(stored.classes)
    if bound.greedy or bound.name == "random":
        return None
    totals = pool_totals(stored, bound)
    found = [scores for _, scores in scored_pieces(stored, bound, totals=totals)]
    joined = np.concatenate(found) if found else np.empty(0)
    ascending = np.sort(joined[~np.isnan(joined)])
    if not len(ascending):
        return None
    middle = float(ascending[len(ascending) - 1 - len(ascending) // 2])
    lowest = float(ascending[0])
    ties: dict[float, list[Row]] = {middle: [], lowest: []}
    for piece, scores in scored_pieces(stored, bound, totals=totals):
        for score, rows in ties.items():
            equal = piece.take(np.flatnonzero(scores == score))
            ids = equal.column("id").to_pylist()
            regions = [None] * len(ids)
            if stored.table == "regions":
                regions = equal.column("region").to_pylist()
            rows += [Row(*row, score) for row in zip(ids, regions, strict=True)]
            # Of many equal rows the first and the last by id are enough.
            rows.sort(key=lambda row: (row.id.encode(), row.region or 0))
            del rows[1:-1]
    return Standing(ascending, ties[middle][0], ties[lowest][-1])
