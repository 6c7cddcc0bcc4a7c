"""Labeled items: whole images, and regions of other images; what a simulated annotator says."""

from __future__ import annotations

import csv
import math
import zlib
from collections.abc import Callable, Container, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from deal.annotation.polygons import fill_wkt
from deal.errors import ResultsError
from deal.kernel.regions import Grid
from deal.loop.files import write_csv
from deal.loop.rounds import RoundsConfig

__all__ = [
    "Item",
    "Partly",
    "Region",
    "area",
    "count_labels",
    "described",
    "image_of",
    "images_of",
    "only_regions",
    "read_labeled",
    "regions_of",
    "write_labeled",
]

_LONGEST = 1 << 28


class Region(NamedTuple):
    """A part of an image: a cell of a grid, or what an outline encloses.

    Attributes
    ----------
    image : str
        Id of the image.
    number : int
        Number of the region in the results that it was picked from; of a cell as in
        :class:`deal.Grid`, row-major.
    raster : (H, W)
        Size of the raster that the grid divides, or of the oriented image, for an outline.
    outline : str
        WKT, in pixels of the oriented image; empty for a cell.
    pixels : int
        Raster pixels within the outline; 0 for a cell, whose size follows from the grid.
    """

    image: str
    number: int
    raster: tuple[int, int]
    outline: str = ""
    pixels: int = 0


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
    label: NDArray[np.uint8], regions: Sequence[Region], rounds: RoundsConfig, void: int
) -> Partly:
    """Say what the annotator gives some regions of an image; all else is void.

    Parameters
    ----------
    label : ndarray of uint8 [H, W]
        The true label. It may have any size: a pixel belongs to the cell or outline in which its
        centre lies, and to the first of several.
    regions : sequence of Region, not empty
        Regions of this image, in the order in which they were labeled.
    rounds : RoundsConfig
        Its ``label`` is what regions get: ``true`` labels, or the ``dominant`` one. A dominant
        label is that of most pixels (the lowest of several). Where it is void, or its share is
        below ``sieve``, the region stays unlabeled.
    void : int
        Value of all other pixels.
    """
    if rounds.label == "true" and rounds.grid is not None:
        known = np.isin(_cells(label.shape, regions[0].raster, rounds.grid), _numbers(regions))
        return Partly(np.where(known, label, np.uint8(void)), 0)
    found = np.full_like(label, void)
    free, left = np.ones(label.shape, bool), 0
    for region in regions:
        inside = area(region, label.shape, rounds.grid)
        new = inside & free
        free &= ~inside
        if rounds.label == "true":
            found[new] = label[new]
            continue
        counts = np.bincount(label[inside], minlength=1)
        dominant = int(counts.argmax())
        if dominant == void or counts[dominant] < max(rounds.sieve * counts.sum(), 1):
            left += 1
        else:
            found[new] = dominant
    return Partly(found, left)


class Partly(NamedTuple):
    """The label of an image of which only regions are labeled.

    Attributes
    ----------
    label : ndarray of uint8 [H, W]
    unlabeled : int
        Regions that got no label although a click was spent.
    """

    label: NDArray[np.uint8]
    unlabeled: int


def area(region: Region, size: tuple[int, ...], grid: Grid | None) -> NDArray[np.bool_]:
    """Pixels of an image of some size [H, W] whose centres lie in a region."""
    if not region.outline:
        assert grid is not None
        return np.asarray(_cells(size, region.raster, grid) == region.number)
    packed = zlib.decompress(_within(region.outline, tuple(region.raster), tuple(size)))
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=math.prod(size))
    return bits.reshape(size).astype(bool)


@lru_cache(maxsize=1 << 13)  # every later round asks again for what was labeled before
def _within(outline: str, raster: tuple[int, int], size: tuple[int, ...]) -> bytes:
    """Pixels within an outline, as compressed bits, so that thousands of large images fit."""
    inside = fill_wkt(outline, raster)
    y, x = (
        (2 * np.arange(length) + 1) * whole // (2 * length)
        for length, whole in zip(size, raster, strict=True)
    )
    return zlib.compress(np.packbits(inside[y[:, None], x]).tobytes(), 1)


def _cells(size: tuple[int, ...], raster: tuple[int, int], grid: Grid) -> NDArray[np.int64]:
    """Number of the cell of every pixel [H, W]."""
    y, x = (
        (2 * np.arange(length) + 1) * whole // (2 * length) // grid.cell
        for length, whole in zip(size, raster, strict=True)
    )
    return np.asarray(y[:, None] * grid.shape(raster)[1] + x)


