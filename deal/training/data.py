"""Labelled data sets, decoded once into memory, and the checks before training starts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deal.errors import PoolError, UsageError

__all__ = ["DATASETS", "Dataset", "Sample", "load_dataset"]

DATASETS = ("camvid", "folder", "synthetic")

_CAMVID_CLASSES = (
    ("sky", (128, 128, 128)),
    ("building", (128, 0, 0)),
    ("pole", (192, 192, 128)),
    ("road", (128, 64, 128)),
    ("pavement", (60, 40, 222)),
    ("tree", (128, 128, 0)),
    ("sign-symbol", (192, 128, 128)),
    ("fence", (64, 64, 128)),
    ("car", (64, 0, 128)),
    ("pedestrian", (64, 64, 0)),
    ("bicyclist", (0, 128, 192)),
)
_CAMVID_VOID = 11
_DEFAULT_VOID = 255
_IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
_CLASSES_FILE = "classes.json"


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
    if name == "camvid":
        classes, palette = zip(*_CAMVID_CLASSES, strict=True)
        ignore_index = _CAMVID_VOID
    else:
        classes, palette, ignore_index = _read_classes(root / _CLASSES_FILE)
    splits: dict[str, tuple[Sample, ...]] = {}
    for split in ("train", "val", "test"):
        if split == "test" and name == "folder" and not (root / split).exists():
            splits[split] = ()
            continue
        pairs = _pair_files(root / split)
        splits[split] = tuple(
            _read_sample(image, label, size, len(classes), ignore_index) for image, label in pairs
        )
        if all((sample.label == ignore_index).all() for sample in splits[split]):
            raise PoolError(f"{root / split} has no labelled pixel: all are {ignore_index} (void)")
    return Dataset(
        classes=classes,
        palette=palette,
        ignore_index=ignore_index,
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
    return Dataset(CLASSES, PALETTE, _DEFAULT_VOID, size, **splits)


def _read_classes(
    path: Path,
) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...], int]:
    example = '{"classes": ["road", "sky"], "palette": [[128, 64, 128], [70, 130, 180]]}'
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PoolError(f"{path}: {error.strerror}; it must hold {example}") from error
    except ValueError as error:
        raise PoolError(f"{path} is not JSON ({error}); it must hold {example}") from error
    classes = values.get("classes") if isinstance(values, dict) else None
    if (
        not isinstance(classes, list)
        or len(classes) < 2
        or not all(isinstance(name, str) for name in classes)
    ):
        raise PoolError(f"{path}: 'classes' must list two or more names, as in {example}")
    palette = values.get("palette") or [_colour(index) for index in range(len(classes))]
    ignore_index = values.get("ignore_index", _DEFAULT_VOID)
    if len(palette) != len(classes):
        raise PoolError(f"{path}: {len(palette)} colours in 'palette' for {len(classes)} classes")
    if not isinstance(ignore_index, int) or 0 <= ignore_index < len(classes):
        raise PoolError(f"{path}: 'ignore_index' {ignore_index!r} must not be a class index")
    try:
        colours = tuple((int(r), int(g), int(b)) for r, g, b in palette)
    except (TypeError, ValueError) as error:
        raise PoolError(f"{path}: 'palette' must hold [r, g, b] triples") from error
    return tuple(classes), colours, ignore_index


def _colour(index: int) -> tuple[int, int, int]:
    """Colour of PASCAL VOC's palette: the bits of the index spread over the channels."""
    channels = [0, 0, 0]
    value = index + 1
    for bit in range(8):
        for channel in range(3):
            channels[channel] |= ((value >> channel) & 1) << (7 - bit)
        value >>= 3
    return channels[0], channels[1], channels[2]


def _pair_files(folder: Path) -> list[tuple[Path, Path]]:
    listings = []
    for kind in ("images", "labels"):
        try:
            files = {
                path.stem: path
                for path in (folder / kind).iterdir()
                if path.suffix.lower() in _IMAGE_SUFFIXES
            }
        except OSError as error:
            raise PoolError(
                f"{folder / kind}: {error.strerror}; expected ROOT/SPLIT/images and "
                "ROOT/SPLIT/labels with SPLIT train, val and test"
            ) from error
        listings.append(files)
    images, labels = listings
    if not images:
        raise PoolError(f"{folder / 'images'} has no images; every split needs at least one")
    for stem in sorted(images.keys() ^ labels.keys()):
        if stem in images:
            raise PoolError(f"image {images[stem]} has no label in {folder / 'labels'}")
        raise PoolError(f"label {labels[stem]} has no image in {folder / 'images'}")
    return [(images[stem], labels[stem]) for stem in sorted(images)]


def _read_sample(
    image_path: Path,
    label_path: Path,
    size: tuple[int, int] | None,
    num_classes: int,
    ignore_index: int,
) -> Sample:
    try:
        with Image.open(image_path) as file:
            picture = file.convert("RGB")
        with Image.open(label_path) as file:
            # "P" keeps indices where "RGB" would give colours.
            if file.mode not in ("L", "P"):
                raise PoolError(
                    f"label {label_path} is an image of mode {file.mode}; "
                    "labels are 8-bit PNG with one class index a pixel"
                )
            label = np.array(file)
    except OSError as error:
        raise PoolError(f"{image_path} or its label cannot be read: {error}") from error
    if (picture.height, picture.width) != label.shape:
        raise PoolError(
            f"label {label_path} is {label.shape[1]}x{label.shape[0]}, "
            f"its image {picture.width}x{picture.height}"
        )
    outside = np.unique(label[(label >= num_classes) & (label != ignore_index)])
    if outside.size:
        raise PoolError(
            f"label {label_path} has index {outside[0]}; allowed are 0…{num_classes - 1} and "
            f"{ignore_index} (void)"
        )
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
