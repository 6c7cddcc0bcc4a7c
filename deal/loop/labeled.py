"""What is labeled: whole images, and cells of a grid of others."""

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
        Id.
    number : int
        As of :class:`deal.Grid`, row-major.
    raster : (H, W)
        The raster that the grid lies on.
    """

    image: str
    number: int
    raster: tuple[int, int]


Item: TypeAlias = str | Region
"""A whole image, by its id, or a region of one."""


def image_of(item: Item) -> str:
    """Id of the image that an item is, or is of."""
    return item if isinstance(item, str) else item.image


def images_of(items: Iterable[Item]) -> list[str]:
    """Ids of the images of which anything is labeled, each once, in order."""
    return list(dict.fromkeys(map(image_of, items)))


def regions_of(items: Iterable[Item]) -> dict[str, list[Region]]:
    """The regions among the items, by the id of their image."""
    found: dict[str, list[Region]] = {}
    for item in items:
        if isinstance(item, Region):
            found.setdefault(item.image, []).append(item)
    return found


def described(items: Sequence[Item]) -> str:
    """``"8 images"``, ``"8 images and 96 regions of 40 images"``."""
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
    """A label of which nothing is known beyond some regions.

    Parameters
    ----------
    label : ndarray of uint8 [H, W]
        Of any size: a pixel is of the cell that its centre lies in.
    regions : sequence of Region, not empty
        Of this image.
    grid : Grid
    void : int
        What the other pixels become.
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
    """Write ``id``, of a set with regions also ``region`` and ``raster`` (``HxW``), a row an item.

    Such a file can be given to ``deal select --exclude``.
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
    """Read what `write_labeled` wrote; ResultsError where that is not what the file holds."""
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
