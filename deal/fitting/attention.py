"""Attention averages of the class probabilities: what the head's weights are multiplied with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from deal.fitting.pixels import resize, softmax
from deal.head import DifficultyHead
from deal.regions import difficulty_grid

__all__ = ["attention_means", "pair_means"]

_MANY_CLASSES = 24
_BLOCK = 256

Float = NDArray[np.float32]


def attention_means(
    logits: Float, grid: tuple[int, int], align_corners: bool, threads: int | None
) -> tuple[Float, Float]:
    """Probabilities ``p`` of the attention grid's cells and their attention averages ``A``.

    ``A_j = Σ_i k_ji p_i / Σ_i k_ji`` with ``k_ji = exp(p_j · p_i)``: C numbers a cell, whatever the
    head, since ``a_j = gamma · w·A_j + w·p_j + b``.

    Parameters
    ----------
    logits : ndarray of float32 [1, C, h, w], finite
    grid : (gh, gw)
    align_corners : bool
        Of the resize to the grid.
    threads : int or None
        Of the kernel; None takes every core.

    Returns
    -------
    p, A : ndarray of float32 [C, gh, gw]
    """
    p = softmax(resize(logits[0], grid, align_corners))
    # The kernel averages one number a cell, so it runs once a class. That costs C times its own
    # cost, which grows with C too: with many classes one pass over all pairs of cells is cheaper.
    if len(p) > _MANY_CLASSES:
        return p, pair_means(p.reshape(len(p), -1)).reshape(p.shape)
    averages = []
    for unit, own in zip(np.eye(len(p)), p, strict=True):
        head = DifficultyHead(1.0, unit, 0.0, grid)  # gives A_c + p_c
        a = difficulty_grid(logits, head, align_corners=align_corners, threads=threads)[0]
        averages.append(a - own)
    return p, np.stack(averages)


def pair_means(p: Float, kernel: Callable[[Float], Float] = np.exp) -> Float:
    """``A`` of p [C, N] over all pairs of cells, in blocks of them: [N, N] never exists.

    ``kernel`` takes the dot products of a block, float32 [n, N] in 0…1, to their weights.
    """
    average = np.empty_like(p)
    for begin in range(0, p.shape[1], _BLOCK):
        cells = slice(begin, begin + _BLOCK)
        weights = kernel(p[:, cells].T @ p)
        sums = p @ weights.T
        average[:, cells] = sums / sums.sum(axis=0)  # p sums to 1, so this is the sum of weights
    return average
