"""Measure how well difficulty finds wrong pixels, ranks images and predicts errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal._version import __version__
from deal.engines import open_engine
from deal.errors import PoolError
from deal.fitting.images import LabeledImage, find_split, find_void
from deal.fitting.measures import UNCERTAINTIES, Areas, ClassMeasures, Collector, areas_of
from deal.fitting.pixels import bands, pixel_scores, resize
from deal.fitting.runner import Runner
from deal.fitting.variants import ALL_PAIRS, PRODUCTS, Variant, find_heads, find_variants
from deal.metrics import Calibration, Confusion, ScoreCurve, spearman
from deal.model.head import DifficultyHead
from deal.pool.ids import path_to_id

__all__ = ["COVERAGES", "ClassMeans", "DifficultyQuality", "ScoreQuality", "measure_difficulty"]

COVERAGES = tuple(number / 50 for number in range(1, 51))
"""Shares of the pixels at which the risk is measured."""

Float = NDArray[np.float32]
Size = tuple[int, int]


@dataclass(frozen=True)
class ClassMeans:
    """Mean score of each class [C], None for a class without pixels, and how it ranks them.

    Attributes
    ----------
    means : tuple of float or None
    correlation : float or None
        Spearman's rank correlation with 1 − IoU, over the classes that have both; None with fewer
        than two.
    """

    means: tuple[float | None, ...]
    correlation: float | None


@dataclass(frozen=True)
class ScoreQuality:
    """One score over all labeled pixels.

    Attributes
    ----------
    areas : Areas
    image_auroc : float or None
        Mean of the AUROC within each image, over the images that have right and wrong pixels.
    image_correlation : float
        As of :class:`deal.fitting.measures.Measures`.
    calibration : Calibration
    unweighted_calibration : Calibration
        With the weights of the difficulty loss undone (:meth:`ScoreCurve.calibration`), as if
        right and wrong pixels were as frequent in training as here; only for difficulties.
    predicted, labeled : ClassMeans
        Over the pixels predicted as a class, and over those labeled as it.
    risks : tuple of float
        At ``COVERAGES``, the share of wrong pixels among those with the lowest scores.
    largest_change : float or None
        For ways to compute one attention: the largest difference of D from all pairs.
    """

    areas: Areas
    image_auroc: float | None
    image_correlation: float
    calibration: Calibration
    unweighted_calibration: Calibration | None
    predicted: ClassMeans
    labeled: ClassMeans
    risks: tuple[float, ...]
    largest_change: float | None = None


@dataclass(frozen=True)
class DifficultyQuality:
    """What :func:`measure_difficulty` found.

    Attributes
    ----------
    setting : dict
        Model, its digest, data, split, label of void, versions.
    provenance : dict
        What the model says about where it comes from.
    images, pixels, wrong : int
        Void pixels are not counted.
    miou, iou : float, tuple of float or None
    scores : mapping of score name to ScoreQuality
        ``difficulty``, the uncertainties, their products, then the other heads, then computations
        of the first.
    heads : mapping of score name to (source, head or None)
        The difficulties among the scores.
    attention : tuple of str
        Scores that differ by the computation of the attention alone.
    image_wins : mapping of uncertainty to (int, int)
        In how many images ``difficulty`` has the larger AUROC, and out of how many.
    class_alone : Areas
        Areas of a score that only knows a pixel's predicted class: the share of wrong pixels of
        this class, counted on the same images.
    by_predicted, by_label, by_sequence : tuple of ClassMeasures
        ``difficulty`` and the uncertainties on parts of the pixels; without sequences the last is
        empty.
    seconds : dict of stage to float
        Not part of :meth:`to_dict`.
    """

    setting: Mapping[str, Any]
    provenance: Mapping[str, Any]
    images: int
    pixels: int
    wrong: int
    miou: float
    classes: tuple[str, ...]
    iou: tuple[float | None, ...]
    scores: Mapping[str, ScoreQuality]
    heads: Mapping[str, tuple[str, DifficultyHead | None]]
    attention: tuple[str, ...]
    image_wins: Mapping[str, tuple[int, int]]
    class_alone: Areas
    by_predicted: tuple[ClassMeasures, ...]
    by_label: tuple[ClassMeasures, ...]
    by_sequence: tuple[ClassMeasures, ...]
    seconds: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values; the same inputs give the same."""
        values = asdict(self)
        del values["seconds"]
        values["heads"] = {
            name: {"source": source, "head": None if head is None else head.to_dict()}
            for name, (source, head) in self.heads.items()
        }
        return values


