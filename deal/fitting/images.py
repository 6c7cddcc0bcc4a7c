"""Choose the labeled images that a head is fitted on, and those held out to measure it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deal.errors import PoolError, UsageError
from deal.labeled.cityscapes import CITYSCAPES, is_cityscapes, list_cityscapes
from deal.labeled.labels import (
    CLASSES_FILE,
    DEFAULT_VOID,
    LabelClasses,
    LabeledFiles,
    is_empty,
    pair_files,
    read_classes,
    read_image,
    read_label,
)
from deal.model.spec import ModelSpec
from deal.pool.ids import path_to_id, sequence_pattern

__all__ = [
    "HELD_OUT",
    "Labeled",
    "LabeledImage",
    "find_images",
    "find_split",
    "find_void",
    "read",
]

HELD_OUT = "auto"
"""The default: split ``val`` where there is one, else every fifth image."""

_EVERY = 5
_LAYOUT = (
    "expected ROOT/{train,val,test}/{images,labels}, or ROOT/images and ROOT/labels, a label of "
    "the same name for every image; or Cityscapes' ROOT/{leftImg8bit,gtFine}"
)
_NEIGHBOURS = (
    "neighbouring frames of one drive look alike and may be on both sides, which flatters every "
    "figure: --sequence-from keeps drives apart"
)


@dataclass(frozen=True)
class LabeledImage:
    """One pair of files, not yet read.

    Attributes
    ----------
    id : str
        Path of the image relative to the root, with ``/``, as :func:`deal.pool.ids.path_to_id`
        writes it.
    files : LabeledFiles
    sequence : str or None
    """

    id: str
    files: LabeledFiles
    sequence: str | None = None


@dataclass(frozen=True)
class Labeled:
    """Images to fit on and images held out; no image, and with sequences no sequence, is in both.

    Attributes
    ----------
    fit, held_out : tuple of LabeledImage, not empty
    rule : str
        How they were held out, in words.
    notes : tuple of str
        What a reader should know.
    """

    fit: tuple[LabeledImage, ...]
    held_out: tuple[LabeledImage, ...]
    rule: str
    notes: tuple[str, ...]


def find_images(root: Path, held_out: str = HELD_OUT, sequence_from: str | None = None) -> Labeled:
    """List the labeled images of a folder, and hold some of them out.

    Parameters
    ----------
    root : Path
        ``root/{train,val,test}/{images,labels}`` (train is fitted on), or ``root/{images,labels}``;
        or Cityscapes (:func:`deal.labeled.cityscapes.list_cityscapes`).
    held_out : str
        ``auto``; a split, such as ``val``; or ``every:K``, every K-th image by name (or every K-th
        sequence) of those that would be fitted on.
    sequence_from : str, optional
        Regular expression searched in the id; its first group is the sequence. No sequence is on
        both sides then.

    Raises
    ------
    UsageError
        ``held_out`` or ``sequence_from`` cannot be understood.
    PoolError
        The folder has another layout, files lack their partner, or one side would be empty.
    """
    if not root.is_dir():
        raise PoolError(f"labeled data {root} is not a folder: {_LAYOUT}")
    with_sequences = _sequences(sequence_from)
    cityscapes = is_cityscapes(root)
    has_splits = cityscapes or (root / "train").is_dir()
    if not has_splits and not (root / "images").is_dir():
        raise PoolError(f"labeled data {root} has neither train/ nor images/: {_LAYOUT}")
    images = with_sequences(_listed(root, "train" if has_splits else ""))
    if held_out == HELD_OUT:
        has_val = cityscapes or (has_splits and (root / "val").is_dir())
        held_out = "val" if has_val else f"every:{_EVERY}"
    kind, _, number = held_out.partition(":")
    if kind == "every":
        if not number.isdecimal() or int(number) < 2:
            raise UsageError(f"--held-out {held_out!r}: write every:K, K at least 2, as every:5")
        return _part(images, int(number), sequence_from is not None)
    if number or not held_out or "/" in held_out or held_out == "train":
        raise UsageError(f"--held-out {held_out!r}: a split other than train, or every:K")
    if not has_splits:
        raise UsageError(f"--held-out {held_out}: {root} has no splits; leave it out, or every:5")
    others = with_sequences(_listed(root, held_out))
    seen = {image.sequence for image in others} - {None}
    fit = tuple(image for image in images if image.sequence not in seen)
    if not fit:
        raise PoolError(
            f"every sequence of {root / 'train'} is in {held_out} too: leave out --sequence-from, "
            "or hold out another split"
        )
    notes = []
    if len(fit) < len(images):
        notes.append(
            f"{len(images) - len(fit)} images of train are left out: their sequences are in "
            f"{held_out}"
        )
    return Labeled(fit, others, f"split {held_out}", tuple(notes))


def find_split(
    root: Path, split: str | None = None, sequence_from: str | None = None
) -> tuple[tuple[LabeledImage, ...], str]:
    """List the labeled images of one split, and the split's name.

    Parameters
    ----------
    root : Path
        As in :func:`find_images`.
    split : str, optional
        By default ``test`` if it has images, else ``val``; of a folder without splits all, and the
        name is empty.
    sequence_from : str, optional
        As in :func:`find_images`.

    Raises
    ------
    UsageError
        ``sequence_from`` cannot be understood, or the folder has no splits.
    PoolError
        The folder has another layout or lacks the split, or files lack their partner.
    """
    if not root.is_dir():
        raise PoolError(f"labeled data {root} is not a folder: {_LAYOUT}")
    if (root / "images").is_dir():
        if split is not None:
            raise UsageError(f"--split {split}: {root} has no splits; leave it out")
        return _sequences(sequence_from)(_listed(root, "")), ""
    if split is None:
        cityscapes = is_cityscapes(root)
        has = {"test": not is_empty(root / "test"), "val": (root / "val").is_dir()}
        there = (name for name in has if cityscapes or has[name])
        split = next(there, None)
        if split is None:
            raise PoolError(f"labeled data {root} has neither test/, val/ nor images/: {_LAYOUT}")
    return _sequences(sequence_from)(_listed(root, split)), split


def find_void(root: Path, spec: ModelSpec, ignore_index: int | None) -> int:
    """Label of void pixels: the option, else that of the data, else the model's own, else 255.

    The data's classes are those of Cityscapes or of ``classes.json``.

    Raises
    ------
    UsageError
        The option is a class.
    PoolError
        The data have other classes than the model.
    """
    void = DEFAULT_VOID if spec.ignore_index is None else spec.ignore_index
    path, classes = _classes(root)
    if classes is not None:
        if len(classes.names) != spec.num_classes:
            raise PoolError(
                f"{path} has {len(classes.names)} classes, model {spec.path} {spec.num_classes}: "
                "labels need the model's class indices"
            )
        if classes.names != spec.classes and sorted(classes.names) == sorted(spec.classes):
            raise PoolError(
                f"{path} has the classes of model {spec.path} in another order: labels need the "
                "model's class indices"
            )
        void = classes.ignore_index
    if ignore_index is not None:
        void = ignore_index
    if not 0 <= void <= 255 or void < spec.num_classes:
        raise UsageError(
            f"label {void} cannot be void: it is one of the model's {spec.num_classes} classes, or "
            "no 8-bit value; give --ignore-index"
        )
    return void


def read(
    image: LabeledImage, num_classes: int, void: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Decode an image and its label: uint8 [H, W, 3] and [H, W].

    Raises
    ------
    PoolError
        One of them cannot be read, or they do not fit each other or the classes.
    """
    decoded = read_image(image.files.image)
    size = decoded.shape[0], decoded.shape[1]
    return decoded, read_label(image.files, size, num_classes, void)


