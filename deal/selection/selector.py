"""``select``: from stored rows to a selection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import NDArray

from deal._options import takes
from deal.acquisitions import Bound
from deal.acquisitions.options import OF_PLUGINS, function_options
from deal.errors import ResultsError
from deal.pool.ids import sequence_pattern
from deal.selection.columns import read_texts, to_table
from deal.selection.diverse import choose_apart
from deal.selection.document import Selection
from deal.selection.gather import gather, notes_on_quotas, pool_totals, scored_pieces
from deal.selection.greedy import Cap, Choice, Rule, Spacing
from deal.selection.limits import LimitRule, read_measures
from deal.selection.named import Named, lacking
from deal.selection.notes import notes_on_budget, notes_on_ties, plain
from deal.selection.options import SelectOptions
from deal.selection.order import rank
from deal.selection.ranking import Ranking
from deal.selection.reach import Reach, TooFewRowsError
from deal.selection.rows import Rows, image_codes
from deal.selection.rules import IdList
from deal.selection.screened import notes_on_screened
from deal.selection.sources import Source, Sources
from deal.selection.spreading import Spreading, asks_for_places, near_levels
from deal.selection.strata import choose_by_strata
from deal.selection.typical import choose_typical

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ranking_of", "score_sources", "select", "select_by"]

_TIES = "score descending, then id ascending (UTF-8 bytes)"
_REGION_TIES = "score descending, then id ascending (UTF-8 bytes), then region ascending"


@takes(SelectOptions, Ranking.of, function_options, otherwise=OF_PLUGINS)
def select(
    sources: Source | Iterable[Source],
    *,
    sequence_from: str | None = None,
    **options: Unpack[SelectOptions],
) -> Selection:
    """Rank scored images or regions and select as many as the budget allows; no network runs.

    Rows are ordered by score (or score per cost) and taken in that order while budget and rules
    allow. A row that does not fit is skipped; a later row that costs less may still fit.

    Parameters
    ----------
    sources : path, Results, pyarrow.Table, or several of them
        Output folders of `deal-score`, which are ranked together, or tables with ``id``, ``status``
        and the columns that the acquisition function, costs and rules need.
    sequence_from : str, optional
        Regular expression searched in each id; where it matches, its first group is the sequence,
        whatever is stored.

    Raises
    ------
    UsageError
        A name is unknown, or options or the budget do not fit together.
    ResultsError
        A source has no results or lacks a column that is needed, the sources were scored with
        different settings, or an id occurs twice.
    """
    return select_by(sources, ranking_of(sequence_from=sequence_from, **options))


def ranking_of(*, sequence_from: str | None = None, **options: Unpack[SelectOptions]) -> Ranking:
    """The settings of `select` as a record; raises UsageError as `select` does."""
    if sequence_from is not None:
        sequence_pattern(sequence_from)
    return replace(Ranking.of(**options), sequence_from=sequence_from)


def select_by(
    sources: Source | Iterable[Source],
    ranking: Ranking,
    *,
    described: int | None = None,
    bound: Bound | None = None,
) -> Selection:
    """Select by the settings of a `Ranking`; raises the errors of `select`.

    With ``described``, only so many of the first rows get ``uri``, ``polygon`` and ``why``: for
    them all files have to be read again, which takes half of the time. ``bound`` ranks in place of
    the ranking's own function.
    """
    stored = Sources(sources, ranking.table)
    bound = bound or ranking.bind(stored.classes)
    compares = near_levels(ranking, bound) is not None or ranking.spread.kind == "gap"
    reach = Reach.of(ranking, bound, compares=compares)
    while True:
        rows, totals = gather(
            stored, bound, ranking, reach, with_places=asks_for_places(ranking, bound)
        )
        _trim()
        try:
            return _selected(rows, bound, ranking, totals, described)
        except TooFewRowsError:
            reach = reach.further()


def _selected(
    rows: Rows,
    bound: Bound,
    ranking: Ranking,
    totals: NDArray[np.int64] | None,
    described: int | None,
) -> Selection:
    """Choose from rows; TooFewRowsError if they are not enough."""
    order = rank(rows.ids, rows.keys, regions=rows.regions)
    _trim()
    choice, extra, notes = _choose(bound, ranking, rows, order, totals)
    taken = np.frombuffer(choice.taken, np.int64)
    metadata: dict[str, Any] = {
        "format": 1,
        **ranking.to_dict(bound),
        "ties": _ties(rows, ranking),
        "rows": rows.pool.rows,
        "scored": rows.pool.scored,
        **({"skipped": rows.pool.skipped} if rows.pool.skipped else {}),
        "selected": len(taken),
        "spent": plain(choice.spent),
        "fingerprint": rows.source.fingerprint,
        "scores_digest": str(rows.pool.digest),
        **extra,
    }
    del choice, order
    _trim()
    some = len(taken) if described is None else min(described, len(taken))
    texts = read_texts(rows, taken[:some], bound, totals)
    _trim()
    table = to_table(rows, taken, texts, bound, ranking, some)
    _trim()
    return Selection(table, metadata, tuple(notes))


def _trim() -> None:
    """Return freed memory to the system; otherwise it stays in pieces too small for later needs."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


