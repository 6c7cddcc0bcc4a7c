"""The settings of a selection as one frozen record, and which of them go together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

from deal.acquisitions import Bound
from deal.acquisitions.k_center import METRICS
from deal.errors import UsageError
from deal.selection.budget import COSTS, Budget, ClickModel
from deal.selection.limits import Limits
from deal.selection.rules import Diverse, Gap, IdList, NearLimit, Quota, Spread, Strata
from deal.selection.stochastic import Stochastic

__all__ = ["RankingSettings"]

_BY = ("score", "score-per-cost")
_FEATURES = ("auto", "embedding", "statistics")
_GAP_PER = ("camera", "sequence")


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingSettings:
    """The settings of a selection, as values.

    Attributes
    ----------
    acquisition : str
        One of :func:`deal.acquisition_names`.
    options : mapping
        Options of the acquisition function: ``levels``, ``edges``, ``tail``, ``focus``, ….
    seed : int
        Seed of functions that take one, and of ``stochastic``.
    stochastic : Stochastic, optional
        Draws rows by their scores (or scores per cost) instead of taking the best.
    budget : Budget
    table : ``images`` or ``regions``
        The table that is ranked.
    cost : ``count``, ``pixels`` or ``clicks``
        What a row costs; a budget in pixels or clicks decides it.
    by : ``score`` or ``score-per-cost``
        What decides the order.
    clicks : ClickModel
    max_per_image : int, optional
        The largest number of regions to take from one image.
    spread : Spread
    near_duplicates : NearLimit
    quotas : tuple of Quota
    stratify : Strata, optional
        Groups that share out a part of the budget.
    min_gap : Gap, optional
    gap_per : ``camera`` or ``sequence``
        Whether cameras of a sequence keep gaps apart from each other.
    limits : Limits
        Limits of bytes, and of windows of time.
    sequence_from : str, optional
        Regular expression that gives the sequence of every id it matches.
    exclude : IdList
        Rows that are left out.
    include : IdList
        Rows that are taken first, whatever their score and the rules.
    diverse : Diverse, optional
        How many of the best rows k-center greedy picks from; None picks by score.
    features : ``auto``, ``embedding`` or ``statistics``
        What k-center greedy compares images by; ``auto`` is the embedding if there is one.
    metric : ``cosine`` or ``euclidean``
    """

    acquisition: str = "ds"
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    stochastic: Stochastic | None = None
    budget: Budget = field(default_factory=Budget)
    table: str = "images"
    cost: str = "count"
    by: str = "score"
    clicks: ClickModel = field(default_factory=ClickModel)
    max_per_image: int | None = None
    spread: Spread = field(default_factory=Spread)
    near_duplicates: NearLimit = field(default_factory=NearLimit)
    quotas: tuple[Quota, ...] = ()
    stratify: Strata | None = None
    min_gap: Gap | None = None
    gap_per: str = "camera"
    limits: Limits = field(default_factory=Limits)
    sequence_from: str | None = None
    exclude: IdList = field(default_factory=IdList)
    include: IdList = field(default_factory=IdList)
    diverse: Diverse | None = None
    features: str = "auto"
    metric: str = "cosine"

    def check(self, bound: Bound) -> None:
        """Raise UsageError for values that are invalid, or contradict each other."""
        choices_of = {
            "cost": COSTS,
            "by": _BY,
            "features": _FEATURES,
            "gap_per": _GAP_PER,
            "metric": METRICS,
        }
        for name, choices in choices_of.items():
            if getattr(self, name) not in choices:
                raise UsageError(
                    f"{name} must be one of {', '.join(choices)}, not {getattr(self, name)!r}"
                )
        for name in ("seed", "max_per_image"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, Integral):
                raise UsageError(f"{name} must be a whole number, not {value!r}")
        if self.budget.cost not in ("count", self.cost):
            raise UsageError(
                f"a budget in {self.budget.cost} does not go with a cost in {self.cost}"
            )
        if self.by == "score-per-cost" and self.cost == "count":
            raise UsageError(
                "by score-per-cost needs a cost: give a budget in pixels or clicks, or give cost "
                "pixels or clicks with a budget that counts rows"
            )
        if self.max_per_image is not None:
            if self.max_per_image < 1:
                raise UsageError(f"max_per_image must be at least 1, not {self.max_per_image}")
            if self.table != "regions":
                raise UsageError("max_per_image limits regions: give table regions too")
        spreads = bound.greedy or self.diverse is not None
        if spreads and self.by == "score-per-cost" and bound.greedy:
            raise UsageError(f"acquisition {bound.name!r} has no score to divide by a cost")
        if self.stochastic is not None and bound.greedy:
            raise UsageError(f"acquisition {bound.name!r} has no score to draw by: drop stochastic")
        if self.spread.kind == "gap":
            if self.budget == Budget():
                raise UsageError("spread needs a budget: without one, everything is selected")
            if self.min_gap is not None:
                raise UsageError("spread and min_gap are both gaps: give one of them")
            if spreads:
                raise UsageError(
                    f"spread {self.spread} orders by score, and picks by distance have none: give "
                    "min_gap instead"
                )
        if self.diverse is not None:
            if bound.greedy:
                raise UsageError(f"acquisition {bound.name!r} is already diverse: drop diverse")
            if self.table != "images":
                raise UsageError("diverse compares features of images, which regions do not have")
            if self.budget == Budget():
                raise UsageError("diverse needs a budget: without one, everything is selected")
        if self.stratify is not None:
            if self.budget == Budget():
                raise UsageError("stratify needs a budget: without one, everything is selected")
            if spreads:
                what = f"acquisition {bound.name!r}" if bound.greedy else "diverse"
                raise UsageError(f"stratify orders by score, and {what} by distance: give only one")
        if self.limits:
            refused = {
                "regions": self.table != "images",
                "diverse": self.diverse is not None,
                f"acquisition {bound.name!r}, which picks by distance": bound.greedy,
                f"spread {self.spread}, which gives way to fill a budget": (
                    self.spread.kind == "gap"
                ),
                f"stratify {self.stratify}": self.stratify is not None,
            }
            for what, given in refused.items():
                if given:
                    raise UsageError(
                        f"limits of bytes and windows do not go with {what}: leave one of them out"
                    )
        self._check_quotas()
        both = (self.exclude.images & self.include.images) | (
            self.exclude.regions & self.include.regions
        )
        if both:
            name = min(map(str, both))
            raise UsageError(
                f"{len(both)} names are in exclude and include, such as {name!r}: drop them "
                "from one"
            )

    def _check_quotas(self) -> None:
        """Raise UsageError if a quota allows no row, where the pool need not be known for it."""
        budget = self.budget.amount if self.budget.unit != "bytes" else None
        for quota in self.quotas if self.budget.cost == "count" else ():
            if budget is None and quota.amount is None:
                continue
            most = quota.resolve(float(budget or 0))
            if most < 1:
                of = "" if budget is None else f" of a budget of {self.budget}"
                raise UsageError(
                    f"quota {quota}{of} is {most:g}, less than any row costs: give a larger budget "
                    "or quota"
                )
