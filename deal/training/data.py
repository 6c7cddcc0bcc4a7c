"""Labelled data sets, decoded once into memory, and the checks before training starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deal.errors import PoolError, UsageError
from deal.labels import (
    CAMVID,
    CLASSES_FILE,
    DEFAULT_VOID,
    LabelClasses,
    pair_files,
    read_classes,
    read_label,
)

__all__ = ["DATASETS", "Dataset", "Sample", "load_dataset"]

DATASETS = ("camvid", "folder", "synthetic")


@dataclass(frozen=True)
class Sample:
    """One labelled image.

    Attributes
    ----------
    name : str
    image : ndarray of uint8 [H, W, 3]
        RGB, at the size the network gets.
    label : ndarray of uint8 [H', W']
        Class index a pixel, at the label's own size.
    """

    name: str
    image: NDArray[np.uint8]
    label: NDArray[np.uint8]


@dataclass(frozen=True)
class Dataset:
    """Train, val and (maybe empty) test samples that share classes and image size.

    Attributes
    ----------
    classes : tuple of str
    palette : tuple of (r, g, b)
    ignore_index : int
    size : (H, W) of every image
    train, val, test : tuple of Sample
    """

    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    ignore_index: int
    size: tuple[int, int]
    train: tuple[Sample, ...]
    val: tuple[Sample, ...]
    test: tuple[Sample, ...]


def load_dataset(
    name: str, root: Path | None, *, size: tuple[int, int] | None, scenes: int
) -> Dataset:
    """Read a whole data set into memory and check it.

    Parameters
    ----------
    name : str
        ``camvid`` or ``folder``: ``root/{train,val,test}/{images,labels}``, labels are 8-bit PNG
        with a class index a pixel; ``folder`` also needs ``root/classes.json`` with ``classes``
        and optionally ``palette`` and ``ignore_index`` (255), and may lack ``test``.
        ``synthetic``: generated street scenes, no root.
    root : Path or None
    size : (H, W) or None
        Images are resized to it; None takes them as they are, all of one size.
    scenes : int
        Training scenes of ``synthetic``; val and test have a fifth of it each.

    Raises
    ------
    UsageError
        The name is unknown, a root is missing or superfluous.
    PoolError
        An image lacks its label or the other way round, a label has another size than its image
        or an index outside the classes, a split is empty or void throughout, or a file cannot be
        read.
    """
    if name not in DATASETS:
        raise UsageError(f"dataset {name!r} is unknown; choose one of {', '.join(DATASETS)}")
    if name == "synthetic":
        if root is not None:
            raise UsageError("dataset synthetic is generated: leave out --data")
        return _synthetic(size or (240, 320), scenes)
    if root is None:
        raise UsageError(f"dataset {name} needs --data ROOT")
    if not root.is_dir():
        raise PoolError(f"data set {root} is not a folder")
    classes = CAMVID if name == "camvid" else read_classes(root / CLASSES_FILE)
    splits: dict[str, tuple[Sample, ...]] = {}
    for split in ("train", "val", "test"):
        if split == "test" and name == "folder" and not (root / split).exists():
            splits[split] = ()
            continue
        pairs = pair_files(root / split)
        splits[split] = tuple(_read_sample(image, label, size, classes) for image, label in pairs)
        void = classes.ignore_index
        if all((sample.label == void).all() for sample in splits[split]):
            raise PoolError(f"{root / split} has no labelled pixel: all are {void} (void)")
    return Dataset(
        classes=classes.names,
        palette=classes.palette,
        ignore_index=classes.ignore_index,
        size=_common_size([sample for split in splits.values() for sample in split]),
        train=splits["train"],
        val=splits["val"],
        test=splits["test"],
    )


def _synthetic(size: tuple[int, int], scenes: int) -> Dataset:
    from deal.synthetic import CLASSES, FIRST_SEED, PALETTE, scene

    if scenes < 5:
        raise UsageError(f"--scenes must be at least 5, not {scenes}")
    counts = {"train": scenes, "val": scenes // 5, "test": scenes // 5}
    splits = {
        split: tuple(
            Sample(f"scene-{seed}", *scene(seed, size))
            for seed in range(FIRST_SEED[split], FIRST_SEED[split] + count)
        )
        for split, count in counts.items()
    }
    return Dataset(CLASSES, PALETTE, DEFAULT_VOID, size, **splits)


def _read_sample(
    image_path: Path,
    label_path: Path,
    size: tuple[int, int] | None,
    classes: LabelClasses,
) -> Sample:
    try:
        with Image.open(image_path) as file:
            picture = file.convert("RGB")
    except OSError as error:
        raise PoolError(f"image {image_path} cannot be read: {error}") from error
    shape = picture.height, picture.width
    label = read_label(label_path, shape, len(classes.names), classes.ignore_index)
    if size is not None and label.shape != size:
        picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return Sample(image_path.stem, np.array(picture), label)


def _common_size(samples: Sequence[Sample]) -> tuple[int, int]:
    first = samples[0]
    for sample in samples:
        if sample.image.shape != first.image.shape:
            (h, w), (h0, w0) = sample.image.shape[:2], first.image.shape[:2]
            raise PoolError(
                f"images differ in size ({first.name} {w0}x{h0}, {sample.name} {w}x{h}): "
                "give --size HxW to resize them all"
            )
    return first.image.shape[0], first.image.shape[1]
