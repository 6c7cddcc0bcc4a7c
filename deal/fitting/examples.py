"""Pixels drawn from images to fit a difficulty head on, and the head of fitted numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deal.fitting.attention import attention_means
from deal.fitting.logistic import Examples, HeadNumbers
from deal.fitting.pixels import sample
from deal.model.head import DifficultyHead

__all__ = ["drawn_examples", "head_of", "joined"]


def drawn_examples(
    logits: NDArray[np.float32],
    wrong: NDArray[np.bool_],
    valid: NDArray[np.bool_],
    grid: tuple[int, int],
    align_corners: bool,
    count: int,
    rng: np.random.Generator,
    threads: int | None,
    uncertainty: bool,
) -> tuple[Examples, NDArray[np.int64]]:
    """Draw pixels of one image, half of them wrong if there are that many.

    Parameters
    ----------
    logits : ndarray of float32 [1, C, h, w]
    wrong, valid : ndarray of bool [H, W]
        Whether the prediction is wrong, and whether the pixel has a label.
    grid, align_corners, threads, uncertainty
        As in :func:`deal.fitting.attention.attention_means`.
    count : int
        Largest number of pixels, at least 2.
    rng : Generator

    Returns
    -------
    examples : Examples
    counts : ndarray of int64 [2]
        Right and wrong pixels of the image.
    """
    features, average = attention_means(logits, grid, align_corners, threads, uncertainty)
    chosen, stands_for, counts = [], [], []
    for kind in (valid & ~wrong, valid & wrong):
        indices = np.flatnonzero(kind)
        take = min(len(indices), count // 2)
        chosen.append(np.sort(rng.choice(indices, take, replace=False)))
        stands_for.append(np.full(take, len(indices) / max(take, 1)))
        counts.append(len(indices))
    both, size = np.concatenate(chosen), (wrong.shape[0], wrong.shape[1])
    examples = Examples(
        sample(features, both, size, align_corners),
        sample(average, both, size, align_corners),
        np.repeat([False, True], [len(chosen[0]), len(chosen[1])]),
        np.concatenate(stands_for),
    )
    return examples, np.array(counts)


def joined(parts: Sequence[Examples]) -> Examples:
    """The examples of several images as one."""
    return Examples(
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.average for part in parts]),
        np.concatenate([part.wrong for part in parts]),
        np.concatenate([part.pixels for part in parts]),
    )


def head_of(numbers: HeadNumbers, num_classes: int, grid: tuple[int, int]) -> DifficultyHead:
    """The head of fitted numbers, in float32, as the kernel takes them."""
    weight = numbers.weight.astype(np.float32)
    return DifficultyHead(
        float(np.float32(numbers.gamma)),
        weight[:num_classes],
        float(np.float32(numbers.bias)),
        grid,
        weight[num_classes:] if len(weight) > num_classes else None,
    )
