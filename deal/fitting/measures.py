"""How well each score finds the wrong pixels of held-out images, overall and by predicted class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal.metrics import ScoreCurve, spearman

__all__ = [
    "AREAS",
    "UNCERTAINTIES",
    "Areas",
    "ClassMeasures",
    "Collector",
    "Measures",
    "areas_of",
    "best_score",
]

UNCERTAINTIES = ("entropy", "margin", "least-confidence")
"""Scores that need no head, by the name of their acquisition function."""

AREAS = ("auroc", "average_precision", "aurc")
"""Names of the areas; for the last, smaller is better."""


@dataclass(frozen=True)
class Areas:
    """Areas of one score; None where all pixels are right or all wrong."""

    auroc: float | None
    average_precision: float | None
    aurc: float | None


@dataclass(frozen=True)
class ClassMeasures:
    """Pixels predicted as one class."""

    name: str
    pixels: int
    wrong: int
    scores: Mapping[str, Areas]


@dataclass(frozen=True)
class Measures:
    """Labeled pixels of the held-out images.

    Attributes
    ----------
    images, pixels, wrong : int
        Void pixels are not counted.
    scores : mapping of score name to Areas
        ``difficulty`` is that of the fitted head, ``difficulty-without-attention`` that of the head
        fitted at gamma 0, ``difficulty-without-uncertainty`` that of the paper's head if
        ``difficulty`` is from another, ``model-difficulty`` the model's own if it has one; then
        ``UNCERTAINTIES``.
    classes : tuple of ClassMeasures
        By predicted class, which is known of an unlabeled image too; only classes that occur.
    image_correlation : mapping of score name to float
        Spearman's rank correlation, over the images, of the mean score (what an image is ranked
        by) with the share of wrong pixels.
    """

    images: int
    pixels: int
    wrong: int
    scores: Mapping[str, Areas]
    classes: tuple[ClassMeasures, ...]
    image_correlation: Mapping[str, float]

    def best(self, area: str) -> str:
        """The score with the best ``area``, compared at the three decimals that are shown.

        Among equal scores the fitted head's comes first, then those that need no head.
        """
        first = ("difficulty", *UNCERTAINTIES)
        names = [name for name in first if name in self.scores]
        names += [name for name in self.scores if name not in first]
        found = best_score(self.scores, area, names, decimals=3)
        assert found is not None  # there are right and wrong pixels
        return found


def best_score(
    scores: Mapping[str, Areas], area: str, names: Sequence[str], decimals: int | None = None
) -> str | None:
    """The score of ``names`` with the best area (of ``AREAS``), the first of equals.

    With ``decimals``, scores that are equal when rounded count as equal. None where all pixels are
    right or all wrong.
    """
    sign = -1 if area == "aurc" else 1
    values = {name: getattr(scores[name], area) for name in names}
    if None in values.values():
        return None
    if decimals is not None:
        values = {name: round(value, decimals) for name, value in values.items()}
    return max(names, key=lambda name: sign * values[name])


class Collector:
    """Counts the pixels of images, with one curve per score and predicted class."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = classes
        self._curves: dict[str, dict[int, ScoreCurve]] = {}
        self._sums: dict[str, float] = {}
        self._counts = np.zeros(2, np.int64)
        self._means: dict[str, list[float]] = {}
        self._shares: list[float] = []
        self._images = 0

    def add(
        self,
        scores: Mapping[str, NDArray[np.float32]],
        predicted: NDArray[Any],
        wrong: NDArray[np.bool_],
    ) -> None:
        """Add the labeled pixels of an image, or of a part of it.

        Parameters
        ----------
        scores : mapping of name to ndarray of float32 [n] in 0…1
            The same names every time.
        predicted : ndarray of int [n]
        wrong : ndarray of bool [n]
        """
        order = np.argsort(predicted, kind="stable")
        ends = np.cumsum(np.bincount(predicted, minlength=len(self._classes)))
        present = np.flatnonzero(np.diff(ends, prepend=0))
        flags = wrong[order]
        self._counts += len(wrong), wrong.sum()
        for name, values in scores.items():
            curves = self._curves.setdefault(name, {})
            self._sums[name] = self._sums.get(name, 0.0) + float(values.sum(dtype=np.float64))
            sorted_values = values[order]
            for index in present.tolist():
                rows = slice(int(ends[index - 1]) if index else 0, int(ends[index]))
                curve = curves.setdefault(index, ScoreCurve())
                curve.update(sorted_values[rows], flags[rows])

    def end_image(self) -> None:
        """End an image; an image that is all void has no mean."""
        self._images += 1
        pixels, wrong = self._counts.tolist()
        if pixels:
            self._shares.append(wrong / pixels)
            for name, total in self._sums.items():
                self._means.setdefault(name, []).append(total / pixels)
        self._sums, self._counts = {}, np.zeros(2, np.int64)

    def curve(self, name: str) -> ScoreCurve:
        """The pixels of all classes under one score."""
        total = ScoreCurve()
        for curve in self._curves[name].values():
            total += curve
        return total

    def measures(self) -> Measures:
        """What was found; at least one pixel has been added."""
        totals = {name: self.curve(name) for name in self._curves}
        any_total = next(iter(totals.values()))
        any_curves = next(iter(self._curves.values()))
        return Measures(
            images=self._images,
            pixels=any_total.pixels,
            wrong=any_total.wrong,
            scores={name: areas_of(curve) for name, curve in totals.items()},
            classes=tuple(
                ClassMeasures(
                    self._classes[index],
                    any_curves[index].pixels,
                    any_curves[index].wrong,
                    {name: areas_of(curves[index]) for name, curves in self._curves.items()},
                )
                for index in sorted(any_curves)
            ),
            image_correlation={
                name: spearman(np.array(means), np.array(self._shares))
                for name, means in self._means.items()
            },
        )


def areas_of(curve: ScoreCurve) -> Areas:
    """The areas of a curve."""
    return Areas(*(_or_none(getattr(curve, area)()) for area in AREAS))


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
