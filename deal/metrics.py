"""Mean intersection over union, and how well a score finds the wrong pixels; no torch needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Calibration", "CalibrationBin", "Confusion", "ScoreCurve", "spearman"]

# The order of non-negative float32 is the order of their bits; 13 bits fewer leave 1024 bins an
# octave, from 2⁻³² (and all below it) to 1.0.
_DROPPED_BITS = 13
_FIRST = int(np.float32(2.0**-32).view(np.uint32)) >> _DROPPED_BITS
_BINS = (int(np.float32(1).view(np.uint32)) >> _DROPPED_BITS) - _FIRST + 1

# Harmonic numbers: exact up to here, then their asymptotic series (error below 1e-12).
_EXACT_HARMONICS = 64
_HARMONICS = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, _EXACT_HARMONICS + 1))])


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


@dataclass(frozen=True)
class CalibrationBin:
    """Pixels whose score lies in ``low``…``high``; means are None without any."""

    low: float
    high: float
    pixels: int
    mean_score: float | None
    wrong_share: float | None


@dataclass(frozen=True)
class Calibration:
    """A score read as the probability that a pixel is wrong.

    Attributes
    ----------
    bins : tuple of CalibrationBin
        Of equal width, from 0 to 1.
    error : float
        Expected calibration error: mean over the pixels of the distance between mean score and
        share of wrong pixels of their bin. Source: Guo et al., ICML 2017 (arXiv 1706.04599).
    """

    bins: tuple[CalibrationBin, ...]
    error: float


class ScoreCurve:
    """How well a score in 0…1 tells wrong pixels from right ones, in fixed memory.

    Scores are counted in 1024 bins an octave from 2⁻³² to 1: two scores that differ by less than
    0.1 % of themselves (or are both below 2⁻³²) may share a bin, and scores that share one count
    as equal. That moves an area by at most half the share of (wrong, right) pairs that share a bin.

    Curves of separate pixels add: ``a += b``.
    """

    def __init__(self) -> None:
        self._wrong: NDArray[np.int64] = np.zeros(_BINS, np.int64)
        self._right: NDArray[np.int64] = np.zeros(_BINS, np.int64)

    def __iadd__(self, other: ScoreCurve) -> ScoreCurve:
        self._wrong += other._wrong
        self._right += other._right
        return self

    @property
    def wrong(self) -> int:
        """How many wrong pixels were added."""
        return int(self._wrong.sum())

    @property
    def pixels(self) -> int:
        """How many pixels were added."""
        return self.wrong + int(self._right.sum())

    def update(
        self,
        score: NDArray[np.float32],
        wrong: NDArray[np.bool_],
        counts: NDArray[np.int64] | None = None,
    ) -> None:
        """Add pixels: score float32 [n] in 0…1 (clipped to it), wrong [n].

        ``counts`` [n] says how many pixels each stands for; one without it.
        """
        clipped = np.clip(score, 0, 1).astype(np.float32) + np.float32(0)  # −0 becomes 0
        bins = np.maximum((clipped.view(np.uint32) >> _DROPPED_BITS).astype(np.int64) - _FIRST, 0)
        for flag, total in ((wrong, self._wrong), (~wrong, self._right)):
            weights = None if counts is None else counts[flag]
            # sums of whole numbers in double are exact below 2⁵³
            total += np.bincount(bins[flag], weights, minlength=_BINS).astype(np.int64)

    def auroc(self) -> float:
        """Probability that a wrong pixel scores above a right one, a tie being half a win.

        The area under the ROC curve; 0.5 is chance. NaN if either kind of pixel is missing.
        """
        right_below = np.cumsum(self._right) - self._right
        pairs = float(self._wrong.sum()) * float(self._right.sum())
        won = float(np.dot(self._wrong.astype(np.float64), right_below + self._right / 2))
        return won / pairs if pairs else float("nan")

    def average_precision(self) -> float:
        """Mean precision over the wrong pixels, from the highest score down.

        ``Σ_k (R_k − R_{k−1}) P_k`` over the distinct scores, as scikit-learn defines it; chance is
        the share of wrong pixels. NaN if either kind of pixel is missing.
        """
        wrong, right = self._wrong[::-1], self._right[::-1]
        if not wrong.any() or not right.any():
            return float("nan")
        found = np.cumsum(wrong)
        taken = found + np.cumsum(right)
        used = wrong > 0
        return float(np.dot(found[used] / taken[used], wrong[used]) / found[-1])

    def aurc(self) -> float:
        """Area under the risk–coverage curve: lower is better, and chance is the share wrong.

        Pixels are accepted from the lowest score up; the risk at coverage k/n is the share of
        wrong ones among the first k, and the area its mean over k = 1…n. Equal scores come in
        random order, and this is the expectation over it. Source: Geifman et al., ICLR 2019
        (arXiv 1805.08206). NaN if either kind of pixel is missing.
        """
        if not self._wrong.any() or not self._right.any():
            return float("nan")
        used = (self._wrong + self._right) > 0
        wrong = self._wrong[used].astype(np.float64)
        count = wrong + self._right[used]
        before = np.cumsum(count) - count
        wrong_before = np.cumsum(wrong) - wrong
        rate = wrong / count
        # The t-th of a bin adds (E + t·rate)/(K + t) = rate + (E − K·rate)/(K + t).
        harmonic = _harmonic(before + count) - _harmonic(before)
        total = rate * count + (wrong_before - before * rate) * harmonic
        return float(total.sum() / count.sum())

    def risks(self, coverages: Sequence[float]) -> tuple[float, ...]:
        """The risk–coverage curve: share of wrong pixels among those of the lowest scores.

        Parameters
        ----------
        coverages : sequence of float
            Shares of the pixels, above 0 and at most 1.

        Returns
        -------
        tuple of float
            As in :meth:`aurc`, the expectation over a random order of equal scores. At least one
            pixel has been added.
        """
        used = (self._wrong + self._right) > 0
        wrong = np.concatenate([[0], np.cumsum(self._wrong[used])])
        count = np.concatenate([[0], np.cumsum((self._wrong + self._right)[used])])
        accepted = np.asarray(coverages) * count[-1]
        return tuple((np.interp(accepted, count, wrong) / accepted).tolist())

    def calibration(self, bins: int = 10, odds: float = 1.0) -> Calibration:
        """How often pixels of a score are wrong; at least one pixel has been added.

        Parameters
        ----------
        bins : int
        odds : float
            A loss that weighs a wrong pixel ``odds`` times as much as a right one teaches the score
            ``s = odds·p / (odds·p + 1 − p)``; the bins are of the ``p`` that solves it.

        Scores count by the middle of the fine bin they share, 0.05 % off at most.
        """
        used = np.flatnonzero(self._wrong + self._right)
        edges = np.minimum(np.stack([used, used + 1]) + _FIRST, _FIRST + _BINS - 1)
        ends = (edges.astype(np.uint32) << _DROPPED_BITS).view(np.float32).astype(np.float64)
        score = ends.mean(axis=0)
        score = score / (score + odds * (1 - score))
        wrong = self._wrong[used].astype(np.float64)
        pixels = wrong + self._right[used]
        index = np.minimum((score * bins).astype(np.int64), bins - 1)
        count, errors, total = (
            np.bincount(index, weights=values, minlength=bins)
            for values in (pixels, wrong, pixels * score)
        )
        found = tuple(
            CalibrationBin(
                number / bins,
                (number + 1) / bins,
                int(count[number]),
                float(total[number] / count[number]) if count[number] else None,
                float(errors[number] / count[number]) if count[number] else None,
            )
            for number in range(bins)
        )
        return Calibration(found, float(np.abs(total - errors).sum() / count.sum()))


def _harmonic(n: NDArray[np.float64]) -> NDArray[np.float64]:
    """``Σ_{k=1…n} 1/k`` of whole numbers [m]."""
    large = np.maximum(n, _EXACT_HARMONICS)
    series = np.log(large) + np.euler_gamma + 1 / (2 * large) - 1 / (12 * large**2)
    series += 1 / (120 * large**4)
    exact = _HARMONICS[np.minimum(n, _EXACT_HARMONICS).astype(np.int64)]
    return np.where(n <= _EXACT_HARMONICS, exact, series)


def spearman(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """Spearman's rank correlation of [n] and [n]; ties share their mean rank.

    Where one side is constant there are no ranks to compare: 1 if both are, else 0.
    """
    ours, theirs = _mean_ranks(left), _mean_ranks(right)
    if np.ptp(ours) == 0 or np.ptp(theirs) == 0:
        return float(np.ptp(ours) == np.ptp(theirs))
    return float(np.corrcoef(ours, theirs)[0, 1])


def _mean_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[group])
