"""Meta data of small checkpoints."""

from __future__ import annotations

from typing import Any

from deal.training.checkpoint import CheckpointMeta
from tests.models import CLASSES


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
