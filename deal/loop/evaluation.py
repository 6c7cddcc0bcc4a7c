"""Measure a model in any format that the engines run, as deal's own training does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal.engines import open_engine
from deal.errors import ModelError
from deal.fitting.images import LabeledImage
from deal.fitting.pixels import bands, pixel_scores, resize
from deal.fitting.runner import Runner
from deal.fitting.variants import find_heads
from deal.labeled.labels import LabelClasses, LabeledFiles
from deal.metrics import Confusion, ScoreCurve
from deal.model.spec import ModelSpec

__all__ = ["Measurement", "evaluate_model"]

_SCORES = ("difficulty", "entropy", "margin", "least-confidence")


def evaluate_model(
    path: Path,
    images: Sequence[LabeledFiles],
    classes: LabelClasses,
    *,
    engine: str,
    device: str,
    threads: int | None,
) -> dict[str, Any]:
    """Run a model on labeled images and compare its predictions at the size of the labels.

    Parameters
    ----------
    path : Path
    images : sequence of LabeledFiles, not empty
    classes : LabelClasses
        Classes of the labels; the model must have the same.
    engine, device, threads
        As in :func:`deal.engines.open_engine`.

    Returns
    -------
    dict
        As from :meth:`deal.training.evaluation.Evaluation.to_dict`; ``difficulty`` is None if the
        model has none.

    Raises
    ------
    ModelError
        The model cannot be opened or run, has other classes, or gives NaN.
    PoolError
        An image or a label cannot be read.
    """
    opened = open_engine(path, engine, device, None, threads, batch_size=1)
    _check_classes(opened.spec, classes)
    runner = Runner(opened, classes.ignore_index, threads, ("measuring",))
    has_difficulty = opened.spec.difficulty_name or opened.spec.difficulty_head
    head = find_heads(opened, [])[0] if has_difficulty else None
    measurement = Measurement(classes.names, classes.ignore_index)
    for files in images:
        output, label = runner.infer(LabeledImage(files.image.name, files))
        maps = None if head is None else head.map(runner, output, label.shape)
        measurement.add(output.logits[0], maps, label, opened.spec.align_corners)
    return measurement.result()


class Measurement:
    """Compares predictions with labels, image by image, at the size of the labels.

    Parameters
    ----------
    classes : sequence of str
    ignore_index : int
    """

    def __init__(self, classes: Sequence[str], ignore_index: int) -> None:
        self._classes, self._void = classes, ignore_index
        self._confusion = Confusion(len(classes), ignore_index)
        self._curves = {name: ScoreCurve() for name in _SCORES}

    def add(
        self,
        logits: NDArray[np.float32],
        difficulty: NDArray[np.float32] | None,
        label: NDArray[np.uint8],
        align_corners: bool,
    ) -> None:
        """Add an image: logits [C, h, w], difficulty [H, W] in 0…1 or None, label [H, W]."""
        size = (label.shape[0], label.shape[1])
        for rows in bands(len(logits), size):
            found = pixel_scores(resize(logits, size, align_corners, rows))
            self._confusion.update(found.predicted, label[rows])
            valid = label[rows] != self._void
            wrong = (found.predicted != label[rows])[valid]
            scores: Mapping[str, NDArray[Any] | None] = {
                "difficulty": None if difficulty is None else difficulty[rows],
                "entropy": found.entropy,
                "margin": found.margin,
                "least-confidence": found.least_confidence,
            }
            for name, values in scores.items():
                if values is not None:
                    self._curves[name].update(values[valid], wrong)

    def result(self) -> dict[str, Any]:
        """What :func:`evaluate_model` returns."""
        ious = map(_or_none, map(float, self._confusion.iou()))
        return {
            "miou": self._confusion.miou(),
            "accuracy": self._confusion.accuracy(),
            "iou": dict(zip(self._classes, ious, strict=True)),
            "auroc": {name: _or_none(curve.auroc()) for name, curve in self._curves.items()},
        }


def _check_classes(spec: ModelSpec, classes: LabelClasses) -> None:
    if spec.num_classes != len(classes.names):
        raise ModelError(
            f"model {spec.path} has {spec.num_classes} classes, but the labels have "
            f"{len(classes.names)} ({', '.join(classes.names)}): train with the classes of the "
            "labels"
        )
    if spec.classes != classes.names and sorted(spec.classes) == sorted(classes.names):
        raise ModelError(
            f"model {spec.path} has the classes of the labels in another order: it must have them "
            "in the order of the labels' indices"
        )


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
