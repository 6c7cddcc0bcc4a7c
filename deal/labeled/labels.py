"""Labeled folders: images paired with labels, one class index per pixel; needs no PyTorch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deal.errors import ItemError, PoolError
from deal.machine.files import check_regular
from deal.pool.decode import decode_bytes
from deal.pool.formats import IMAGE_SUFFIXES

__all__ = [
    "CAMVID",
    "CLASSES_FILE",
    "DEFAULT_VOID",
    "LabelClasses",
    "LabeledFiles",
    "is_empty",
    "pair_files",
    "read_classes",
    "read_image",
    "read_label",
]

DEFAULT_VOID = 255
"""Label of pixels that never count, unless ``classes.json`` or the model names another."""

CLASSES_FILE = "classes.json"


@dataclass(frozen=True)
class LabelClasses:
    """The meaning of the indices in labels.

    Attributes
    ----------
    names : tuple of str
    palette : tuple of (r, g, b)
    ignore_index : int
    """

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    ignore_index: int


@dataclass(frozen=True)
class LabeledFiles:
    """Files of an image and its label.

    Attributes
    ----------
    image, label : Path
    ids : tuple of int or None, optional
        Class index for every value that the label may hold, from 0 on; None for void. Without
        ``ids`` the values are class indices.
    """

    image: Path
    label: Path
    ids: tuple[int | None, ...] | None = None


CAMVID = LabelClasses(
    names=(
        "sky",
        "building",
        "pole",
        "road",
        "pavement",
        "tree",
        "sign-symbol",
        "fence",
        "car",
        "pedestrian",
        "bicyclist",
    ),
    palette=(
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (60, 40, 222),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    ),
    ignore_index=11,
)
"""The eleven classes of CamVid that segmentation papers use."""


def read_classes(path: Path, *, least: int = 2) -> LabelClasses:
    """Read ``classes.json``: ``classes``, and optionally ``palette`` and ``ignore_index`` (255).

    Parameters
    ----------
    path : Path
    least : 1 or 2
        Number of classes that are needed; nothing trains on fewer than two.

    Raises
    ------
    PoolError
        The file is missing, is not JSON, or does not hold these keys.
    """
    example = '{"classes": ["road", "sky"], "palette": [[128, 64, 128], [70, 130, 180]]}'
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise PoolError(f"{path}: {error.strerror}; it must hold {example}") from error
    except (ValueError, RecursionError) as error:
        raise PoolError(f"{path} is not JSON ({error}); it must hold {example}") from error
    classes = values.get("classes") if isinstance(values, dict) else None
    if (
        not isinstance(classes, list)
        or len(classes) < least
        or not all(isinstance(name, str) for name in classes)
    ):
        count = "two" if least == 2 else "one"
        raise PoolError(f"{path}: 'classes' must list {count} or more names, as in {example}")
    if twice := [name for name in classes if classes.count(name) > 1]:
        raise PoolError(f"{path}: 'classes' names {twice[0]!r} twice: give each another name")
    palette = values.get("palette") or [_colour(index) for index in range(len(classes))]
    if not isinstance(palette, list):
        raise PoolError(f"{path}: 'palette' must be a list of colours, as in {example}")
    ignore_index = values.get("ignore_index", DEFAULT_VOID)
    if len(palette) != len(classes):
        raise PoolError(f"{path}: {len(palette)} colours in 'palette' for {len(classes)} classes")
    if type(ignore_index) is not int or not len(classes) <= ignore_index <= 255:
        raise PoolError(
            f"{path}: 'ignore_index' {ignore_index!r} must not be a class index, but an 8-bit "
            f"value: {len(classes)} to 255"
        )
    try:
        colours = tuple((int(r), int(g), int(b)) for r, g, b in palette)
        if not all(0 <= value <= 255 for colour in colours for value in colour):
            raise ValueError("a value outside of 8 bits")
        if any(float(value) % 1 for colour in palette for value in colour):
            raise ValueError("a fraction, as of colours from 0 to 1")
    except (TypeError, ValueError, OverflowError) as error:
        raise PoolError(
            f"{path}: 'palette' must hold [r, g, b] triples of 0 to 255, in whole numbers"
        ) from error
    return LabelClasses(tuple(classes), colours, ignore_index)


def _colour(index: int) -> tuple[int, int, int]:
    """Colour of PASCAL VOC's palette: the bits of the index spread over the channels."""
    channels = [0, 0, 0]
    value = index + 1
    for bit in range(8):
        for channel in range(3):
            channels[channel] |= ((value >> channel) & 1) << (7 - bit)
        value >>= 3
    return channels[0], channels[1], channels[2]


