"""A small tree in Cityscapes' layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

ALL_IDS = np.array([*range(34), 255])
"""The 34 label ids, and how −1 (license plate) stands in 8 bits."""


def write_cityscapes(
    root: Path,
    *,
    train: dict[str, int],
    val: dict[str, int],
    size: tuple[int, int] = (32, 64),
    kind: str = "labelIds",
) -> None:
    """Write so many images a city; each label has every id of the kind in vertical stripes."""
    rng = np.random.default_rng(0)
    ids = ALL_IDS if kind == "labelIds" else np.array([*range(19), 255])
    for split, cities in (("train", train), ("val", val)):
        for city, count in cities.items():
            for index in range(count):
                write_pair(root, split, f"{city}_{index:06}_000019", ids, size, kind, rng)


def write_pair(
    root: Path,
    split: str,
    name: str,
    ids: np.ndarray,
    size: tuple[int, int],
    kind: str,
    rng: np.random.Generator,
) -> None:
    city = name.partition("_")[0]
    height, width = size
    images, labels = root / "leftImg8bit" / split / city, root / "gtFine" / split / city
    for folder in (images, labels):
        folder.mkdir(parents=True, exist_ok=True)
    rgb = rng.integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(rgb).save(images / f"{name}_leftImg8bit.png")
    row = ids[np.arange(width) * len(ids) // width]
    label = np.broadcast_to(row, size).astype(np.uint8)
    Image.fromarray(label).save(labels / f"{name}_gtFine_{kind}.png")
    # As the real tree has them, to be passed over.
    (labels / f"{name}_gtFine_polygons.json").write_text("{}")
    Image.fromarray(label).save(labels / f"{name}_gtFine_instanceIds.png")