def _numbers(regions: Iterable[Region]) -> list[int]:
    return [region.number for region in regions]


def count_labels(
    items: Sequence[Item],
    truth: Callable[[str], NDArray[np.uint8]],
    rounds: RoundsConfig,
    void: int,
) -> dict[str, Any]:
    """Count what dominant labels cost and how right they are.

    Parameters
    ----------
    items : sequence of Item
    truth : callable
        The true label of an image, uint8 [H, W], by its id.
    rounds : RoundsConfig
    void : int

    Returns
    -------
    dict
        ``images``: images labeled as a whole; ``clicks``: regions that were clicked;
        ``unlabeled``: those of them that got no label; ``pixels``: pixels that have one;
        ``wrong``: the share of them whose true label is another, of those whose true label is not
        void (None if there are none).
    """
    of = regions_of(items)
    pixels = wrong = known = unlabeled = 0
    for image in images_of(items):
        true = truth(image)
        given = true
        if image in of:
            partly = only_regions(true, of[image], rounds, void)
            given, unlabeled = partly.label, unlabeled + partly.unlabeled
        labeled = given != void
        both = labeled & (true != void)
        pixels += int(labeled.sum())
        known += int(both.sum())
        wrong += int((both & (given != true)).sum())
    clicks = sum(map(len, of.values()))
    return {
        "images": len(items) - clicks,
        "clicks": clicks,
        "unlabeled": unlabeled,
        "pixels": pixels,
        "wrong": wrong / known if known else None,
    }


def write_labeled(path: Path, items: Sequence[Item]) -> None:
    """Write one row per item: ``id`` and, if there are regions, what a `Region` has.

    The raster is written as ``HxW``; ``outline`` and ``pixels`` are left out of cells. The file can
    be given to ``deal select --exclude``.
    """
    of = regions_of(items)
    if not of:
        write_csv(path, ["id"], [[item] for item in items])
        return
    columns = ["id", "region", "raster"]
    if any(region.outline for regions in of.values() for region in regions):
        columns += ["outline", "pixels"]
    rows = [
        [item, *[None] * 4]
        if isinstance(item, str)
        else [item.image, item.number, "x".join(map(str, item.raster)), item.outline, item.pixels]
        for item in items
    ]
    write_csv(path, columns, [row[: len(columns)] for row in rows])


def read_labeled(
    path: Path, known: Container[str] | None = None, count: int | None = None
) -> tuple[Item, ...]:
    """Read a file of `write_labeled`; ResultsError if the file holds anything else.

    Parameters
    ----------
    path : Path
    known : container of str, optional
        The ids of all images that there are.
    count : int, optional
        Number of items, if all are whole images.
    """
    csv.field_size_limit(_LONGEST)  # of an outline; the module's own is 128 kB
    try:
        with open(path, encoding="utf-8", newline="") as file:
            items = tuple(map(_item, csv.DictReader(file)))
        _check(items, known, count)
    except OSError as error:
        raise ResultsError(f"{path} cannot be read: {error.strerror}") from error
    except (KeyError, ValueError, csv.Error) as error:
        what = f"it lacks the column {error}" if isinstance(error, KeyError) else error
        raise ResultsError(
            f"{path} is damaged ({what}): delete the folder it is in, and the same deal loop "
            "makes it again"
        ) from error
    return items


def _check(items: Sequence[Item], known: Container[str] | None, count: int | None) -> None:
    """ValueError for rows that are cut off, doubled, or of other images."""
    if not items:
        raise ValueError("it has no rows")
    if len(set(items)) < len(items):
        raise ValueError("it has a row twice")
    for item in items:
        if known is not None and image_of(item) not in known:
            raise ValueError(f"{image_of(item)} is no image of the training split")
    if count is not None and len(items) != count and not regions_of(items):
        raise ValueError(f"it has {len(items)} rows instead of {count}")


def _item(row: dict[str, str]) -> Item:
    if not row.get("region"):
        return row["id"]
    height, width = map(int, row["raster"].split("x"))
    if min(height, width) < 1:
        raise ValueError(f"it has the raster {row['raster']}")
    outline, pixels = row.get("outline") or "", int(row.get("pixels") or 0)
    return Region(row["id"], int(row["region"]), (height, width), outline, pixels)
