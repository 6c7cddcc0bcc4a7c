"""Notes for the user on what decided a selection: equal keys, the budget, the rules."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions import Bound
from deal.acquisitions.registry import registered
from deal.selection.budget import Budget
from deal.selection.greedy import Choice
from deal.selection.ranking import Ranking
from deal.selection.rows import Pool

__all__ = ["notes_on_budget", "notes_on_ties", "plain"]


def notes_on_ties(pool: Pool, ranking: Ranking, bound: Bound) -> Iterator[str]:
    """Yield a note if only ids, or chance, decide the order of the ranked rows."""
    if pool.scored > 1 and pool.least == pool.most:
        what = "their ids alone decide" if ranking.stochastic is None else "chance alone decides"
        other = "acquisition function" if bound.name in registered() else "score"
        keys = "scores"
        if ranking.by == "score-per-cost":
            keys, other = "scores per cost", f"{other}, or order by score"
        yield (
            f"all {pool.scored} {keys} are equal ({pool.most:g}), so {what} the order: "
            f"choose another {other}"
        )


def notes_on_budget(
    pool: Pool,
    ranking: Ranking,
    limit: float,
    total: float,
    order: NDArray[np.int64],
    choice: Choice,
) -> Iterator[str]:
    """Yield a note if the budget or the rules leave less than was asked for."""
    what, scored = ranking.table, pool.scored
    if not scored:
        yield f"none of the {pool.rows} rows has a score: nothing to rank"
    elif ranking.budget.amount is not None and limit > total:
        unit = "" if ranking.budget.cost == "count" else f" {ranking.budget.cost}"
        taken = len(choice.taken)
        whole = f"all {taken} {what} are"
        if taken < scored:
            whole = f"the rules leave {taken} of its {scored} {what}, which are"
        yield f"the budget of {plain(limit)}{unit} is larger than the pool: {whole} selected"
    elif not choice.taken and choice.weights[order].min() > limit:
        yield (
            f"the budget of {plain(limit)} {ranking.budget.cost} pays for none of the "
            f"{scored} {what}: the cheapest costs {plain(float(choice.weights[order].min()))}"
        )
    elif choice.limits is not None and choice.limits.closed and not choice.taken:
        yield "the limit of bytes is below the size of the best image: give a larger one"
    elif ranking.budget.unit == "bytes":
        return
    elif ranking.budget != Budget() and ranking.budget.cost == "count" and choice.spent < limit:
        yield (
            f"the rules allow {len(choice.taken)} of the budget of {plain(limit)} {what}: no "
            "other may be taken"
        )


def plain(number: float) -> float | int:
    """A whole number without its point."""
    return int(number) if float(number).is_integer() else number
