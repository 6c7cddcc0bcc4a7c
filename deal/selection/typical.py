"""Picking what is typical of clusters: ``typiclust``, for a first set before any label."""

from __future__ import annotations

import heapq
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions.k_center import deviations, raw_features
from deal.acquisitions.typiclust import typical_clusters
from deal.selection.diverse import FEATURE_COLUMNS, by_id, check_embedding
from deal.selection.greedy import Choice
from deal.selection.kinds import STEPS, rounded
from deal.selection.order import name_hashes
from deal.selection.ranking import Ranking
from deal.selection.rows import Rows

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["choose_typical"]

_MOST_CLUSTERS = 500
_MOST_ROWS = 1 << 16
_SMALL = 5


def choose_typical(
    rows: Rows,
    ranking: Ranking,
    choice: Choice,
    candidates: NDArray[np.int64],
    labeled: NDArray[np.int64],
) -> tuple[dict[str, Any], list[str]]:
    """Take the most typical row of the cluster that labels cover least, again and again.

    There are as many clusters as labeled rows, taken rows and picks together, at most 500. The next
    pick is of the cluster with the fewest labeled and taken rows; of several of the largest; of
    several of the one with the lowest number. Clusters of fewer than 5 rows come last. Within a
    cluster the row with the least mean distance to its neighbours comes first; ties go by id. A
    pick that a rule refuses drops out, and the next row of the cluster takes its turn. Scores of
    the rows become 1 / (1 + mean distance), NaN for the only row of a cluster.

    Parameters and results are those of :func:`deal.selection.diverse.choose_apart`. Of more than
    65,536 candidates only those whose ids have the least hashes are looked at.
    """
    import pyarrow as pa

    notes: list[str] = []
    taken = np.array(choice.taken, np.int64)
    if len(candidates) > _MOST_ROWS:
        hashes = name_hashes(rows.ids.take(pa.array(candidates)))
        notes.append(
            f"{len(candidates):,} candidates are too many to cluster: picks come from the "
            f"{_MOST_ROWS:,} whose ids have the least hashes"
        )
        candidates = candidates[np.sort(np.argsort(hashes, kind="stable")[:_MOST_ROWS])]
    known = by_id(rows, np.concatenate([candidates, labeled, taken]))
    table = rows.read(known, ["id", *FEATURE_COLUMNS[ranking.features]])
    check_embedding(table, ranking.features)
    values, usable, step = _whole(table)
    known, open_rows = known[usable], np.zeros(len(rows), bool)
    if lacking := int((~usable).sum()):
        notes.append(
            f"{lacking} of {len(usable)} images have no {ranking.features} features and are not "
            "looked at; score them again with the model that scored the others"
        )
    open_rows[candidates] = True
    covers, is_open = ~open_rows[known], open_rows[known]
    metadata = {"features_sha256": sha256(values.astype("<f4").tobytes()).hexdigest()}
    if not is_open.any():
        return {**metadata, "clusters": 0}, notes
    wanted = min(choice.remaining(known[is_open]), int(is_open.sum()))
    count = max(min(int(covers.sum()) + wanted, _MOST_CLUSTERS), 1)
    clusters, distances = typical_clusters(values, count, seed=ranking.seed)
    rows.scores[known] = 1.0 / (1.0 + distances / step)
    choice.load(known[is_open])
    waiting, turns = [], []
    for cluster in range(int(clusters.max()) + 1):
        members = np.flatnonzero(clusters == cluster)
        mine = members[is_open[members]]
        waiting.append(iter(known[mine[np.argsort(distances[mine], kind="stable")]].tolist()))
        covered = int(covers[members].sum())
        turns.append((len(members) < _SMALL, covered, -len(members), cluster))
    heapq.heapify(turns)
    while turns and not choice.is_full(known[is_open]):
        small, covered, size, cluster = turns[0]
        if any(choice.take_one(row) for row in waiting[cluster]):
            heapq.heapreplace(turns, (small, covered + 1, size, cluster))
        else:
            heapq.heappop(turns)
    return {**metadata, "clusters": len(waiting)}, notes


def _whole(table: pa.Table) -> tuple[NDArray[np.float64], NDArray[np.bool_], int]:
    """Features of the usable rows as whole numbers [m, E], which rows are usable [n], and 1."""
    values, is_embedding = raw_features(table)
    usable = np.asarray(np.isfinite(values).all(axis=1))
    values = values[usable].astype(np.float64)
    if len(values):
        scale = [] if is_embedding else [deviations(column) for column in values.T]
        values = rounded(values, is_embedding, scale)
    return values, usable, STEPS[is_embedding]
