"""Picking by distance: ``core-set`` among all rows, ``diverse`` among the best."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions.k_center import deviations, features, k_center_greedy, raw_features
from deal.acquisitions.partitioned import picks_of_parts
from deal.errors import ResultsError
from deal.selection.greedy import Choice
from deal.selection.order import name_hashes, rank
from deal.selection.ranking import Ranking
from deal.selection.rows import Rows

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FEATURE_COLUMNS", "by_id", "check_embedding", "choose_apart"]

_STATISTICS = ("n_pixels", "class_pixels", "class_difficulty_sum", "class_entropy_sum")
_EXACT_ROWS = 10_000_000
_PART_ROWS = 1 << 19
_SCALE_ROWS = 1 << 17
FEATURE_COLUMNS = {
    "auto": ("embedding", *_STATISTICS),
    "embedding": ("embedding",),
    "statistics": _STATISTICS,
}

Scale: TypeAlias = list[tuple[float, float]]
"""Mean and deviation of each feature; empty for embeddings, which stay as they are."""


def choose_apart(
    rows: Rows,
    ranking: Ranking,
    choice: Choice,
    candidates: NDArray[np.int64],
    labeled: NDArray[np.int64],
    *,
    by_score: bool,
) -> tuple[dict[str, Any], list[str]]:
    """Take candidates by k-center greedy, each the farthest from all labeled and taken rows.

    If a rule refuses a pick, the pick drops out and picking goes on; it counts as covered only in
    the round in which it was picked. Features made from statistics are standardised over
    candidates, labeled and taken rows.

    Parameters
    ----------
    candidates, labeled : ndarray of int64
        Row numbers; candidates with the best first.
    by_score : bool
        If True, rows keep their scores, and the best candidate is picked first where there is no
        center yet. Otherwise each score becomes the distance at which the row was picked: NaN for
        a first pick without a center and for rows that were included.

    Returns
    -------
    metadata : dict
        A digest of the features, and the number of parts if there were too many candidates.
    notes : list of str
        How many candidates have no features and can therefore not be picked, and whether picks come
        from parts.
    """
    taken = np.array(choice.taken, np.int64)
    known = by_id(rows, np.concatenate([candidates, labeled, taken]))
    scale: Scale | None = None
    metadata: dict[str, Any] = {}
    notes: list[str] = []
    among = candidates
    if len(candidates) > _EXACT_ROWS:
        scale = _scale(rows, known, ranking.features)
        centers = np.concatenate([labeled, taken])
        among, parts = _shortlist(rows, ranking, choice, candidates, centers, scale)
        known = by_id(rows, np.concatenate([among, centers]))
        metadata["parts"] = parts
        notes.append(
            f"{len(candidates):,} candidates are too many for one search by distance: picks come "
            f"from the picks of {parts} parts (GreeDi)"
        )
    vectors = _features(rows, known, ranking.features, scale)
    finite = np.isfinite(vectors).all(axis=1)
    place = np.full(len(rows), -1, np.int64)
    place[known[finite]] = np.flatnonzero(finite)
    distances = np.full(len(rows), np.nan)
    waiting = among[place[among] >= 0]
    best = waiting[0] if len(waiting) and by_score else None
    while True:
        waiting = waiting[choice.fits(waiting)]
        if not len(waiting):
            break
        centers = place[np.concatenate([labeled, np.array(choice.taken, np.int64)])]
        centers = centers[centers >= 0]
        mask = np.zeros(len(known), dtype=bool)
        mask[place[waiting]] = True
        starts = best is not None and not len(centers) and mask[place[best]]
        picks, found = k_center_greedy(
            vectors,
            min(choice.remaining(waiting), len(waiting)),
            metric=ranking.metric,
            centers=centers,
            candidates=mask,
            first=int(place[best]) if starts else None,
        )
        order = known[picks]
        distances[order] = np.where(np.isfinite(found), found, np.nan)
        choice.choose(order)
        waiting = waiting[~np.isin(waiting, order)]
    if not by_score:
        taken = np.array(choice.taken, np.int64)
        rows.scores[taken] = distances[taken]
    if lacking := 0 if scale is not None else int((place[candidates] < 0).sum()):
        notes.append(
            f"{lacking} of {len(candidates)} candidates have no {ranking.features} features and "
            "are not picked; score them again with the model that scored the others"
        )
    metadata["features_sha256"] = sha256(vectors.astype("<f4").tobytes()).hexdigest()
    return metadata, notes


def by_id(rows: Rows, some: NDArray[np.int64]) -> NDArray[np.int64]:
    """Distinct rows sorted by id: ties of distance do not depend on the order of the storage."""
    import pyarrow as pa

    known = np.unique(some)
    return known[rank(rows.ids.take(pa.array(known)), np.zeros(len(known)))]


def _shortlist(
    rows: Rows,
    ranking: Ranking,
    choice: Choice,
    candidates: NDArray[np.int64],
    centers: NDArray[np.int64],
    scale: Scale,
) -> tuple[NDArray[np.int64], int]:
    """Candidates that are picked in their part of the pool, and how many parts there are.

    Parts are ranges of ids, which usually lie together in files, however the pool was scored.
    """
    ordered = by_id(rows, candidates)
    parts = np.array_split(ordered, -(-len(ordered) // _PART_ROWS))
    taken = _features(rows, centers, ranking.features, scale)
    taken = taken[np.isfinite(taken).all(axis=1)]
    picks = picks_of_parts(
        ((part, _features(rows, part, ranking.features, scale)) for part in parts),
        choice.remaining(candidates),
        metric=ranking.metric,
        centers=taken,
    )
    kept = np.zeros(len(rows), bool)
    kept[picks] = True
    kept[candidates[0]] = True  # the best, which may have to come first
    return candidates[kept[candidates]], len(parts)


def _scale(rows: Rows, known: NDArray[np.int64], which: str) -> Scale:
    """Mean and deviation of each statistic, by the rows whose ids have the least hashes."""
    import pyarrow as pa

    hashes = name_hashes(rows.ids.take(pa.array(known)))
    sample = known[np.sort(np.argsort(hashes, kind="stable")[:_SCALE_ROWS])]
    values, is_embedding = raw_features(rows.read(sample, ["id", *FEATURE_COLUMNS[which]]))
    if is_embedding:
        return []
    usable = np.isfinite(values).all(axis=1)
    return [deviations(column[usable]) for column in values.T] if usable.any() else []


def check_embedding(table: pa.Table, which: str) -> None:
    """Raise ResultsError if ``features embedding`` are wanted, and rows have none."""
    if (
        len(table)
        and which == "embedding"
        and (
            "embedding" not in table.column_names
            or table.column("embedding").null_count == len(table)
        )
    ):
        raise ResultsError(
            "features embedding: the results have no embedding; score with a model exported with "
            "deal export --embedding, or give features statistics"
        )


def _features(
    rows: Rows, known: NDArray[np.int64], which: str, scale: Scale | None = None
) -> NDArray[np.float32]:
    """Features of rows; standardised by their own deviations, or by those that are given."""
    table: pa.Table = rows.read(known, ["id", *FEATURE_COLUMNS[which]])
    check_embedding(table, which)
    if not len(known):
        return np.empty((0, 0), np.float32)
    if scale is None:
        return features(table)
    values, _ = raw_features(table)
    for column, (mean, deviation) in zip(values.T, scale, strict=False):
        column -= mean
        column /= deviation or np.inf  # a constant tells nothing
    return np.ascontiguousarray(values, np.float32)
