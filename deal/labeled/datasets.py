"""Labeled data sets by name: classes, and the files of the splits; needs no PyTorch."""

from __future__ import annotations

from pathlib import Path

from deal.errors import PoolError, UsageError
from deal.labeled.cityscapes import CITYSCAPES, list_cityscapes
from deal.labeled.labels import (
    CAMVID,
    CLASSES_FILE,
    LabelClasses,
    LabeledFiles,
    is_empty,
    pair_files,
    read_classes,
)

__all__ = ["DATASETS", "check_name", "list_dataset"]

DATASETS = ("camvid", "cityscapes", "folder", "synthetic", "synthetic-drives")
"""Names of data sets; those that start with ``synthetic`` are generated and have no files."""


def list_dataset(
    name: str, root: Path | None
) -> tuple[LabelClasses, dict[str, list[LabeledFiles]]]:
    """List the classes of a data set, and the files of train, val and test without reading them.

    Parameters
    ----------
    name : str
        ``camvid`` or ``folder``: ``root/{train,val,test}/{images,labels}``, labels are 8-bit PNG
        with one class index per pixel. ``test`` may be missing or empty. ``folder`` also needs
        ``root/classes.json`` with ``classes`` and optionally ``palette`` and ``ignore_index``
        (255).
        ``cityscapes``: see :func:`deal.labeled.cityscapes.list_cityscapes`.
    root : Path or None

    Raises
    ------
    UsageError
        The name is unknown, the data set is generated, or a root is missing.
    PoolError
        The root is not a folder, a split is empty, or an image has no label or a label no image.
    """
    check_name(name)
    if name.startswith("synthetic"):
        raise UsageError(f"dataset {name} is generated and has no files")
    if root is None:
        raise UsageError(f"dataset {name} needs a folder: --data ROOT, or root in [data]")
    if not root.is_dir():
        raise PoolError(f"data set {root} is not a folder")
    names = ("train", "val", "test")
    if name == "cityscapes":
        return CITYSCAPES, {split: list_cityscapes(root, split) for split in names}
    classes = CAMVID if name == "camvid" else read_classes(root / CLASSES_FILE)
    lacks_test = is_empty(root / "test")
    return classes, {
        split: [] if split == "test" and lacks_test else pair_files(root / split) for split in names
    }


def check_name(name: str) -> None:
    """Raise UsageError for a name that is not in `DATASETS`."""
    if name not in DATASETS:
        raise UsageError(f"dataset {name!r} is unknown; choose one of {', '.join(DATASETS)}")