def _choose(
    bound: Bound,
    ranking: Ranking,
    rows: Rows,
    order: NDArray[np.int64],
    totals: NDArray[np.int64] | None,
) -> tuple[Choice, dict[str, Any], list[str]]:
    """Return the rows that are taken, further metadata, and notes for the user."""
    pool, of_regions = rows.pool, rows.regions is not None
    scored = ~np.isnan(rows.scores)
    excluded, included = (
        Named(names, of_regions=of_regions).rows(rows.ids, rows.regions)
        for names in (ranking.exclude, ranking.include)
    )
    total = _total(rows, ranking)
    limit = ranking.budget.resolve(total)
    first = order[rows.first[order]]
    if not rows.is_whole and len(first) < limit + pool.named:
        raise TooFewRowsError
    notes = [
        *(notes_on_quotas(rows, ranking) if pool.scored else ()),
        *_lacking(rows, ranking.exclude, excluded, "exclude", "not in the results"),
        *_lacking(rows, ranking.include, included & scored, "include", "no scored rows"),
    ]
    labeled = np.flatnonzero(excluded & scored)
    spreading = Spreading.of(rows, ranking, bound, order, limit, labeled)
    choice = _choice(rows, ranking, limit, order, spreading)
    if ranking.limits:
        choice.limits = LimitRule(
            ranking.limits,
            lambda some: read_measures(rows.source, ranking.limits, rows.numbers[some]),
        )
    wanted = order[included[order]]
    choice.take(wanted)
    if len(wanted) and choice.spent > limit:
        raise ResultsError(
            f"the {len(wanted)} included rows cost {plain(choice.spent)}, more than the budget of "
            f"{plain(limit)}: give a larger budget or a shorter list"
        )
    if choice.limits is not None:
        choice.limits.check_included(len(wanted))
    spreading.cover(labeled)
    is_open = ~(included | excluded)
    open_rows = order[(is_open & rows.drawn)[order]]
    if rows.draws is not None:
        open_rows = open_rows[np.argsort(-rows.draws[open_rows], kind="stable")]
    if ranking.limits.window_ns is not None and ranking.min_gap is not None:
        open_rows = _apart(rows, ranking, order, wanted, open_rows)
    extra: dict[str, Any] = {}
    if bound.greedy or ranking.diverse is not None:
        if ranking.diverse is not None:
            open_rows = _best(rows, ranking, choice, open_rows, limit)
        if bound.name == "typiclust":
            extra, lacks = choose_typical(rows, ranking, choice, open_rows, labeled)
        else:
            extra, lacks = choose_apart(
                rows, ranking, choice, open_rows, labeled, by_score=not bound.greedy
            )
        notes += lacks
    else:
        if ranking.stratify is not None:
            extra["strata"] = choose_by_strata(rows, ranking, bound, totals, choice, open_rows)
        later = order[(is_open & rows.sampled & ~rows.drawn)[order]]
        spreading.choose(choice, open_rows, later, more=not rows.is_whole)
    taken = np.frombuffer(choice.taken, np.int64)
    if choice.limits is not None and ranking.limits.counts_bytes:
        extra["bytes"] = choice.limits.spent
    available = first[~excluded[first]]
    extra["spreading"] = spreading.to_dict(taken, available, by_score=not bound.greedy)
    notes += spreading.notes()
    if pool.scored and pool.unscored:
        notes.append(
            f"{pool.unscored} of {pool.rows} rows are ok but have no value for {bound.name}: they "
            "are not ranked"
        )
    folders = rows.source.folders
    notes += notes_on_screened(folders, ranking, bound, pool.skipped, pool.rows)
    if not bound.greedy:
        notes += notes_on_ties(pool, ranking, bound)
    notes += notes_on_budget(rows.pool, ranking, limit, total, order, choice)
    return choice, extra, notes


