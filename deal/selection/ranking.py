"""What a selection is asked for: one frozen record, checked before any work."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Unpack, cast

from deal.acquisitions import Bound, bind
from deal.acquisitions.lookup import find
from deal.acquisitions.options import AcquisitionOptions, function_options
from deal.errors import UsageError
from deal.selection.budget import COSTS, Budget, ClickModel, parse_budget
from deal.selection.rules import (
    Diverse,
    Gap,
    IdList,
    Quota,
    parse_diverse,
    parse_gap,
    parse_quota,
    read_id_lists,
)
from deal.selection.stochastic import Stochastic, parse_stochastic

__all__ = ["BY", "FEATURES", "Ranking", "SelectOptions", "flat_options"]

BY = ("score", "score-per-cost")
FEATURES = ("auto", "embedding", "statistics")


class SelectOptions(AcquisitionOptions, total=False):
    """Types of the options that :meth:`Ranking.of` documents, and of the acquisition function's."""

    acquisition: str
    seed: int
    stochastic: str | Stochastic | None
    budget: str | int | Budget | None
    table: Literal["images", "regions"] | None
    by: Literal["score", "score-per-cost"] | None
    cost: Literal["count", "pixels", "clicks"] | None
    click_corner: float
    click_length: float
    click_fixed: float
    max_per_image: int | None
    quota: str | Quota | Iterable[str | Quota]
    min_gap: str | Gap | None
    exclude: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
    include: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
    diverse: str | float | Diverse | None
    features: Literal["auto", "embedding", "statistics"]
    metric: Literal["cosine", "euclidean"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """How stored rows become a selection; made by :meth:`of` from values or their text.

    Attributes
    ----------
    acquisition : str
        One of :func:`deal.acquisition_names`.
    options : mapping
        Of that function: ``levels``, ``edges``, ``tail``, ``focus``, ….
    seed : int
        Of functions that take one, and of ``stochastic``.
    stochastic : Stochastic, optional
        Draw rows by their scores (per cost), instead of taking the best.
    budget : Budget
    table : ``images`` or ``regions``
        What is ranked.
    cost : ``count``, ``pixels`` or ``clicks``
        What a row costs; the budget's own if it is in pixels or clicks.
    by : ``score`` or ``score-per-cost``
        What decides the order.
    clicks : ClickModel
    max_per_image : int, optional
        At most so many regions of an image.
    quotas : tuple of Quota
    min_gap : Gap, optional
    sequence_from : str, optional
        Regular expression that gives the sequence of every id it matches.
    exclude, include : IdList
        Left out; taken first, whatever their score and the rules.
    diverse : Diverse, optional
        Pick by k-center greedy among these.
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
    quotas: tuple[Quota, ...] = ()
    min_gap: Gap | None = None
    sequence_from: str | None = None
    exclude: IdList = field(default_factory=IdList)
    include: IdList = field(default_factory=IdList)
    diverse: Diverse | None = None
    features: str = "auto"
    metric: str = "cosine"

    @classmethod
    def of(
        cls,
        *,
        acquisition: str = "ds",
        seed: int = 0,
        stochastic: str | Stochastic | None = None,
        budget: str | int | Budget | None = None,
        table: str | None = None,
        by: str | None = None,
        cost: str | None = None,
        click_corner: float = 1.0,
        click_length: float = 0.0,
        click_fixed: float = 1.0,
        max_per_image: int | None = None,
        quota: str | Quota | Iterable[str | Quota] = (),
        min_gap: str | Gap | None = None,
        exclude: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
        include: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
        diverse: str | float | Diverse | None = None,
        features: str = "auto",
        metric: str = "cosine",
        **options: Unpack[AcquisitionOptions],
    ) -> Ranking:
        """Read values or their text, as `select` and ``score_pool`` take them.

        ``options`` are those of `function_options`.

        Parameters
        ----------
        acquisition : str
            One of `acquisition_names`.
        seed : int
            Of functions that take one, such as ``random``, and of ``stochastic``.
        stochastic : str, optional
            Draw row after row instead of taking the best. ``power``: with a chance as the score
            (or score per cost); ``power:2``: as its square; ``softrank``: as one by the rank, for
            functions whose 0 says nothing (:mod:`deal.selection.stochastic`). Whoever draws round
            after round gives another seed in each.
        budget : int or str, optional
            ``500`` (rows), ``"5%"`` (of the rows that have a score, rounded up),
            ``"regions:2000"``, ``"pixels:5e6"`` (raster pixels not masked, ``n_pixels``),
            ``"clicks:20000"``; percentages go with each unit. None ranks everything.
        table : ``images`` or ``regions``, optional
            What is ranked; by default images, or regions if the budget counts them.
        by : ``score`` or ``score-per-cost``, optional
            The order; score per cost by default where the budget is in pixels or clicks.
        cost : ``count``, ``pixels`` or ``clicks``, optional
            What a row costs, of a budget that counts rows; the budget's own unit by default.
        click_corner, click_length, click_fixed : float
            Clicks per corner of the predicted boundaries, per raster pixel of their length, and
            per row (:class:`deal.selection.ClickModel`).
        max_per_image : int, optional
            Regions of one image at most.
        quota : str or several
            ``camera=20%``: no camera takes more than 20 % of the budget, in the budget's unit;
            ``camera:front=100``: this camera takes no more than 100. Attributes are ``camera``,
            ``sequence``, ``folder`` (directory of the id), and those of the manifest.
        min_gap : str, optional
            Least distance of images of one ``sequence``: ``2s`` or ``500ms`` of ``timestamp_ns``,
            ``30f`` by the last number in the id's stem.
        exclude, include : path or several
            Lists of ids (CSV with a column ``id``, or text): left out; taken first, whatever their
            score, quotas and gaps, and counted against the budget.
        diverse : float or str, optional
            Pick by k-center greedy (:mod:`deal.acquisitions.k_center`) among the best rows: those
            that together cost so many times the budget, or ``"50%"`` of all that are neither
            excluded nor included. Excluded images that are stored count as covered.
        features : ``auto``, ``embedding`` or ``statistics``
            What k-center greedy compares images by; ``auto`` is the embedding if there is one.
        metric : ``cosine`` or ``euclidean``
            The distance that k-center greedy takes.

        Raises
        ------
        UsageError
            Values that make no sense or do not go together, and lists that cannot be read.
        """
        parsed = parse_budget(budget)
        table = table or parsed.table or "images"
        if parsed.table not in (None, table):
            raise UsageError(f"a budget of {parsed.table} does not go with table {table!r}")
        cost = cost or parsed.cost
        given = function_options(**options)
        bound = bind(acquisition, table=table, seed=seed, **given)
        if by is None:
            by = "score" if parsed.cost == "count" or bound.greedy else "score-per-cost"
        ranking = cls(
            acquisition=acquisition,
            options=given,
            seed=seed,
            stochastic=parse_stochastic(stochastic),
            budget=parsed,
            table=table,
            cost=cost,
            by=by,
            clicks=ClickModel(click_corner, click_length, click_fixed),
            max_per_image=max_per_image,
            quotas=tuple(map(parse_quota, [quota] if isinstance(quota, (str, Quota)) else quota)),
            min_gap=parse_gap(min_gap),
            exclude=read_id_lists(_paths(exclude)),
            include=read_id_lists(_paths(include)),
            diverse=parse_diverse(diverse),
            features=features,
            metric=metric,
        )
        ranking._check(bound)
        return ranking

    def bind(self, classes: tuple[str, ...] | None) -> Bound:
        """Bind the acquisition function to its options; UsageError for unknown classes."""
        return bind(
            self.acquisition, table=self.table, classes=classes, seed=self.seed, **self.options
        )

    def of_regions(self, classes: tuple[str, ...] | None) -> Bound | None:
        """Bind the function to the table of regions, to rank those of one image.

        None if it scores images only, or regions by their ids or by totals of the pool.
        """
        if "regions" not in find(self.acquisition).tables:
            return None
        bound = replace(self, table="regions").bind(classes)
        return None if bound.needs_totals or "id" in bound.columns else bound

    def to_dict(self, bound: Bound | None = None) -> dict[str, Any]:
        """Every setting as JSON values; lists of ids by their number and digest."""
        bound = bound or self.bind(None)
        return {
            "acquisition": bound.name,
            **bound.options,
            "seed": self.seed,
            "stochastic": None if self.stochastic is None else str(self.stochastic),
            "budget": str(self.budget) if self.budget != Budget() else None,
            "table": self.table,
            "by": "distance" if bound.greedy else self.by,
            "cost": self.cost,
            **(
                {
                    "click_corner": self.clicks.corner,
                    "click_length": self.clicks.length,
                    "click_fixed": self.clicks.fixed,
                }
                if self.cost == "clicks"
                else {}
            ),
            "max_per_image": self.max_per_image,
            "quota": list(map(str, self.quotas)),
            "min_gap": None if self.min_gap is None else self.min_gap.text,
            **({} if self.sequence_from is None else {"sequence_from": self.sequence_from}),
            "exclude": _described(self.exclude),
            "include": _described(self.include),
            "diverse": None if self.diverse is None else self.diverse.to_json(),
            **(
                {"features": self.features, "metric": self.metric}
                if self.diverse is not None or bound.greedy
                else {}
            ),
        }

    def _check(self, bound: Bound) -> None:
        for name, choices in (("cost", COSTS), ("by", BY), ("features", FEATURES)):
            if getattr(self, name) not in choices:
                raise UsageError(
                    f"{name} must be one of {', '.join(choices)}, not {getattr(self, name)!r}"
                )
        if self.budget.cost not in ("count", self.cost):
            raise UsageError(
                f"a budget in {self.budget.cost} does not go with a cost in {self.cost}"
            )
        if self.by == "score-per-cost" and self.cost == "count":
            raise UsageError(
                "by score-per-cost needs a cost: a budget in pixels or clicks, or cost pixels or "
                "clicks beside a budget that counts"
            )
        if self.max_per_image is not None:
            if self.max_per_image < 1:
                raise UsageError(f"max_per_image must be at least 1, not {self.max_per_image}")
            if self.table != "regions":
                raise UsageError("max_per_image is of regions: give table regions too")
        spreads = bound.greedy or self.diverse is not None
        if spreads and self.by == "score-per-cost" and bound.greedy:
            raise UsageError(f"acquisition {bound.name!r} has no score to divide by a cost")
        if self.stochastic is not None and bound.greedy:
            raise UsageError(f"acquisition {bound.name!r} has no score to draw by: drop stochastic")
        if self.diverse is not None:
            if bound.greedy:
                raise UsageError(f"acquisition {bound.name!r} is diverse by itself: drop diverse")
            if self.table != "images":
                raise UsageError("diverse compares features of images: regions have none")
            if self.budget == Budget():
                raise UsageError("diverse needs a budget: without one everything is picked")
        if spreads:
            from deal.acquisitions.k_center import METRICS

            if self.metric not in METRICS:
                raise UsageError(f"metric must be one of {', '.join(METRICS)}, not {self.metric!r}")
        both = (self.exclude.images & self.include.images) | (
            self.exclude.regions & self.include.regions
        )
        if both:
            name = min(map(str, both))
            raise UsageError(
                f"{len(both)} names are in exclude and include, such as {name!r}: drop them from "
                "one"
            )


def flat_options(options: Mapping[str, Any]) -> SelectOptions:
    """Options as a table of a file lists them, those of a plugin's function among the others."""
    known = SelectOptions.__annotations__
    own = {name: value for name, value in options.items() if name not in known}
    found = {name: value for name, value in options.items() if name in known}
    if own:
        found["acquisition_options"] = {**(found.get("acquisition_options") or {}), **own}
    return cast(SelectOptions, found)


def _paths(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
) -> list[str]:
    several = [paths] if isinstance(paths, (str, os.PathLike)) else paths
    return [os.fspath(path) for path in several]


def _described(names: IdList) -> dict[str, Any] | None:
    return {"names": len(names), "sha256": names.sha256()} if len(names) else None
