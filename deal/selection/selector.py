"""``select``: from stored rows to a selection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import NDArray

from deal._options import takes
from deal.acquisitions import Bound
from deal.acquisitions.options import OF_PLUGINS, function_options
from deal.errors import ResultsError
from deal.pool.ids import sequence_pattern
from deal.selection.budget import Budget
from deal.selection.columns import read_texts, to_table
from deal.selection.diverse import choose_apart
from deal.selection.document import Selection
from deal.selection.gather import (
    Rows,
    gather,
    image_codes,
    notes_on_quotas,
    pool_totals,
    scored_pieces,
)
from deal.selection.greedy import Cap, Choice, Rule, Spacing
from deal.selection.limits import LimitRule, read_measures
from deal.selection.order import digest, name_hashes, rank
from deal.selection.ranking import Ranking, SelectOptions
from deal.selection.rules import IdList
from deal.selection.sources import Source, Sources
from deal.selection.spreading import Spreading, asks_for_places

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["score_sources", "select", "select_by"]

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
    if sequence_from is not None:
        sequence_pattern(sequence_from)
    return select_by(sources, replace(Ranking.of(**options), sequence_from=sequence_from))


def select_by(sources: Source | Iterable[Source], ranking: Ranking) -> Selection:
    """Select by the settings of a `Ranking`; raises the errors of `select`."""
    stored = Sources(sources, ranking.table)
    bound = ranking.bind(stored.classes)
    rows, totals = gather(stored, bound, ranking, with_places=asks_for_places(ranking, bound))
    _trim()
    order = rank(rows.ids, _keys(rows, ranking), regions=rows.regions)
    _trim()
    choice, extra, notes = _choose(stored, bound, ranking, rows, order)
    taken = np.frombuffer(choice.taken, np.int64)
    metadata: dict[str, Any] = {
        "format": 1,
        **ranking.to_dict(bound),
        "ties": _ties(rows, ranking),
        "rows": len(rows),
        "scored": len(order),
        "selected": len(taken),
        "spent": _plain(choice.spent),
        "fingerprint": stored.fingerprint,
    }
    del choice
    _trim()
    with ThreadPoolExecutor(1) as executor:  # digest and choice each take seconds for many rows
        hashed = executor.submit(digest, rows.ids, rows.scores, order, rows.regions)
        texts = read_texts(stored, rows, taken, bound, totals)
    metadata |= {"scores_sha256": hashed.result(), **extra}
    rows = rows.take(taken)
    del order, taken, hashed
    _trim()
    table = to_table(stored, rows, texts, bound, ranking)
    _trim()
    return Selection(table, metadata, tuple(notes))


def _trim() -> None:
    """Return freed memory to the system; otherwise it stays in pieces too small for later needs."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


