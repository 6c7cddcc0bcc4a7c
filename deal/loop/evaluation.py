"""Measure a model in any format that the engines run, as deal's own training does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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

__all__ = ["evaluate_model"]

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
    confusion = Confusion(len(classes.names), classes.ignore_index)
    curves = {name: ScoreCurve() for name in _SCORES}
    for files in images:
        output, label = runner.infer(LabeledImage(files.image.name, files))
        maps = None if head is None else head.map(runner, output, label.shape)
        for rows in bands(output.logits.shape[1], label.shape):
            logits = resize(output.logits[0], label.shape, opened.spec.align_corners, rows)
            found = pixel_scores(logits)
            confusion.update(found.predicted, label[rows])
            valid = label[rows] != classes.ignore_index
            wrong = (found.predicted != label[rows])[valid]
            scores: Mapping[str, NDArray[Any] | None] = {
                "difficulty": None if maps is None else maps[rows],
                "entropy": found.entropy,
                "margin": found.margin,
                "least-confidence": found.least_confidence,
            }
            for name, values in scores.items():
                if values is not None:
                    curves[name].update(values[valid], wrong)
    ious = map(_or_none, map(float, confusion.iou()))
    return {
        "miou": confusion.miou(),
        "accuracy": confusion.accuracy(),
        "iou": dict(zip(classes.names, ious, strict=True)),
        "auroc": {name: _or_none(curve.auroc()) for name, curve in curves.items()},
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