def pair_files(folder: Path) -> list[LabeledFiles]:
    """Pair images in ``folder/images`` with labels of the same name in ``folder/labels``, sorted.

    Hidden files are passed over.

    Raises
    ------
    PoolError
        A folder cannot be listed or has no images, an image has no label or a label no image, or
        two files of a folder differ only in the ending of their names.
    """
    images, labels = _by_stem(folder / "images"), _by_stem(folder / "labels")
    if not images:
        where = folder / "images"
        if _below(where):
            raise PoolError(f"the images of {where} lie in subfolders: move them to {where} itself")
        raise PoolError(f"{where} has no images; every split needs at least one")
    for stem in sorted(images.keys() ^ labels.keys()):
        if stem in images:
            raise PoolError(f"image {images[stem]} has no label in {folder / 'labels'}")
        raise PoolError(f"label {labels[stem]} has no image in {folder / 'images'}")
    return [LabeledFiles(images[stem], labels[stem]) for stem in sorted(images)]


def is_empty(split: Path) -> bool:
    """Whether the folder of a split is missing, or those of its images and labels are empty."""
    folders = [split / kind for kind in ("images", "labels")]
    return not split.exists() or all(
        each.is_dir() and not _by_stem(each) and not _below(each) for each in folders
    )


def _below(folder: Path) -> bool:
    """Whether subfolders hold images."""
    return any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.glob("*/**/*"))


def _by_stem(folder: Path) -> dict[str, Path]:
    """The images in a folder by their names without ending."""
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise PoolError(
            f"{folder}: {error.strerror}; expected ROOT/SPLIT/images and ROOT/SPLIT/labels with "
            "SPLIT train, val and test"
        ) from error
    files: dict[str, Path] = {}
    for path in paths:
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
            other = files.setdefault(path.stem, path)
            if other is not path:
                raise PoolError(
                    f"{other} and {path.name} have one name, by which images find their labels: "
                    "rename or remove one of them"
                )
    return files


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode an image as `deal-score` does: uint8 RGB [H, W, 3], upright.

    Raises
    ------
    PoolError
        It cannot be read, or is damaged.
    """
    try:
        check_regular(path)
        return decode_bytes(path.read_bytes()).image
    except OSError as error:
        raise PoolError(f"image {path} cannot be read: {error.strerror}") from error
    except ItemError as error:
        raise PoolError(f"image {path} cannot be read: {error.message}") from error


def read_label(
    files: LabeledFiles, size: tuple[int, int], num_classes: int, ignore_index: int
) -> NDArray[np.uint8]:
    """Read a label: uint8 [H, W], one class index or ``ignore_index`` (void) per pixel.

    Parameters
    ----------
    files : LabeledFiles
        The label is an 8-bit PNG, grey or palette; with a palette the indices count, not the
        colours. If the files have ``ids``, 255 is void too.
    size : (H, W) of the image
    num_classes, ignore_index : int

    Raises
    ------
    PoolError
        The label cannot be read, holds colours, has another size, or an index that is not a class.
    """
    path, ids = files.label, files.ids
    try:
        check_regular(path)
        with Image.open(path) as file:
            # "P" keeps indices where "RGB" would give colours.
            if file.mode not in ("L", "P"):
                raise PoolError(
                    f"label {path} is an image of mode {file.mode}; "
                    "labels are 8-bit PNG with one class index per pixel"
                )
            label = np.array(file)
    except (OSError, Image.DecompressionBombError) as error:
        raise PoolError(f"label {path} cannot be read: {error}") from error
    if label.shape != size:
        raise PoolError(
            f"label {path} is {label.shape[1]}x{label.shape[0]}, but its image is "
            f"{size[1]}x{size[0]}"
        )
    count, void = (num_classes, ignore_index) if ids is None else (len(ids), DEFAULT_VOID)
    outside = label[(label >= count) & (label != void)]
    if outside.size:
        raise PoolError(
            f"label {path} has index {outside.min()}; allowed are 0…{count - 1} and {void} (void)"
        )
    if ids is None:
        return label
    index_of = np.full(256, ignore_index, np.uint8)
    index_of[: len(ids)] = [ignore_index if index is None else index for index in ids]
    mapped: NDArray[np.uint8] = index_of[label]
    return mapped
