"""TypiClust: images that are typical of clusters that no label covers, for a pool without labels.

Hacohen et al., ICML 2022, arXiv 2202.02794. Before anything is labeled, what is usual teaches more
than what is rare, so a first set should be typical; clusters keep it diverse.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["typical_clusters"]

NEIGHBOURS = 20
_ROUNDS = 50
_BLOCK = 1024
_FINER = 64.0  # distances are rounded to parts of a step, so that their sums are exact

Rows = NDArray[np.float64]


def typical_clusters(
    features: Rows, count: int, *, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Divide rows into clusters by k-means, and say how far each lies from its neighbours there.

    Centers start as by k-means++ (Arthur and Vassilvitskii, 2007), from the bits of Philox with
    ``seed``; 50 rounds at most follow. All sums are exact, so the result is the same on any
    machine.

    Parameters
    ----------
    features : ndarray of float64 [n, E]
        Whole numbers up to 2²⁰, n ≥ 1.
    count : int
        How many clusters to make; fewer if fewer rows differ.
    seed : int

    Returns
    -------
    clusters : ndarray of int64 [n]
        Number of each row's cluster, from 0.
    distances : ndarray of float64 [n]
        Mean distance to the 20 nearest rows of its cluster, or to all if there are fewer; the less,
        the more typical. NaN for the only row of a cluster.
    """
    centers = _start(features, count, seed)
    clusters = _nearest(features, centers)
    for _ in range(_ROUNDS):
        order = np.argsort(clusters, kind="stable")
        sizes = np.bincount(clusters, minlength=len(centers))
        filled = np.flatnonzero(sizes)
        starts = np.concatenate([[0], np.cumsum(sizes[filled])[:-1]])
        sums = np.add.reduceat(features[order], starts, axis=0)
        centers = centers.copy()
        centers[filled] = np.rint(sums / sizes[filled, None])
        before, clusters = clusters, _nearest(features, centers)
        if (before == clusters).all():
            break
    clusters = np.unique(clusters, return_inverse=True)[1].reshape(-1)
    distances = np.full(len(features), np.nan)
    for cluster in range(int(clusters.max()) + 1):
        members = np.flatnonzero(clusters == cluster)
        if len(members) > 1:
            distances[members] = _to_neighbours(features[members])
    return clusters, distances


def _start(features: Rows, count: int, seed: int) -> Rows:
    """Centers [k, E] that are rows, each drawn by the squared distance to those before."""
    bits = np.random.Philox(key=seed % 2**64).random_raw(count)
    chances = (bits >> np.uint64(11)).astype(np.float64) / 2.0**53
    chosen = [int(chances[0] * len(features))]
    apart = _squares(features, features[chosen])[:, 0]
    for chance in chances[1:]:
        total = np.cumsum(apart)
        if total[-1] == 0:
            break
        chosen.append(int(np.searchsorted(total, chance * total[-1], "right")))
        apart = np.minimum(apart, _squares(features, features[chosen[-1:]])[:, 0])
    return features[chosen]


def _squares(rows: Rows, others: Rows) -> Rows:
    """Squared distances [n, m], exact: whole numbers below 2⁵³ in any order of their sums."""
    found = (rows**2).sum(axis=1)[:, None] + (others**2).sum(axis=1) - 2 * (rows @ others.T)
    return np.asarray(found)


def _nearest(rows: Rows, centers: Rows) -> NDArray[np.int64]:
    """Number of the nearest center, the first of several: int64 [n]."""
    blocks = range(0, len(rows), _BLOCK)
    found = [_squares(rows[start : start + _BLOCK], centers).argmin(axis=1) for start in blocks]
    return np.concatenate(found).astype(np.int64)


def _to_neighbours(rows: Rows) -> NDArray[np.float64]:
    """Mean distance of each row to its nearest other ones, float64 [n]."""
    count = min(NEIGHBOURS, len(rows) - 1)
    found = []
    for start in range(0, len(rows), _BLOCK):
        apart = np.sqrt(_squares(rows[start : start + _BLOCK], rows))
        apart = np.rint(apart * _FINER)
        nearest = np.partition(apart, count, axis=1)[:, : count + 1]  # the row itself is at 0
        found.append(nearest.sum(axis=1) / (count * _FINER))
    return np.concatenate(found)
