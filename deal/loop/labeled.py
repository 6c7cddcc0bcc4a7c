"""Labeled items: whole images, and regions (cells of a grid) of other images."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from deal.errors import ResultsError
from deal.kernel.regions import Grid
from deal.loop.files import write_csv

__all__ = [
    "Item",
    "Region",
    "described",
    "image_of",
    "images_of",
    "only_regions",
    "read_labeled",
    "regions_of",
    "write_labeled",
]


class Region(NamedTuple):
    """A cell of an image.

    Attributes
    ----------
    image : str
        Id of the image.
    number : int
        Number of the cell as in :class:`deal.Grid`, row-major.
    raster : (H, W)
        Size of the raster that the grid divides.
    """

    image: str
    number: int
    raster: tuple[int, int]


Item: TypeAlias = str | Region
"""A whole image, by its id, or a region of an image."""


def image_of(item: Item) -> str:
    """Id of the image of an item."""
    return item if isinstance(item, str) else item.image


def images_of(items: Iterable[Item]) -> list[str]:
    """Ids of the images that are labeled at least in part, each once, in order."""
    return list(dict.fromkeys(map(image_of, items)))


def regions_of(items: Iterable[Item]) -> dict[str, list[Region]]:
    """The regions among the items, by id of the image."""
    found: dict[str, list[Region]] = {}
    for item in items:
        if isinstance(item, Region):
            found.setdefault(item.image, []).append(item)
    return found


def described(items: Sequence[Item]) -> str:
    """Text such as ``"8 images"`` or ``"8 images and 96 regions of 40 images"``."""
    of = regions_of(items)
    count = sum(map(len, of.values()))
    whole = _counted(len(items) - count, "image")
    regions = f"{_counted(count, 'region')} of {_counted(len(of), 'image')}"
    if not count:
        return whole
    return regions if count == len(items) else f"{whole} and {regions}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def only_regions(
    label: NDArray[np.uint8], regions: Sequence[Region], grid: Grid, void: int
) -> NDArray[np.uint8]:
    """Return a label that is void outside some regions.

    Parameters
    ----------
    label : ndarray of uint8 [H, W]
        May have any size: a pixel belongs to the cell in which its centre lies.
    regions : sequence of Region, not empty
        Regions of this image.
    grid : Grid
    void : int
        Value of all other pixels.
    """
    raster = regions[0].raster
    y, x = (
        (2 * np.arange(length) + 1) * size // (2 * length) // grid.cell
        for length, size in zip(label.shape, raster, strict=True)
    )
    cells = y[:, None] * grid.shape(raster)[1] + x
    known = np.isin(cells, [region.number for region in regions])
    return np.where(known, label, np.uint8(void))


def write_labeled(path: Path, items: Sequence[Item]) -> None:
    """Write one row per item: ``id`` and, if there are regions, ``region`` and ``raster``.

    The raster is written as ``HxW``. The file can be given to ``deal select --exclude``.
    """
    if not regions_of(items):
        write_csv(path, ["id"], [[item] for item in items])
        return
    rows = [
        [item, None, None]
        if isinstance(item, str)
        else [item.image, item.number, "x".join(map(str, item.raster))]
        for item in items
    ]
    write_csv(path, ["id", "region", "raster"], rows)


def read_labeled(path: Path) -> tuple[Item, ...]:
    """Read a file of `write_labeled`; ResultsError if the file holds anything else."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return tuple(map(_item, csv.DictReader(file)))
    except OSError as error:
        raise ResultsError(f"{path} cannot be read: {error.strerror}") from error
    except (KeyError, ValueError) as error:
        raise ResultsError(f"{path} is damaged ({error!r}): delete the folder it is in") from error


def _item(row: dict[str, str]) -> Item:
    if not row.get("region"):
        return row["id"]
    height, width = map(int, row["raster"].split("x"))
    return Region(row["id"], int(row["region"]), (height, width))
