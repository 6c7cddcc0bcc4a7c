"""Labelled folders for tests, and labels with errors where a test wants them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from deal.engines import open_engine
from deal.fitting.pixels import resize


def write_labeled(
    root: Path, split: str, pairs: Iterable[tuple[np.ndarray, np.ndarray]], prefix: str = "frame"
) -> None:
    """Write ``root/split/{images,labels}/PREFIX_000.png`` and so on; ``split`` may be empty."""
    for kind in ("images", "labels"):
        (root / split / kind).mkdir(parents=True, exist_ok=True)
    for index, (image, label) in enumerate(pairs):
        name = f"{prefix}_{index:03}.png"
        Image.fromarray(image).save(root / split / "images" / name)
        Image.fromarray(label.astype(np.uint8)).save(root / split / "labels" / name)


def predictions(model: Path, images: list[np.ndarray]) -> list[np.ndarray]:
    """What a model predicts for each image, int64 [H, W]: labels without an error."""
    engine = open_engine(model)
    found = []
    for image in images:
        logits = engine.infer(image[None]).logits[0]
        found.append(resize(logits, image.shape[:2], engine.spec.align_corners).argmax(axis=0))
    return found


def with_errors(label: np.ndarray, wrong: np.ndarray, num_classes: int) -> np.ndarray:
    """The label with the next class where ``wrong``."""
    return np.where(wrong, (label + 1) % num_classes, label)
