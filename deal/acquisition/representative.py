"""Functions that pick rows one by one, so that picks differ from each other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deal.acquisition.columns import Table
from deal.acquisition.registry import acquisition
from deal.diversity import METRICS, features, k_center_greedy
from deal.errors import UsageError

__all__ = ["core_set"]


def _check(metric: str) -> dict[str, Any]:
    if metric not in METRICS:
        raise UsageError(f"metric must be {' or '.join(METRICS)}, not {metric!r}")
    return {}


@acquisition(
    "core-set",
    requires=["embedding", "n_pixels", "class_pixels", "class_difficulty_sum", "class_entropy_sum"],
    formula="next = argmax over rows of the distance to the nearest labeled or picked row",
    source="k-center greedy: Sener & Savarese, ICLR 2018, arXiv 1708.00489, algorithm 1",
    check=_check,
    greedy=True,
)
def core_set(
    columns: Table,
    *,
    count: int,
    centers: ArrayLike | None,
    candidates: ArrayLike | None,
    metric: str = "cosine",
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Pick the row farthest from all labeled and picked ones, again and again.

    Features of a row are its ``embedding`` [n, E], else class and difficulty statistics
    (:func:`deal.diversity.features`). Parameters and result are those of
    :func:`deal.diversity.k_center_greedy`.
    """
    rows = features(columns)
    usable = np.isfinite(rows).all(axis=1)
    if candidates is not None:
        usable &= np.asarray(candidates, dtype=bool)
    return k_center_greedy(rows, count, metric=metric, centers=centers, candidates=usable)
