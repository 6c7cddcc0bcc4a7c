"""Mean intersection over union, and how well a score finds the wrong pixels (AUROC)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Auroc", "Confusion"]

# The order of non-negative float32 is the order of their bits; 13 bits fewer leave 1024 bins
# an octave, and 1.0 is the largest score.
_DROPPED_BITS = 13
_BINS = (int(np.float32(1).view(np.uint32)) >> _DROPPED_BITS) + 1


class Confusion:
    """Pixel counts by label and prediction; void is never counted."""

    def __init__(self, num_classes: int, ignore_index: int) -> None:
        self.counts: NDArray[np.int64] = np.zeros((num_classes, num_classes), np.int64)
        self._ignore_index = ignore_index

    def update(self, prediction: NDArray[Any], label: NDArray[Any]) -> None:
        """Add one image; both [H, W] class indices."""
        num_classes = len(self.counts)
        valid = label != self._ignore_index
        flat = label[valid].astype(np.int64) * num_classes + prediction[valid]
        self.counts += np.bincount(flat, minlength=num_classes**2).reshape(self.counts.shape)

    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each class [C]; NaN where neither side has a pixel."""
        hits = np.diag(self.counts).astype(np.float64)
        union = self.counts.sum(0) + self.counts.sum(1) - hits
        iou: NDArray[np.float64] = np.full(len(hits), np.nan)
        np.divide(hits, union, out=iou, where=union > 0)
        return iou

    def miou(self) -> float:
        """Mean IoU over the classes that occur in the labels; NaN without any label."""
        present = self.counts.sum(1) > 0
        return float(self.iou()[present].mean()) if present.any() else float("nan")

    def accuracy(self) -> float:
        """Fraction of pixels that are right; NaN without any label."""
        total = self.counts.sum()
        return float(np.trace(self.counts) / total) if total else float("nan")


class Auroc:
    """Area under the ROC curve of a score in 0…1 against the error mask, in fixed memory.

    Scores are counted in 1024 bins an octave; scores that share a bin count as ties, a half each.
    """

    def __init__(self) -> None:
        self._wrong: NDArray[np.int64] = np.zeros(_BINS, np.int64)
        self._right: NDArray[np.int64] = np.zeros(_BINS, np.int64)

    def update(self, score: NDArray[np.float32], wrong: NDArray[np.bool_]) -> None:
        """Add pixels: score float32 [n] in 0…1 (clipped to it), wrong [n]."""
        clipped = np.clip(score, 0, 1).astype(np.float32) + np.float32(0)  # −0 becomes 0
        bins = (clipped.view(np.uint32) >> _DROPPED_BITS).astype(np.int64)
        self._wrong += np.bincount(bins[wrong], minlength=_BINS)
        self._right += np.bincount(bins[~wrong], minlength=_BINS)

    def value(self) -> float:
        """Probability that a wrong pixel scores above a right one; NaN if either is missing."""
        right_below = np.cumsum(self._right) - self._right
        pairs = float(self._wrong.sum()) * float(self._right.sum())
        won = float(np.dot(self._wrong.astype(np.float64), right_below + self._right / 2))
        return won / pairs if pairs else float("nan")
