"""Street scenes from seeds, with exact labels, so that the demo and the tests need no data set.

Every drawing step uses only integers and IEEE basic arithmetic, no transcendental functions and no
drawing library, so a seed gives the same bytes on every machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deal.synthetic.backdrop import Street
from deal.synthetic.drives import film, plan_held_out, plan_pool
from deal.synthetic.street import paint_street

__all__ = [
    "CLASSES",
    "FIRST_SEED",
    "PALETTE",
    "SMALLEST",
    "drives",
    "scene",
    "write_dataset",
    "write_pool",
]

SMALLEST = 32
"""Fewest pixels of a side."""


CLASSES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "car",
    "pedestrian",
)
"""Class names by label index; there is no void."""

PALETTE = (
    (70, 130, 180),
    (70, 70, 70),
    (153, 153, 153),
    (128, 64, 128),
    (244, 35, 232),
    (107, 142, 35),
    (220, 220, 0),
    (0, 0, 142),
    (220, 20, 60),
)
"""Colour of each class, (r, g, b)."""

FIRST_SEED = {"train": 0, "val": 1_000_000_000, "test": 2_000_000_000}
"""First seed of each split; no two splits share a scene."""

_POOL_SEED = 3_000_000_000

_DRIVES_SEED = 4_000_000_000


def scene(
    seed: int, size: tuple[int, int] = (240, 320)
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Generate one street scene.

    Scenes differ in light (day, overcast, dusk), fog, rain, sensor noise and how crowded they
    are, so that some are much harder than others.

    Parameters
    ----------
    seed : int, not negative
        The same seed and size give the same bytes on every machine.
    size : (H, W) in pixels, at least 32 each

    Returns
    -------
    rgb : ndarray of uint8 [H, W, 3]
    label : ndarray of uint8 [H, W]
        Index into ``CLASSES``.

    Raises
    ------
    ValueError
        The size is smaller than 32 pixels.
    """
    if min(size) < SMALLEST:
        least = f"{SMALLEST}x{SMALLEST}"
        raise ValueError(f"size must be at least {least} pixels, not {size[0]}x{size[1]}")
    rng = np.random.default_rng(seed)
    street = Street.draw(rng)
    canvas = paint_street(street, size, rng)
    return canvas.develop(street.exposure, street.tint, street.noise, street.rain), canvas.label


def drives(
    split: str, frames: int, size: tuple[int, int] = (240, 320)
) -> Iterator[tuple[str, NDArray[np.uint8], NDArray[np.uint8]]]:
    """Generate a redundant pool: long drives of frames that hardly differ, and short rare ones.

    In every 96 frames of ``train``, 80 are one drive on a clear day without signs or pedestrians;
    the other 16 are four drives of four frames each: dusk, fog, rain and a crowd. ``val`` and
    ``test`` have one frame per drive, with all five kinds equally often, so that a network needs
    the rare frames of the pool.

    Parameters
    ----------
    split : ``train``, ``val`` or ``test``
        No two splits share a drive.
    frames : int
    size : (H, W) in pixels, at least 32 each

    Yields
    ------
    name : str
        ``<kind>-<drive>_<frame>``.
    rgb : ndarray of uint8 [H, W, 3]
    label : ndarray of uint8 [H, W]
        Index into ``CLASSES``.
    """
    plan = plan_pool if split == "train" else plan_held_out
    for drive in plan(_DRIVES_SEED + FIRST_SEED[split], frames):
        yield from film(drive, size)


def write_dataset(
    root: str | Path,
    *,
    train: int,
    val: int,
    test: int,
    size: tuple[int, int] = (240, 320),
) -> None:
    """Write ``root/{train,val,test}/{images,labels}`` as PNG and ``root/classes.json``.

    The layout is that of CamVid and of ``deal train --dataset folder``. No two splits share a
    scene. A split without scenes gets no folder.

    Parameters
    ----------
    root : path of a folder, made if needed
    train, val, test : int
        Scenes a split.
    size : (H, W) in pixels
    """
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", train), ("val", val), ("test", test)):
        if not count:
            continue
        for kind in ("images", "labels"):
            (root / split / kind).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            rgb, label = scene(FIRST_SEED[split] + index, size)
            name = f"{split}_{index:05d}.png"
            Image.fromarray(rgb).save(root / split / "images" / name)
            Image.fromarray(label).save(root / split / "labels" / name)
    names = {"classes": CLASSES, "palette": PALETTE, "ignore_index": 255}
    (root / "classes.json").write_text(json.dumps(names) + "\n", encoding="utf-8")


def write_pool(
    folder: str | Path, count: int, size: tuple[int, int] = (240, 320), *, distinct: int = 1000
) -> Path:
    """Write ``count`` unlabeled scenes as ``street_00000.jpg``, …: a pool to score.

    They are of no split of :func:`write_dataset`; after ``distinct`` scenes they repeat.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files: list[bytes] = []
    for index in range(count):
        if index < distinct:
            buffer = BytesIO()
            Image.fromarray(scene(_POOL_SEED + index, size)[0]).save(buffer, "JPEG", quality=90)
            files.append(buffer.getvalue())
        (folder / f"street_{index:05d}.jpg").write_bytes(files[index % distinct])
    return folder
