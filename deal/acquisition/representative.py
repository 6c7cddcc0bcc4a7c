"""Functions that pick rows one by one, so that picks differ from each other."""

from __future__ import annotations

from deal.acquisition.columns import Columns, Scores
from deal.acquisition.registry import acquisition
from deal.errors import UsageError

__all__ = ["core_set"]


@acquisition(
    "core-set",
    requires=["id"],
    formula="next = argmax over rows of the distance to the nearest labeled or picked row",
    source="k-center greedy: Sener & Savarese, ICLR 2018, arXiv 1708.00489, algorithm 1",
    greedy=True,
)
def core_set(columns: Columns) -> Scores:
    """Pick the row farthest from all labeled and picked ones, again and again.

    Features of a row: ``embedding`` [n, E], else class and difficulty statistics; see
    :mod:`deal.diversity`, which picks.
    """
    raise UsageError("core-set picks rows one by one: use deal.select, or deal.diversity")
