"""Labeled folders for tests, and labels with errors where a test wants them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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


def colour_fields(
    rng: np.random.Generator, count: int, cells: tuple[int, int], side: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images of squares of three colours, with noise, and their labels, which are the colours."""
    colours = np.array([[90, 90, 100], [120, 170, 230], [180, 40, 40]])
    for _ in range(count):
        label = rng.integers(0, 3, cells).repeat(side, axis=0).repeat(side, axis=1)
        noise = rng.normal(0, 40, (*label.shape, 3))
        yield (colours[label] + noise).clip(0, 255).astype(np.uint8), label


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
