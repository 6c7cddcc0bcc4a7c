"""Labeled data sets, decoded once into memory, and the checks before training starts."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deal.errors import PoolError, UsageError
from deal.labeled.datasets import check_name, list_dataset
from deal.labeled.labels import (
    DEFAULT_VOID,
    LabelClasses,
    LabeledFiles,
    read_image,
    read_label,
)
from deal.machine.cores import available_cores
from deal.training.recipe import check_size

__all__ = ["Dataset", "Sample", "held_out", "load_dataset"]


@dataclass(frozen=True)
class Sample:
    """One labeled image.

    Attributes
    ----------
    name : str
    image : ndarray of uint8 [H, W, 3]
        RGB, at the size of the network's input.
    label : ndarray of uint8 [H', W']
        One class index per pixel, at the label's own size (for Cityscapes' train split: the size of
        the image).
    path : Path or None
        The image's file; None for a generated image.
    """

    name: str
    image: NDArray[np.uint8]
    label: NDArray[np.uint8]
    path: Path | None = None


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
        A data set of files, as in :func:`deal.labeled.datasets.list_dataset`; or ``synthetic``,
        generated street scenes without a root; or ``synthetic-drives``, such scenes as long drives
        of near-identical frames and short drives of rare things (:func:`deal.synthetic.drives`).
    root : Path or None
    size : (H, W) or None
        Images are resized to this size; None keeps their size, which must be the same for all.
        ``cityscapes`` needs a size, and labels of its train split are resized too (nearest). The
        data in memory, uint8, is then 4·H·W bytes for each of 2675 images and 3·H·W + 2 MiB for
        each of 800.
    scenes : int
        Training scenes of ``synthetic``, or frames of ``synthetic-drives``; val and test have a
        fifth of it each.

    Raises
    ------
    UsageError
        The name is unknown, a root or a size is missing, or a root is superfluous.
    PoolError
        An image has no label or a label no image, a label has another size than its image or an
        index outside the classes, a split is empty or completely void, or a file cannot be read.
    """
    check_name(name)
    check_size("size", size)
    if name.startswith("synthetic"):
        if root is not None:
            raise UsageError(f"dataset {name} is generated: leave out --data, or root in [data]")
        return _synthetic(name, size or (240, 320), scenes)
    classes, files = list_dataset(name, root)
    if name == "cityscapes" and size is None:
        raise UsageError(
            "dataset cityscapes needs a size HxW, such as 512x1024: at their full 1024x2048, the "
            "images and labels fill 29 GB of memory"
        )
    splits: dict[str, tuple[Sample, ...]] = {}
    with ThreadPoolExecutor(available_cores()) as readers:
        for split, pairs in files.items():
            reduce_label = name == "cityscapes" and split == "train"
            read = functools.partial(_read_sample, size, classes, reduce_label)
            splits[split] = tuple(readers.map(read, pairs))
            void = classes.ignore_index
            if pairs and all((sample.label == void).all() for sample in splits[split]):
                raise PoolError(
                    f"split {split} of {root} has no labeled pixel: all pixels are {void} (void)"
                )
    return Dataset(
        classes=classes.names,
        palette=classes.palette,
        ignore_index=classes.ignore_index,
        size=_common_size([sample for split in splits.values() for sample in split]),
        train=splits["train"],
        val=splits["val"],
        test=splits["test"],
    )


def held_out(data: Dataset, names: str) -> Dataset:
    """The data set for a training without some of its training images, such as one drive.

    The images left out become val, so that a recipe can be judged on a drive that it has not seen.
    The former val and test are not in the result: val may show a drive that is in train, and test
    is not for choosing.

    Parameters
    ----------
    data : Dataset
    names : str
        Pattern of image names without their ending, with ``*``, ``?`` and ``[...]``: ``0006R0*``.

    Raises
    ------
    UsageError
        No training image has such a name, or all have.
    PoolError
        The images that match have no labeled pixel.
    """
    inside = [fnmatchcase(sample.name, names) for sample in data.train]
    if not any(inside) or all(inside):
        which = "every" if any(inside) else "no"
        raise UsageError(
            f"--hold-out {names!r} matches {which} training image: give a pattern of some names, "
            f"such as {data.train[0].name!r}"
        )
    val = tuple(sample for sample, out in zip(data.train, inside, strict=True) if out)
    if all((sample.label == data.ignore_index).all() for sample in val):
        raise PoolError(f"the images that --hold-out {names!r} matches have no labeled pixel")
    train = tuple(sample for sample, out in zip(data.train, inside, strict=True) if not out)
    return replace(data, train=train, val=val, test=())


def _synthetic(name: str, size: tuple[int, int], scenes: int) -> Dataset:
    from deal.synthetic.scenes import CLASSES, FIRST_SEED, PALETTE, SMALLEST, drives, scene

    if scenes < 5:
        raise UsageError(f"there must be at least 5 scenes, not {scenes}")
    if min(size) < SMALLEST:
        raise UsageError(
            f"size must be at least {SMALLEST}x{SMALLEST} for dataset {name}, not "
            f"{size[0]}x{size[1]}"
        )

    def samples(split: str, count: int) -> Iterator[Sample]:
        if name == "synthetic-drives":
            yield from (Sample(*frame) for frame in drives(split, count, size))
        else:
            first = FIRST_SEED[split]
            seeds = range(first, first + count)
            yield from (Sample(f"scene-{seed}", *scene(seed, size)) for seed in seeds)

    counts = {"train": scenes, "val": scenes // 5, "test": scenes // 5}
    splits = {split: tuple(samples(split, count)) for split, count in counts.items()}
    return Dataset(CLASSES, PALETTE, DEFAULT_VOID, size, **splits)


def _read_sample(
    size: tuple[int, int] | None,
    classes: LabelClasses,
    reduce_label: bool,
    files: LabeledFiles,
) -> Sample:
    image = read_image(files.image)
    shape = image.shape[0], image.shape[1]
    label = read_label(files, shape, len(classes.names), classes.ignore_index)
    if size is not None and shape != size:
        turned = size[1], size[0]
        image = np.array(Image.fromarray(image).resize(turned, Image.Resampling.BILINEAR))
        if reduce_label:
            resized = Image.fromarray(label).resize(turned, Image.Resampling.NEAREST)
            label = np.array(resized)
    return Sample(files.image.stem, image, label, files.image)


def _common_size(samples: Sequence[Sample]) -> tuple[int, int]:
    first = samples[0]
    for sample in samples:
        if sample.image.shape != first.image.shape:
            (h, w), (h0, w0) = sample.image.shape[:2], first.image.shape[:2]
            raise PoolError(
                f"images differ in size ({first.name} {w0}x{h0}, {sample.name} {w}x{h}): "
                "give --size HxW, or size in [data], to resize them all"
            )
    return first.image.shape[0], first.image.shape[1]
