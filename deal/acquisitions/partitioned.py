"""Core-sets of pools whose features do not fit into memory: greedy in parts, then among the picks.

Each part of the pool gives as many rows as are wanted, picked by `k_center_greedy`. They are the
candidates of one last search (GreeDi: Mirzasoleiman et al., NeurIPS 2013, arXiv 1605.06418). A pick
of exact greedy leaves no row farther away than twice the best possible; for these it is four times,
whatever the parts are (Malkomes et al., NeurIPS 2015), and in practice little more than for exact
greedy: ``deal bench core-set --parts N`` measures it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions.k_center import k_center_greedy

__all__ = ["picks_of_parts"]


def picks_of_parts(
    parts: Iterable[tuple[NDArray[np.int64], NDArray[np.float32]]],
    count: int,
    *,
    metric: str = "cosine",
    centers: NDArray[np.float32],
    threads: int | None = None,
) -> NDArray[np.int64]:
    """Pick up to ``count`` rows of each part by greedy k-center.

    Parameters
    ----------
    parts : iterable of (rows, features)
        Numbers int64 [n] of rows and their features float32 [n, E]; one part is in memory at a
        time. Rows whose features are not finite are never picked.
    count : int
        Rows of each part.
    metric : ``cosine`` or ``euclidean``
    centers : ndarray of float32 [k, E]
        Features of the rows that are taken already.
    threads : int, optional
        As `k_center_greedy` has it.

    Returns
    -------
    ndarray of int64 [m]
        Numbers of the picked rows, part by part in the order of picking.

    Raises
    ------
    UsageError
        As `k_center_greedy` raises it.
    """
    found = [np.empty(0, np.int64)]
    for rows, features in parts:
        known = np.isfinite(features).all(axis=1)
        taken = np.arange(len(centers))
        picks, _ = k_center_greedy(
            np.concatenate([centers.reshape(len(centers), features.shape[1]), features]),
            count,
            metric=metric,
            centers=taken,
            candidates=np.concatenate([np.zeros(len(centers), bool), known]),
            threads=threads,
        )
        found.append(rows[picks - len(centers)])
    return np.concatenate(found)