def _best(
    rows: Rows, ranking: Ranking, choice: Choice, open_rows: NDArray[np.int64], limit: float
) -> NDArray[np.int64]:
    """The best rows, from which those that lie apart are picked."""
    assert ranking.diverse is not None
    spent = np.cumsum(choice.weights[open_rows])
    most = ranking.diverse.resolve(limit, float(spent[-1]) if len(spent) else 0.0)
    fitting = max(int(np.searchsorted(spent, most, "right")), 1)
    if fitting >= len(open_rows) and not rows.is_whole:
        raise TooFewRowsError
    return open_rows[:fitting]


def score_sources(
    sources: Source | Iterable[Source], ranking: Ranking
) -> Iterator[tuple[pa.ChunkedArray, NDArray[np.float64]]]:
    """Score the rows of the sources piece by piece; raises the errors of `select`.

    A function that picks by distance has no scores, so nothing is yielded for it.

    Yields
    ------
    ids : pyarrow.ChunkedArray of strings [n]
    scores : ndarray of float64 [n]
        NaN for rows that cannot be ranked.
    """
    stored = Sources(sources, ranking.table)
    bound = ranking.bind(stored.classes)
    totals = pool_totals(stored, bound)
    if not bound.greedy:
        for piece, scores in scored_pieces(stored, bound, totals=totals):
            yield piece.column("id"), scores


def _ties(rows: Rows, ranking: Ranking) -> str:
    if ranking.stochastic is not None:
        return "drawn by a hash of seed and id" + ("" if rows.regions is None else " and region")
    return _TIES if rows.regions is None else _REGION_TIES


def _weights(rows: Rows, ranking: Ranking) -> NDArray[np.float64]:
    """What each row takes from the budget, which may count rows although they have a cost."""
    return np.broadcast_to(1.0, len(rows)) if ranking.budget.cost == "count" else rows.costs


def _total(rows: Rows, ranking: Ranking) -> float:
    """What all rows cost together that have a score, or would have one if they were not skipped."""
    if ranking.budget.cost == "count":
        return float(rows.pool.scored + rows.pool.skipped)
    # Sorted, so that the sum does not depend on the order in which rows were stored.
    return float(np.sort(rows.costs[~np.isnan(rows.keys)]).sum())


def _choice(
    rows: Rows,
    ranking: Ranking,
    limit: float,
    order: NDArray[np.int64],
    spreading: Spreading,
) -> Choice:
    weights = _weights(rows, ranking)
    rules: list[Rule] = []
    for quota in ranking.quotas:
        group = rows.groups[quota.attribute]
        limits = np.full(len(group.values), np.inf)
        most = quota.resolve(limit)
        if len(order) and most < weights[order].min():
            raise ResultsError(
                f"quota {quota} of a budget of {plain(limit)} is {plain(most)}, less than any "
                "row costs: give a larger budget or quota"
            )
        for value, code in group.values.items():
            if quota.value in (None, value):
                limits[code] = most
        rules.append(Cap(group.codes, limits, weights))
    if ranking.max_per_image is not None or ranking.min_gap is not None:
        images = image_codes(rows, order)
        if ranking.max_per_image is not None:
            limits = np.full(int(images.max(initial=-1)) + 1, float(ranking.max_per_image))
            rules.append(Cap(images, limits, np.ones(len(rows))))
        if ranking.min_gap is not None:
            rules.append(_spacing(rows, ranking, images))
    return Choice(weights, limit, [*rules, *spreading.rules], spreading.near)


def _apart(
    rows: Rows,
    ranking: Ranking,
    order: NDArray[np.int64],
    first: NDArray[np.int64],
    among: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Rows ``among``, best first, that the gap alone would take after the ``first``.

    A rig decides the gap before its windows, so an image that its window refuses later has already
    kept others away.
    """
    gap = _spacing(rows, ranking, image_codes(rows, order))
    alone = Choice(np.broadcast_to(1.0, len(rows)), float("inf"), [gap])
    alone.take(first)
    alone.choose(among)
    return np.array(alone.taken[len(first) :], np.int64)


def _spacing(rows: Rows, ranking: Ranking, images: NDArray[np.integer]) -> Spacing:
    """The gap of a ranking, within sequences, or within the cameras of sequences."""
    assert ranking.min_gap is not None
    codes = rows.groups["sequence"].codes.astype(np.int64)
    if ranking.gap_per == "camera":
        camera = rows.groups["camera"]
        codes = codes * max(len(camera.values), 1) + camera.codes
        codes = np.unique(codes, return_inverse=True)[1].reshape(-1)
    return Spacing(codes, rows.times, ranking.min_gap.size, images)


def _lacking(
    rows: Rows, names: IdList, found: NDArray[np.bool_], option: str, what: str
) -> Iterator[str]:
    return lacking(names, rows.ids, rows.regions, found, option, what)