def measure_difficulty(
    model: str | Path,
    data: str | Path,
    *,
    split: str | None = None,
    difficulty_heads: Sequence[str | Path] = (),
    grids: Sequence[Size] = (),
    ablations: bool = False,
    sequence_from: str | None = None,
    ignore_index: int | None = None,
    engine: str = "ort",
    device: str = "auto",
    threads: int | None = None,
    model_options: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DifficultyQuality:
    """Run a network on labeled images and compare every score with its true errors.

    Scores, predictions and labels are compared at the size of the labels.

    Parameters
    ----------
    model, engine, device, threads, model_options
        As :class:`deal.Scorer` takes them.
    data, split, sequence_from
        Labeled images, as in :func:`deal.fitting.images.find_split`; with sequences the areas are
        given for each too.
    difficulty_heads : sequence of path
        Head files to measure beside the model's own difficulty.
    grids, ablations
        Other computations of the first head, as in :func:`deal.fitting.variants.find_variants`.
    ignore_index : int, optional
        Label of void pixels; see :func:`deal.fitting.images.find_void`.
    progress : callable, optional
        Called with images done and images in all.

    Raises
    ------
    UsageError, EngineUnavailableError
        Options do not fit.
    PoolError
        Labeled images are missing, do not fit the model, or have no labeled pixel.
    ModelError
        The model or a head does not keep its contract, or gives NaN or infinite logits.
    """
    root = Path(data)
    images, found = find_split(root, split, sequence_from)
    opened = open_engine(model, engine, device, None, threads, model_options, batch_size=1)
    spec = opened.spec
    void = find_void(root, spec, ignore_index)
    heads = find_heads(opened, difficulty_heads)
    run = _Run(Runner(opened, void, threads, ("difficulty", "measuring")), images)
    for number, image in enumerate(images):
        if progress is not None:
            progress(number, len(images))
        run.add(image, heads, grids, ablations)
    if progress is not None:
        progress(len(images), len(images))
    setting = {
        "deal": __version__,
        "model": path_to_id(spec.path.name),
        "model_sha256": spec.digest(),
        "data": path_to_id(root.resolve().name),
        "split": found,
        "ignore_index": void,
        "align_corners": spec.align_corners,
    }
    return run.quality(setting)


class _Run:
    """Counts the pixels of images under every score."""

    def __init__(self, runner: Runner, images: Sequence[LabeledImage]) -> None:
        spec = runner.engine.spec
        self.runner = runner
        self._variants: list[Variant] = []
        self._attention: list[Variant] = []
        self._sequences = sorted({image.sequence for image in images if image.sequence is not None})
        self._all = Collector(("all",))
        self._predicted = Collector(spec.classes)
        self._labeled = Collector(spec.classes)
        self._by_sequence = Collector(self._sequences)
        self._confusion = Confusion(spec.num_classes, runner.void)
        self._sums: dict[str, NDArray[np.float64]] = {}  # [2, C]: by prediction, by label
        self._image_aurocs: dict[str, list[float]] = {}
        self._changes: dict[str, float] = {}

    def add(
        self, image: LabeledImage, heads: list[Variant], grids: Sequence[Size], ablations: bool
    ) -> None:
        """Add an image; heads, grids and ablations have to be the same every time."""
        output, label = self.runner.infer(image)
        spec, z = self.runner.engine.spec, output.logits
        if not self._variants:
            shape = (z.shape[2], z.shape[3])
            others, self._attention = find_variants(
                heads[0], spec.num_classes, shape, grids, ablations
            )
            self._variants = [*heads, *others, *self._attention]
        with self.runner.timed("difficulty"):
            maps = {v.name: v.map(self.runner, output, label.shape) for v in self._variants}
        with self.runner.timed("measuring"):
            for variant in self._attention:
                change = float(np.abs(maps[variant.name] - maps[ALL_PAIRS]).max())
                self._changes[variant.name] = max(self._changes.get(variant.name, 0.0), change)
            curves: dict[str, ScoreCurve] = {}
            for rows in bands(z.shape[1], label.shape):
                logits = resize(z[0], label.shape, spec.align_corners, rows)
                self._add_band(logits, label[rows], rows, maps, image.sequence, curves)
            for collector in (self._all, self._predicted, self._labeled, self._by_sequence):
                collector.end_image()
            for name, curve in curves.items():
                self._image_aurocs.setdefault(name, []).append(curve.auroc())

    def _add_band(
        self,
        logits: Float,
        label: NDArray[np.uint8],
        rows: slice,
        maps: Mapping[str, Float],
        sequence: str | None,
        curves: dict[str, ScoreCurve],
    ) -> None:
        found = pixel_scores(logits)
        self._confusion.update(found.predicted, label)
        valid = label != self.runner.void
        predicted, labeled = found.predicted[valid], label[valid].astype(np.int64)
        wrong = predicted != labeled
        main = {
            "difficulty": maps["difficulty"][rows][valid],
            "entropy": found.entropy[valid],
            "margin": found.margin[valid],
            "least-confidence": found.least_confidence[valid],
        }
        others = {name: values[rows][valid] for name, values in maps.items()}
        products = {
            name: main["difficulty"] * main[uncertainty]
            for name, uncertainty in zip(PRODUCTS, UNCERTAINTIES, strict=True)
        }
        scores = {**main, **products, **others}
        self._all.add(scores, np.zeros(len(wrong), np.int64), wrong)
        self._predicted.add(main, predicted, wrong)
        self._labeled.add(main, labeled, wrong)
        if sequence is not None:
            self._by_sequence.add(main, np.full(len(wrong), self._sequences.index(sequence)), wrong)
        size = len(self._confusion.counts)
        for name, values in scores.items():
            sums = self._sums.setdefault(name, np.zeros((2, size)))
            for row, index in zip(sums, (predicted, labeled), strict=True):
                row += np.bincount(index, weights=values, minlength=size)
            curves.setdefault(name, ScoreCurve()).update(values, wrong)

    def quality(self, setting: Mapping[str, Any]) -> DifficultyQuality:
        """What was found."""
        spec = self.runner.engine.spec
        counts = self._confusion.counts
        if not counts.sum():
            raise PoolError(
                f"the images have no labeled pixel: all are {self.runner.void} (void); give other "
                "images, or --ignore-index"
            )
        measures = self._all.measures()
        iou = self._confusion.iou()
        in_labels = counts.sum(axis=1) > 0
        own = {variant.name for variant in self._variants}
        # the loss weighs right and wrong pixels each by 1/√n of their own mean
        odds = ((measures.pixels - measures.wrong) / max(measures.wrong, 1)) ** 1.5
        scores = {}
        for name, areas in measures.scores.items():
            curve = self._all.curve(name)
            predicted, labeled = (
                _class_means(sums, counts.sum(axis=axis), np.where(in_labels, 1 - iou, np.nan))
                for sums, axis in zip(self._sums[name], (0, 1), strict=True)
            )
            aurocs = [value for value in self._image_aurocs[name] if not math.isnan(value)]
            scores[name] = ScoreQuality(
                areas,
                math.fsum(aurocs) / len(aurocs) if aurocs else None,
                measures.image_correlation[name],
                curve.calibration(),
                curve.calibration(odds=odds) if name in own and odds else None,
                predicted,
                labeled,
                curve.risks(COVERAGES),
                self._changes.get(name),
            )
        return DifficultyQuality(
            setting=setting,
            provenance=dict(spec.provenance or {}),
            images=measures.images,
            pixels=measures.pixels,
            wrong=measures.wrong,
            miou=self._confusion.miou(),
            classes=spec.classes,
            iou=tuple(None if math.isnan(value) else float(value) for value in iou),
            scores=scores,
            heads={variant.name: (variant.source, variant.head) for variant in self._variants},
            attention=tuple(variant.name for variant in self._attention),
            image_wins={name: self._wins(name) for name in UNCERTAINTIES},
            class_alone=_class_alone(counts),
            by_predicted=self._predicted.measures().classes,
            by_label=self._labeled.measures().classes,
            by_sequence=_measures(self._by_sequence, self._sequences),
            seconds=self.runner.seconds,
        )

    def _wins(self, uncertainty: str) -> tuple[int, int]:
        pairs = zip(self._image_aurocs["difficulty"], self._image_aurocs[uncertainty], strict=True)
        known = [pair for pair in pairs if not math.isnan(pair[0])]
        return sum(ours > theirs for ours, theirs in known), len(known)


def _measures(collector: Collector, names: Sequence[str]) -> tuple[ClassMeasures, ...]:
    return collector.measures().classes if names else ()


def _class_alone(counts: NDArray[np.int64]) -> Areas:
    """Of counts [C, C] by label and prediction."""
    pixels = counts.sum(axis=0)
    right = np.diag(counts)
    share = (pixels - right) / np.maximum(pixels, 1)
    curve = ScoreCurve()
    flags = np.repeat([False, True], len(counts))
    curve.update(np.tile(share, 2), flags, np.concatenate([right, pixels - right]))
    return areas_of(curve)


def _class_means(
    sums: NDArray[np.float64], pixels: NDArray[np.int64], error: NDArray[np.float64]
) -> ClassMeans:
    """Means of the classes, ranked against their ``error`` [C], NaN where it is not known."""
    means = np.full(len(sums), np.nan)
    np.divide(sums, pixels, out=means, where=pixels > 0)
    known = ~np.isnan(means) & ~np.isnan(error)
    correlation = spearman(means[known], error[known]) if known.sum() > 1 else None
    return ClassMeans(
        tuple(None if math.isnan(value) else float(value) for value in means), correlation
    )
