"""The settings of a selection from values or their text, checked before any work; as JSON."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Unpack

from deal.acquisitions import Bound, bind
from deal.acquisitions.lookup import find
from deal.acquisitions.options import AcquisitionOptions, function_options
from deal.acquisitions.registry import POLICIES
from deal.errors import UsageError
from deal.selection.budget import Budget, ClickModel, parse_budget
from deal.selection.limits import Limits
from deal.selection.ranking_settings import RankingSettings
from deal.selection.rules import (
    Diverse,
    Gap,
    IdList,
    NearLimit,
    Quota,
    Spread,
    Strata,
    parse_diverse,
    parse_gap,
    parse_near_duplicates,
    parse_quota,
    parse_spread,
    parse_strata,
    read_id_lists,
)
from deal.selection.stochastic import Stochastic, parse_stochastic

__all__ = ["Ranking"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking(RankingSettings):
    """The settings of a selection; :meth:`of` makes them from values or their text."""

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
        spread: str | Spread = "auto",
        near_duplicates: str | float | NearLimit = "auto",
        quota: str | Quota | Iterable[str | Quota] = (),
        stratify: str | Strata | None = None,
        min_gap: str | Gap | None = None,
        gap_per: str = "camera",
        max_bytes: int | str | None = None,
        window: int | str | None = None,
        window_budget: int | None = None,
        window_bytes: int | str | None = None,
        exclude: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
        include: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
        diverse: str | float | Diverse | None = None,
        features: str = "auto",
        metric: str = "cosine",
        **options: Unpack[AcquisitionOptions],
    ) -> Ranking:
        """Read values or their text, as `select` and ``score_pool`` take them.

        ``options`` are the options that `function_options` documents.

        Parameters
        ----------
        acquisition : str
            One of `acquisition_names`; or ``clasp``, which is ``entropy`` with ``stratify``
            class:66% and ``stochastic`` power:1, unless these are given.
        seed : int
            Seed of functions that take one, such as ``random``, and of ``stochastic``.
        stochastic : str, optional
            Draw rows one after another instead of taking the best. With ``power`` the chance of a
            row is proportional to its score (or score per cost), with ``power:2`` to the square of
            the score. With ``softrank`` it is proportional to 1/rank, for functions where a score
            of 0 has no special meaning (:mod:`deal.selection.stochastic`). If you draw in several
            rounds, give each round another seed.
        budget : int or str, optional
            ``500`` (rows), ``"5%"`` (of the rows that have a score, rounded up),
            ``"regions:2000"``, ``"pixels:5e6"`` (raster pixels that no mask hides, ``n_pixels``)
            or ``"clicks:20000"``; every unit also takes a percentage. ``"2GB"`` limits the bytes
            of the files, as ``max_bytes`` does. None ranks everything.
        table : ``images`` or ``regions``, optional
            The table to rank; by default images, or regions if the budget counts regions.
        by : ``score`` or ``score-per-cost``, optional
            What to order rows by; by default score per cost if the budget is in pixels or clicks,
            otherwise score.
        cost : ``count``, ``pixels`` or ``clicks``, optional
            What a row costs when the budget counts rows; by default the unit of the budget.
        click_corner, click_length, click_fixed : float
            Clicks per corner of the predicted boundaries, per raster pixel of their length, and
            per row (:class:`deal.selection.ClickModel`).
        max_per_image : int, optional
            The largest number of regions to take from one image.
        spread : str
            How far apart picks of images lie. ``auto`` spreads the picks of a budget of images:
            by a gap in time where timestamps or names tell sequence and time, otherwise over
            kinds of images, by the distance of their embeddings or statistics. The gap is a third
            of what each pick would have for itself if picks were spread evenly. ``2s``, ``500ms``
            or ``60f`` sets the gap. A gap gives way where the budget could not be filled.
            ``auto`` leaves draws, strata, ``diverse``, ``core-set``, ``random`` and ``min_gap`` as
            they are. ``off`` ranks by score alone.
        near_duplicates : str or float
            Of two picks whose thumbnails differ by at most so many grey levels, without their
            means, only the one that comes first in the order stays, whatever its sequence and
            folder. ``auto`` is 1.5 where ``spread`` is not ``off``, except for ``random``, and
            near-duplicates then fill what is left of the budget. ``off`` compares none.
        quota : str or several
            ``camera=20%``: no camera takes more than 20 % of the budget;
            ``camera:front=100``: the camera ``front`` takes at most 100, in the budget's unit.
            Attributes are ``camera``, ``sequence``, ``folder`` (the directory in the id), and the
            attributes that a manifest gives.
        stratify : str, optional
            ``class:66%``: two thirds of the budget go to the predicted classes in turn, so that
            each takes as much, and the rest goes by the score alone. ``sequence`` or another
            attribute of ``quota``: each value takes its share of the pool
            (:mod:`deal.selection.strata`). Picks are ranked as they are taken.
        min_gap : str, optional
            Least distance between selected images of one ``sequence``: ``2s`` or ``500ms`` by
            ``timestamp_ns``, ``30f`` by the last number in the stem of the id.
        gap_per : ``camera`` or ``sequence``
            Whether gaps count for each camera of a sequence alone, or for all of them together.
        max_bytes : int or str, optional
            Bytes that the files of all images take together: ``2GB``. The best are taken that fit:
            the first that does not fit ends the list.
        window : int or str, optional
            Windows of time that have limits of their own: ``1h``, or nanoseconds, by
            ``timestamp_ns``. An image that ``min_gap`` refuses is refused before its window counts.
        window_budget : int, optional
            Images to take from each window.
        window_bytes : int or str, optional
            Bytes that the files of each window take together.
        exclude : path or several
            Lists of ids (CSV with a column ``id``, or text) to leave out.
        include : path or several
            Lists of ids to take first, whatever their score, quotas and gaps; they count against
            the budget.
        diverse : float or str, optional
            Pick by k-center greedy (:mod:`deal.acquisitions.k_center`) among the best rows.
            ``4`` takes the rows that together cost 4 times the budget, ``"50%"`` half of all rows
            that are neither excluded nor included. Excluded images that are stored count as
            covered.
        features : ``auto``, ``embedding`` or ``statistics``
            What k-center greedy compares images by; ``auto`` is the embedding if there is one.
        metric : ``cosine`` or ``euclidean``
            The distance that k-center greedy uses.

        Raises
        ------
        UsageError
            A value is invalid, values contradict each other, or a list cannot be read.
        """
        if policy := POLICIES.get(acquisition):
            acquisition = policy.acquisition
            stratify, stochastic = stratify or policy.stratify, stochastic or policy.stochastic
        parsed = parse_budget(budget)
        if parsed.unit == "bytes":
            if max_bytes is not None:
                raise UsageError(f"budget {budget} is in bytes already: leave max_bytes out")
            assert parsed.amount is not None
            max_bytes = int(parsed.amount)
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
            stratify=parse_strata(stratify),
            spread=parse_spread(spread),
            near_duplicates=parse_near_duplicates(near_duplicates),
            min_gap=parse_gap(min_gap),
            gap_per=gap_per,
            limits=Limits.of(
                max_bytes=max_bytes,
                window=window,
                window_budget=window_budget,
                window_bytes=window_bytes,
            ),
            exclude=read_id_lists(_paths(exclude)),
            include=read_id_lists(_paths(include)),
            diverse=parse_diverse(diverse),
            features=features,
            metric=metric,
        )
        ranking.check(bound)
        return ranking

    def bind(self, classes: tuple[str, ...] | None) -> Bound:
        """Bind the acquisition function to its options; UsageError for unknown classes."""
        return bind(
            self.acquisition, table=self.table, classes=classes, seed=self.seed, **self.options
        )

    def of_regions(self, classes: tuple[str, ...] | None) -> Bound | None:
        """Bind the function to the table of regions, to rank the regions of one image.

        None if the function scores only images, or scores regions by their ids or by totals of the
        pool.
        """
        if "regions" not in find(self.acquisition).tables:
            return None
        bound = replace(self, table="regions").bind(classes)
        return None if bound.needs_totals or "id" in bound.columns else bound

    def to_dict(self, bound: Bound | None = None) -> dict[str, Any]:
        """Every setting as JSON values; a list of ids as its length and digest."""
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
            **({} if self.stratify is None else {"stratify": str(self.stratify)}),
            "spread": str(self.spread),
            "near_duplicates": str(self.near_duplicates),
            "min_gap": None if self.min_gap is None else self.min_gap.text,
            **({} if self.gap_per == "camera" else {"gap_per": self.gap_per}),
            **self.limits.to_dict(),
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


def _paths(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
) -> list[str]:
    several = [paths] if isinstance(paths, (str, os.PathLike)) else paths
    return [os.fspath(path) for path in several]


def _described(names: IdList) -> dict[str, Any] | None:
    return {"names": len(names), "sha256": names.sha256()} if len(names) else None
