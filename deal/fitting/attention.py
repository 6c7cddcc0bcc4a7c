"""Features of cells and their attention averages, which the head's weights multiply."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from deal.fitting.pixels import resize, softmax
from deal.kernel.statistics import difficulty_grid
from deal.model.head import DifficultyHead

__all__ = ["attention_means", "pair_means"]

_MANY_CLASSES = 24
_BLOCK = 256

Float = NDArray[np.float32]


def attention_means(
    logits: Float,
    grid: tuple[int, int],
    align_corners: bool,
    threads: int | None,
    uncertainty: bool = False,
) -> tuple[Float, Float]:
    """Features ``f`` of the attention grid's cells and their attention averages ``A``.

    ``A_j = Σ_i k_ji f_i / Σ_i k_ji`` with ``k_ji = exp(p_j · p_i)``: F numbers per cell. They do
    not depend on the head, since ``a_j = gamma · w·A_j + w·f_j + b``.

    Parameters
    ----------
    logits : ndarray of float32 [1, C, h, w], finite
    grid : (gh, gw)
    align_corners : bool
        Of the resize to the grid.
    threads : int or None
        Of the kernel; None takes every core.
    uncertainty : bool
        The features are the C class probabilities p; with it the C variances p(1 − p) follow.

    Returns
    -------
    f, A : ndarray of float32 [F, gh, gw]
        F is C or 2C.
    """
    p = softmax(resize(logits[0], grid, align_corners))
    features = np.concatenate([p, p * (1 - p)]) if uncertainty else p
    # The kernel averages one number per cell, so it runs once per class, and each run costs more
    # with more classes: with many, one pass over all pairs of cells is cheaper.
    if len(p) > _MANY_CLASSES:
        flat = features.reshape(len(features), -1)
        return features, pair_means(flat[: len(p)], flat).reshape(features.shape)
    averages = []
    for unit, own in zip(np.eye(len(features)), features, strict=True):
        weight, uncertainty_weight = unit[: len(p)], unit[len(p) :] if uncertainty else None
        head = DifficultyHead(1.0, weight, 0.0, grid, uncertainty_weight)  # gives A_f + f
        a = difficulty_grid(logits, head, align_corners=align_corners, threads=threads)[0]
        averages.append(a - own)
    return features, np.stack(averages)


def pair_means(p: Float, values: Float, kernel: Callable[[Float], Float] = np.exp) -> Float:
    """Attention averages of values [K, N] over all pairs of cells of probabilities p [C, N].

    It works in blocks of cells, so an [N, N] matrix never exists. ``kernel`` takes the dot
    products of a block, float32 [n, N] in 0…1, to their weights.
    """
    average = np.empty_like(values)
    for begin in range(0, p.shape[1], _BLOCK):
        cells = slice(begin, begin + _BLOCK)
        weights = kernel(p[:, cells].T @ p)
        average[:, cells] = values @ weights.T / weights.sum(axis=1)
    return average