def _choose(
    stored: Sources, bound: Bound, ranking: Ranking, rows: Rows, order: NDArray[np.int64]
) -> tuple[Choice, dict[str, Any], list[str]]:
    """Return the rows that are taken, further metadata, and notes for the user."""
    scored = ~np.isnan(rows.scores)
    excluded = _named(rows, ranking.exclude)
    included = _named(rows, ranking.include)
    limit = ranking.budget.resolve(_total(rows, order, ranking))
    notes = [
        *(notes_on_quotas(rows, ranking) if len(order) else ()),
        *_lacking(ranking.exclude, rows, excluded, "exclude", "not in the results"),
        *_lacking(ranking.include, rows, included & scored, "include", "no scored rows"),
    ]
    labeled = np.flatnonzero(excluded & scored)
    spreading = Spreading.of(stored, rows, ranking, bound, order, limit, labeled)
    choice = _choice(rows, ranking, limit, order, spreading)
    if ranking.limits:
        choice.limits = LimitRule(
            ranking.limits, lambda some: read_measures(stored, ranking.limits, some)
        )
    first = order[included[order]]
    choice.take(first)
    if len(first) and choice.spent > limit:
        raise ResultsError(
            f"the {len(first)} included rows cost {_plain(choice.spent)}, more than the budget of "
            f"{_plain(limit)}: give a larger budget or a shorter list"
        )
    if choice.limits is not None:
        choice.limits.check_included(len(first))
    spreading.cover(labeled)
    open_rows = order[~(included | excluded)[order]]
    if ranking.stochastic is not None:
        open_rows = _drawn(rows, ranking, open_rows)
    if ranking.limits.window_ns is not None and ranking.min_gap is not None:
        open_rows = _apart(rows, ranking, order, first, open_rows)
    extra: dict[str, Any] = {}
    if bound.greedy or ranking.diverse is not None:
        if ranking.diverse is not None:
            spent = np.cumsum(choice.weights[open_rows])
            most = ranking.diverse.resolve(limit, float(spent[-1]) if len(spent) else 0.0)
            fitting = np.searchsorted(spent, most, "right")
            open_rows = open_rows[: max(int(fitting), 1)]
        extra, lacking = choose_apart(
            stored, rows, ranking, choice, open_rows, labeled, by_score=not bound.greedy
        )
        notes += lacking
    else:
        spreading.choose(choice, open_rows)
    taken = np.frombuffer(choice.taken, np.int64)
    if choice.limits is not None and ranking.limits.counts_bytes:
        extra["bytes"] = choice.limits.spent
    extra["spreading"] = spreading.to_dict(taken, order[~excluded[order]])
    notes += spreading.notes()
    if len(order) and rows.unscored:
        notes.append(
            f"{rows.unscored} of {len(rows)} rows are ok but have no value for {bound.name}: they "
            "are not ranked"
        )
    if not bound.greedy:
        notes += _tie_notes(_keys(rows, ranking)[order], ranking)
    notes += _budget_notes(rows, ranking, limit, order, choice)
    return choice, extra, notes


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


