"""Quality of a trained network: mIoU, and AUROC of each score against the true error mask."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from deal.metrics import Confusion, ScoreCurve
from deal.training.data import Sample
from deal.training.difficulty import WithDifficulty

__all__ = ["Evaluation", "evaluate"]


@dataclass(frozen=True)
class Evaluation:
    """Results on one split; void pixels are ignored.

    Attributes
    ----------
    miou, accuracy : float in 0…1
    iou : tuple of float or None
        IoU per class; None if a class occurs neither in labels nor in predictions.
    auroc : dict of score name to float or None
        ``difficulty``, ``entropy``, ``margin``, ``least-confidence`` as predictors of wrong
        pixels; None if all pixels are right or all are wrong.
    """

    miou: float
    accuracy: float
    iou: tuple[float | None, ...]
    auroc: dict[str, float | None]

    def to_dict(self, classes: Sequence[str]) -> dict[str, Any]:
        """The results as in the metrics file, with IoU by class name."""
        return {
            "miou": self.miou,
            "accuracy": self.accuracy,
            "iou": dict(zip(classes, self.iou, strict=True)),
            "auroc": self.auroc,
        }


@torch.inference_mode()
def evaluate(
    module: WithDifficulty, samples: Sequence[Sample], *, ignore_index: int, align_corners: bool
) -> Evaluation:
    """Evaluate in float32 at the size of the labels; leaves the module in evaluation mode.

    Parameters
    ----------
    module : WithDifficulty
    samples : sequence of Sample, not empty
    ignore_index : int
    align_corners : bool
        The convention for upsampling logits and difficulty.
    """
    module.eval()
    device = next(module.parameters()).device
    confusion = Confusion(module.num_classes, ignore_index)
    curves = {
        name: ScoreCurve() for name in ("difficulty", "entropy", "margin", "least-confidence")
    }
    for sample in samples:
        image = torch.from_numpy(sample.image).permute(2, 0, 1)[None].to(device)
        logits, difficulty = module(image)
        size = sample.label.shape
        z = F.interpolate(logits, size=size, mode="bilinear", align_corners=align_corners)
        a = F.interpolate(difficulty, size=size, mode="bilinear", align_corners=align_corners)
        prediction = z[0].max(dim=0).indices.cpu().numpy()
        confusion.update(prediction, sample.label)
        valid = sample.label != ignore_index
        wrong = (prediction != sample.label)[valid]
        for name, score in {"difficulty": a[0, 0].sigmoid(), **_uncertainty(z[0])}.items():
            curves[name].update(score.cpu().numpy()[valid], wrong)
    return Evaluation(
        miou=confusion.miou(),
        accuracy=confusion.accuracy(),
        iou=tuple(_or_none(float(value)) for value in confusion.iou()),
        auroc={name: _or_none(curve.auroc()) for name, curve in curves.items()},
    )


def _uncertainty(logits: Tensor) -> dict[str, Tensor]:
    """Entropy (divided by ln C), margin and least confidence of logits [C, H, W]."""
    log_p = logits.log_softmax(dim=0)
    p = log_p.exp()
    entropy = -(p * log_p).sum(dim=0) / math.log(len(logits))
    first, second = p.topk(2, dim=0).values
    return {"entropy": entropy, "margin": 1 - (first - second), "least-confidence": 1 - first}


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
