"""Which settings of a selection do not go together, told before any work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deal.acquisitions import Bound
from deal.errors import UsageError
from deal.selection.budget import COSTS, Budget

if TYPE_CHECKING:
    from deal.selection.ranking import Ranking

__all__ = ["check_ranking"]

_BY = ("score", "score-per-cost")
_FEATURES = ("auto", "embedding", "statistics")
_GAP_PER = ("camera", "sequence")


def check_ranking(ranking: Ranking, bound: Bound) -> None:
    """Raise UsageError for values that are invalid, or contradict each other."""
    choices_of = {"cost": COSTS, "by": _BY, "features": _FEATURES, "gap_per": _GAP_PER}
    for name, choices in choices_of.items():
        if getattr(ranking, name) not in choices:
            raise UsageError(
                f"{name} must be one of {', '.join(choices)}, not {getattr(ranking, name)!r}"
            )
    if ranking.budget.cost not in ("count", ranking.cost):
        raise UsageError(
            f"a budget in {ranking.budget.cost} does not go with a cost in {ranking.cost}"
        )
    if ranking.by == "score-per-cost" and ranking.cost == "count":
        raise UsageError(
            "by score-per-cost needs a cost: give a budget in pixels or clicks, or give cost "
            "pixels or clicks with a budget that counts rows"
        )
    if ranking.max_per_image is not None:
        if ranking.max_per_image < 1:
            raise UsageError(f"max_per_image must be at least 1, not {ranking.max_per_image}")
        if ranking.table != "regions":
            raise UsageError("max_per_image limits regions: give table regions too")
    spreads = bound.greedy or ranking.diverse is not None
    if spreads and ranking.by == "score-per-cost" and bound.greedy:
        raise UsageError(f"acquisition {bound.name!r} has no score to divide by a cost")
    if ranking.stochastic is not None and bound.greedy:
        raise UsageError(f"acquisition {bound.name!r} has no score to draw by: drop stochastic")
    if ranking.spread.kind == "gap":
        if ranking.budget == Budget():
            raise UsageError("spread needs a budget: without one, everything is selected")
        if ranking.min_gap is not None:
            raise UsageError("spread and min_gap are both gaps: give one of them")
        if spreads:
            raise UsageError(
                f"spread {ranking.spread} orders by score, and picks by distance have none: give "
                "min_gap instead"
            )
    if ranking.diverse is not None:
        if bound.greedy:
            raise UsageError(f"acquisition {bound.name!r} is already diverse: drop diverse")
        if ranking.table != "images":
            raise UsageError("diverse compares features of images, which regions do not have")
        if ranking.budget == Budget():
            raise UsageError("diverse needs a budget: without one, everything is selected")
    if ranking.stratify is not None:
        if ranking.budget == Budget():
            raise UsageError("stratify needs a budget: without one, everything is selected")
        if spreads:
            what = f"acquisition {bound.name!r}" if bound.greedy else "diverse"
            raise UsageError(f"stratify orders by score, and {what} by distance: give only one")
    if spreads:
        from deal.acquisitions.k_center import METRICS

        if ranking.metric not in METRICS:
            raise UsageError(f"metric must be one of {', '.join(METRICS)}, not {ranking.metric!r}")
    if ranking.limits:
        refused = {
            "regions": ranking.table != "images",
            "diverse": ranking.diverse is not None,
            f"acquisition {bound.name!r}, which picks by distance": bound.greedy,
            f"spread {ranking.spread}, which gives way to fill a budget": (
                ranking.spread.kind == "gap"
            ),
            f"stratify {ranking.stratify}": ranking.stratify is not None,
        }
        for what, given in refused.items():
            if given:
                raise UsageError(
                    f"limits of bytes and windows do not go with {what}: leave one of them out"
                )
    both = (ranking.exclude.images & ranking.include.images) | (
        ranking.exclude.regions & ranking.include.regions
    )
    if both:
        name = min(map(str, both))
        raise UsageError(
            f"{len(both)} names are in exclude and include, such as {name!r}: drop them from one"
        )