def _listed(root: Path, split: str) -> tuple[LabeledImage, ...]:
    found = list_cityscapes(root, split) if is_cityscapes(root) else pair_files(root / split)
    return tuple(
        LabeledImage(path_to_id(files.image.relative_to(root).as_posix()), files) for files in found
    )


def _classes(root: Path) -> tuple[Path, LabelClasses | None]:
    """The file that names the classes of the data, and what it says."""
    if is_cityscapes(root):
        return root, CITYSCAPES
    path = root / CLASSES_FILE
    return path, read_classes(path) if path.exists() else None


def _sequences(
    text: str | None,
) -> Callable[[Sequence[LabeledImage]], tuple[LabeledImage, ...]]:
    """A function that gives every image its sequence, or none without an expression."""
    if text is None:
        return tuple
    pattern = sequence_pattern(text)

    def find(images: Sequence[LabeledImage]) -> tuple[LabeledImage, ...]:
        matches = [pattern.search(image.id) for image in images]
        for image, match in zip(images, matches, strict=True):
            if match is None:
                raise PoolError(f"--sequence-from {text!r} finds no sequence in {image.id}")
        return tuple(
            replace(image, sequence=match[1])
            for image, match in zip(images, matches, strict=True)
            if match is not None
        )

    return find


def _part(images: tuple[LabeledImage, ...], every: int, by_sequence: bool) -> Labeled:
    """Hold out every K-th image or sequence, the last of each K (at least one)."""
    what = "sequence" if by_sequence else "image"
    groups = [image.sequence or image.id if by_sequence else image.id for image in images]
    names = sorted(set(groups))
    if len(names) < 2:
        raise PoolError(
            f"one {what} alone cannot be fitted on and held out: give more labeled {what}s, or a "
            "split val"
        )
    chosen = set(names[every - 1 :: every] or names[-1:])
    notes = [] if by_sequence else [_NEIGHBOURS]
    rule = f"{len(chosen)} of {len(names)} {what}s"
    sides: tuple[list[LabeledImage], list[LabeledImage]] = ([], [])
    for image, group in zip(images, groups, strict=True):
        sides[group in chosen].append(image)
    return Labeled(tuple(sides[0]), tuple(sides[1]), rule, tuple(notes))
