"""Small checkpoints: their meta data, and one that was exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch

from deal.export.onnx import export_checkpoint
from deal.export.parity import Parity
from deal.training.checkpoint import CheckpointMeta, build_module, save_checkpoint
from tests.helpers.models import CLASSES, scenes


def small_meta(**changes: Any) -> CheckpointMeta:
    """Of a quarter of the light network, for the classes of tests, unless told otherwise."""
    classes = changes.get("classes", CLASSES)
    values = {
        "network": "light",
        "width": 0.25,
        "classes": classes,
        "palette": ((0, 0, 0),) * len(classes),
        "ignore_index": 255,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "align_corners": True,
        "grid": (6, 8),
        "input_size": (48, 64),
        "provenance": {},
    }
    return CheckpointMeta(**(values | changes))


LIGHT = small_meta(
    palette=tuple((40 * index, 0, 255) for index in range(5)), provenance={"data": "none"}
)


class Exported(NamedTuple):
    """A checkpoint, its graph, and what the check of the export found."""

    checkpoint: Path
    model: Path
    parity: Parity


def export_light(folder: Path) -> Exported:
    """Write a checkpoint of ``LIGHT`` whose logits differ, and its export."""
    torch.manual_seed(0)
    trained = build_module(LIGHT)
    with torch.no_grad():
        classifier = trained.module.decoder.classifier
        classifier.weight.mul_(1e4)  # an untrained network says next to nothing
        classifier.bias.copy_(torch.linspace(-1, 1, 5))
        trained.difficulty.gamma.fill_(0.5)
    checkpoint, model = folder / "best.pt", folder / "best.onnx"
    save_checkpoint(checkpoint, trained, LIGHT)
    return Exported(
        checkpoint, model, export_checkpoint(checkpoint, model, images=scenes(8, (60, 80)))
    )