def _drawn(rows: Rows, ranking: Ranking, among: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows ``among``, best first, in the order in which they are drawn."""
    assert ranking.stochastic is not None
    hashes = name_hashes(rows.ids, rows.regions)[among]
    order = ranking.stochastic.order(_keys(rows, ranking)[among], hashes, ranking.seed)
    return among[order]


def _keys(rows: Rows, ranking: Ranking) -> NDArray[np.float64]:
    """Keys that decide the order; a row that costs nothing goes first if its score is above 0."""
    if ranking.by == "score":
        return rows.scores
    with np.errstate(divide="ignore", invalid="ignore"):
        keys = rows.scores / rows.costs
    keys[(rows.costs == 0) & (rows.scores == 0)] = 0.0
    return np.asarray(keys)


def _weights(rows: Rows, ranking: Ranking) -> NDArray[np.float64]:
    """What each row takes from the budget, which may count rows although they have a cost."""
    return np.broadcast_to(1.0, len(rows)) if ranking.budget.cost == "count" else rows.costs


def _total(rows: Rows, order: NDArray[np.int64], ranking: Ranking) -> float:
    # Sorted, so that the sum does not depend on the order in which rows were stored.
    return float(np.sort(_weights(rows, ranking)[order]).sum())


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
                f"quota {quota} of a budget of {_plain(limit)} is {_plain(most)}, less than any "
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
            rules.append(Spacing(_sequences(rows), rows.times, ranking.min_gap.size, images))
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
    assert ranking.min_gap is not None
    gap = Spacing(_sequences(rows), rows.times, ranking.min_gap.size, image_codes(rows, order))
    alone = Choice(np.broadcast_to(1.0, len(rows)), float("inf"), [gap])
    alone.take(first)
    alone.choose(among)
    return np.array(alone.taken[len(first) :], np.int64)


def _sequences(rows: Rows) -> NDArray[np.integer]:
    """Codes [n] of sequences, or of the cameras of sequences where gaps count for each camera."""
    codes = rows.groups["sequence"].codes.astype(np.int64)
    if "camera" in rows.groups:
        camera = rows.groups["camera"]
        codes = codes * max(len(camera.values), 1) + camera.codes
        codes = np.unique(codes, return_inverse=True)[1].reshape(-1)
    return codes


def _named(rows: Rows, names: IdList) -> NDArray[np.bool_]:
    """Which rows a list names, bool [n]; naming a region also names its image."""
    import pyarrow as pa
    import pyarrow.compute as pc

    listed = set(names.images)
    if rows.regions is None:
        listed |= {name for name, _ in names.regions}
    named = np.zeros(len(rows), dtype=bool)
    if listed:
        values = pa.array(sorted(listed), pa.large_string())
        named |= pc.is_in(rows.ids, values).to_numpy(zero_copy_only=False)
    if rows.regions is not None and names.regions:
        values = pa.array(sorted({name for name, _ in names.regions}), pa.large_string())
        near = np.flatnonzero(pc.is_in(rows.ids, values).to_numpy(zero_copy_only=False))
        pairs = zip(
            rows.ids.take(pa.array(near)).to_pylist(), rows.regions[near].tolist(), strict=True
        )
        named[near] |= np.array([pair in names.regions for pair in pairs], dtype=bool)
    return named


def _lacking(
    names: IdList, rows: Rows, named: NDArray[np.bool_], option: str, what: str
) -> Iterator[str]:
    """Yield a note on names in a list that no row has."""
    import pyarrow as pa

    found = rows.ids.filter(pa.array(named)).to_pylist()
    images = set(found)
    lacking = len(names.images - images)
    if rows.regions is None:
        lacking += len({name for name, _ in names.regions} - images - names.images)
    elif names.regions:
        pairs = set(zip(found, rows.regions[named].tolist(), strict=True))
        lacking += len(names.regions - pairs)
    if lacking:
        yield f"{lacking} of the {len(names)} names to {option} are {what}"


def _tie_notes(keys: NDArray[np.float64], ranking: Ranking) -> Iterator[str]:
    """Yield a note if only ids, or chance, decide the order of the ranked rows."""
    if len(keys) > 1 and (keys == keys[0]).all():
        what = "their ids alone decide" if ranking.stochastic is None else "chance alone decides"
        yield (
            f"all {len(keys)} scores are equal ({keys[0]:g}), so {what} the order: "
            "choose another acquisition function"
        )


def _budget_notes(
    rows: Rows,
    ranking: Ranking,
    limit: float,
    order: NDArray[np.int64],
    choice: Choice,
) -> Iterator[str]:
    what = ranking.table
    if not len(order):
        yield f"none of the {len(rows)} rows has a score: nothing to rank"
    elif ranking.budget.amount is not None and limit > _total(rows, order, ranking):
        unit = "" if ranking.budget.cost == "count" else f" {ranking.budget.cost}"
        taken = len(choice.taken)
        whole = f"all {taken} {what} are"
        if taken < len(order):
            whole = f"the rules leave {taken} of its {len(order)} {what}, which are"
        yield f"the budget of {_plain(limit)}{unit} is larger than the pool: {whole} selected"
    elif not choice.taken and choice.weights[order].min() > limit:
        yield (
            f"the budget of {_plain(limit)} {ranking.budget.cost} pays for none of the "
            f"{len(order)} {what}: the cheapest costs {_plain(float(choice.weights[order].min()))}"
        )
    elif choice.limits is not None and choice.limits.closed and not choice.taken:
        yield "the limit of bytes is below the size of the best image: give a larger one"
    elif ranking.budget.unit == "bytes":
        return
    elif ranking.budget != Budget() and ranking.budget.cost == "count" and choice.spent < limit:
        yield (
            f"the rules allow {len(choice.taken)} of the budget of {_plain(limit)} {what}: no "
            "other may be taken"
        )


def _plain(number: float) -> float | int:
    return int(number) if float(number).is_integer() else number
