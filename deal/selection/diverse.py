"""Picking by distance: ``core-set`` among all rows, ``diverse`` among the best."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions.k_center import features, k_center_greedy
from deal.errors import ResultsError
from deal.selection.greedy import Choice
from deal.selection.order import rank
from deal.selection.ranking import Ranking
from deal.selection.rows import Rows

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FEATURE_COLUMNS", "choose_apart"]

_STATISTICS = ("n_pixels", "class_pixels", "class_difficulty_sum", "class_entropy_sum")
FEATURE_COLUMNS = {
    "auto": ("embedding", *_STATISTICS),
    "embedding": ("embedding",),
    "statistics": _STATISTICS,
}


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
        A digest of the features.
    notes : list of str
        How many candidates have no features and can therefore not be picked.
    """
    import pyarrow as pa

    known = np.unique(np.concatenate([candidates, labeled, np.array(choice.taken, np.int64)]))
    # Sorted by id, so that ties of distance do not depend on the order in which rows are stored.
    known = known[rank(rows.ids.take(pa.array(known)), np.zeros(len(known)))]
    vectors = _features(rows, known, ranking.features)
    finite = np.isfinite(vectors).all(axis=1)
    place = np.full(len(rows), -1, np.int64)
    place[known[finite]] = np.flatnonzero(finite)
    distances = np.full(len(rows), np.nan)
    waiting = candidates[place[candidates] >= 0]
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
    lacking = int((place[candidates] < 0).sum())
    notes = [
        f"{lacking} of {len(candidates)} candidates have no {ranking.features} features and are "
        "not picked; score them again with the model that scored the others"
    ]
    metadata = {"features_sha256": sha256(vectors.astype("<f4").tobytes()).hexdigest()}
    return metadata, notes if lacking else []


def _features(rows: Rows, known: NDArray[np.int64], which: str) -> NDArray[np.float32]:
    table: pa.Table = rows.read(known, ["id", *FEATURE_COLUMNS[which]])
    if (
        len(known)
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
    return features(table) if len(known) else np.empty((0, 0), np.float32)
