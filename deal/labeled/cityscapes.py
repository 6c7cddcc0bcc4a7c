"""Cityscapes: the folders, the 19 classes, and the images held out of the training split.

Source: Cordts et al., CVPR 2016; label ids, train ids and colours as in ``cityscapesScripts``.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path

from deal.errors import PoolError
from deal.labeled.labels import LabelClasses, LabeledFiles

__all__ = ["CITYSCAPES", "is_cityscapes", "list_cityscapes"]

# In the order of the train ids: label id, name, colour.
_CLASSES = (
    (7, "road", (128, 64, 128)),
    (8, "sidewalk", (244, 35, 232)),
    (11, "building", (70, 70, 70)),
    (12, "wall", (102, 102, 156)),
    (13, "fence", (190, 153, 153)),
    (17, "pole", (153, 153, 153)),
    (19, "traffic light", (250, 170, 30)),
    (20, "traffic sign", (220, 220, 0)),
    (21, "vegetation", (107, 142, 35)),
    (22, "terrain", (152, 251, 152)),
    (23, "sky", (70, 130, 180)),
    (24, "person", (220, 20, 60)),
    (25, "rider", (255, 0, 0)),
    (26, "car", (0, 0, 142)),
    (27, "truck", (0, 0, 70)),
    (28, "bus", (0, 60, 100)),
    (31, "train", (0, 80, 100)),
    (32, "motorcycle", (0, 0, 230)),
    (33, "bicycle", (119, 11, 32)),
)
_LABEL_IDS = 34

CITYSCAPES = LabelClasses(
    names=tuple(name for _, name, _ in _CLASSES),
    palette=tuple(colour for _, _, colour in _CLASSES),
    ignore_index=255,
)
"""The 19 classes on which Cityscapes is evaluated; the other 15 of the 34 ids are void."""

_TRAIN_IDS = {label_id: index for index, (label_id, _, _) in enumerate(_CLASSES)}
# The meaning of values in each kind of label file; the first kind that an image has is read.
_LABELS: dict[str, tuple[int | None, ...]] = {
    "_gtFine_labelIds.png": tuple(map(_TRAIN_IDS.get, range(_LABEL_IDS))),
    "_gtFine_labelTrainIds.png": tuple(range(len(_CLASSES))),
}
_IMAGE = "_leftImg8bit.png"
_SPLITS = {"train": "train", "val": "train", "test": "val"}
_HELD_OUT, _TRAIN = 300, 2975


def is_cityscapes(root: Path) -> bool:
    """Whether a folder has the layout of Cityscapes, or half of it."""
    return (root / "leftImg8bit").is_dir() or (root / "gtFine").is_dir()


def list_cityscapes(root: Path, split: str) -> list[LabeledFiles]:
    """Images of a split with their labels, by name.

    The labels of the official ``test`` split are withheld. So, as in the evaluation of DEAL (Xie et
    al., arXiv 2010.08705), ``test`` is the official ``val`` (500 images), and ``val`` is 300 of the
    2975 training images. They are those whose names have the lowest 8-byte BLAKE2b (person
    ``deal.val``, little-endian). For another number of training images, ``val`` is the same share,
    rounded up.

    Parameters
    ----------
    root : Path
        ``root/leftImg8bit/{train,val}/CITY/*_leftImg8bit.png`` and
        ``root/gtFine/{train,val}/CITY/*_gtFine_labelIds.png`` (or ``…_labelTrainIds.png`` if that
        is missing).
    split : ``train``, ``val`` or ``test``

    Raises
    ------
    PoolError
        A folder is missing or has no images, an image has no label or a label no image, or no
        image would be left for training.
    """
    if split not in _SPLITS:
        raise PoolError(f"Cityscapes has the splits {', '.join(_SPLITS)}, not {split!r}")
    folder = _SPLITS[split]
    files = _pairs(root, folder)
    if folder != "train":
        return files
    count = -(-len(files) * _HELD_OUT // _TRAIN)
    if count == len(files):
        raise PoolError(
            f"{root / 'leftImg8bit/train'} has only one image, but val is also taken from it"
        )
    held_out = set(sorted(files, key=lambda pair: _draw(pair.image.name))[:count])
    return [pair for pair in files if (pair in held_out) == (split == "val")]


def _draw(name: str) -> int:
    hashed = blake2b(os.fsencode(name), digest_size=8, person=b"deal.val").digest()
    return int.from_bytes(hashed, "little")


def _pairs(root: Path, folder: str) -> list[LabeledFiles]:
    images = _listed(root / "leftImg8bit" / folder, _IMAGE)
    labels: dict[str, tuple[Path, tuple[int | None, ...]]] = {}
    for suffix, ids in reversed(_LABELS.items()):
        found = _listed(root / "gtFine" / folder, suffix)
        labels.update({name: (path, ids) for name, path in found.items()})
    if not images:
        raise PoolError(f"{root / 'leftImg8bit' / folder} has no CITY/*{_IMAGE}")
    for name in sorted(images.keys() ^ labels.keys()):
        if name in images:
            raise PoolError(
                f"image {images[name]} has no label {root / 'gtFine' / folder / name}"
                f"{next(iter(_LABELS))}"
            )
        raise PoolError(f"label {labels[name][0]} has no image in {root / 'leftImg8bit' / folder}")
    return [LabeledFiles(images[name], *labels[name]) for name in sorted(images)]


def _listed(folder: Path, suffix: str) -> dict[str, Path]:
    """Files of all cities with this suffix, by CITY/NAME without it."""
    if not folder.is_dir():
        raise PoolError(
            f"{folder} is missing: unpack leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip "
            "of cityscapes-dataset.com side by side"
        )
    return {
        path.relative_to(folder).as_posix().removesuffix(suffix): path
        for path in folder.glob(f"*/*{suffix}")
    }
