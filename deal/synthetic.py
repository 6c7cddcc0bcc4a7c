"""Seeded street scenes with exact labels: the demo and the tests need no data set.

Every drawing step uses integers and IEEE basic arithmetic only, no transcendental function and
no drawing library, so that a seed gives the same bytes on every machine.
"""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deal._synthetic_backdrop import (
    Street,
    paint_facades,
    paint_ground,
    paint_sky,
    paint_skyline,
)
from deal._synthetic_canvas import Canvas, squared_uniform
from deal._synthetic_things import PAINTERS, Thing

__all__ = ["CLASSES", "FIRST_SEED", "PALETTE", "scene", "write_dataset", "write_pool"]

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
    if min(size) < 32:
        raise ValueError(f"size must be at least 32x32 pixels, not {size[0]}x{size[1]}")
    rng = np.random.default_rng(seed)
    street = Street.draw(rng)
    canvas = Canvas(size, street.camera(size), street.haze, street.fog_distance, rng)
    paint_sky(canvas, street, rng)
    paint_skyline(canvas, street, rng)
    paint_ground(canvas, street, rng)
    paint_facades(canvas, street, rng)
    for thing in sorted(_things(street, rng), key=lambda thing: -thing.z):
        PAINTERS[thing.kind](canvas, thing, rng)
    return canvas.develop(street.exposure, street.tint, street.noise, street.rain), canvas.label


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
    scene.

    Parameters
    ----------
    root : path of a folder, made if needed
    train, val, test : int
        Scenes a split.
    size : (H, W) in pixels
    """
    root = Path(root)
    for split, count in (("train", train), ("val", val), ("test", test)):
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


def _things(street: Street, rng: np.random.Generator) -> list[Thing]:
    things = []

    def add(kind: str, x: float, nearest: float, farthest: float) -> None:
        # The square crowds things towards the viewer, where they are seen.
        z = nearest + (farthest - nearest) * squared_uniform(rng)
        things.append(Thing(kind, x, z))

    def side() -> float:
        return -1.0 if rng.random() < 0.5 else 1.0

    for _ in range(street.poles):
        add("pole", side() * (street.road + 0.4), 7, 60)
    for _ in range(street.signs):
        add("sign", side() * (street.road + 0.3 + 0.5 * float(rng.random())), 6, 40)
    for _ in range(street.trees):
        add("tree", side() * (street.road + 0.9), 8, 60)
    for _ in range(street.cars):
        parked = rng.random() < 0.6
        offset = street.road - 1.1 if parked else street.road / 2
        add("car", side() * offset, 7, 60)
    for _ in range(street.crowd):
        crossing = rng.random() < 0.3
        reach = 2 * float(rng.random()) - 1
        walk = street.road * reach if crossing else 0.0
        strip = side() * (street.road + street.pavement * (0.2 + 0.7 * float(rng.random())))
        add("pedestrian", walk if crossing else strip, 6, 45)
    return things
