"""Region statistics [B, R] as rows of ``regions/*.parquet``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions.binding import Bound
from deal.kernel.geometry import box_outline, outlines
from deal.kernel.regions import Grid, Segments

__all__ = ["region_rows"]

_BOX = ("x0", "y0", "x1", "y1")


def region_rows(
    table: Mapping[str, NDArray[Any]],
    rows: Sequence[int],
    *,
    keep: int | None,
    score: Bound,
    sizes: NDArray[np.int64],
    raster: tuple[int, int],
    outlined: Grid | Segments | None = None,
) -> dict[str, NDArray[Any]]:
    """Flatten a table of regions to one row a region that is not empty.

    Parameters
    ----------
    table : mapping of column name to ndarray [B, R]
        Boxes ``x0, y0, x1, y1`` half-open, in raster pixels.
    rows : sequence of int
        The images of the batch to take.
    keep : int or None
        Only that many regions an image, those that ``score`` ranks highest; ties by region number.
    score : Bound
        An acquisition function of regions that needs no totals.
    sizes : ndarray of int64 [B, 2]
        H, W of the oriented original images.
    raster : (H, W)
    outlined : Grid or Segments, optional
        The regions, for ``polygon``: WKT outlines in pixels of the oriented originals. A raster
        pixel stands for its share of the original, so corners may be fractions; masked pixels of
        a region are within its outline.

    Returns
    -------
    dict of column name to ndarray [m]
        ``image`` (index in the batch), ``region``, and the columns of ``table``; boxes are the
        smallest ones of whole pixels of the original that hold the region. Ordered by ``rows``,
        then region number.
    """
    picked = [np.zeros((2, 0), np.int64)]
    for row in rows:
        regions = np.flatnonzero(table["n_pixels"][row])
        if keep is not None:
            scores = score.scores({name: table[name][row, regions] for name in score.columns})
            order = np.argsort(-scores, kind="stable")
            regions = np.sort(regions[order[:keep]])
        picked.append(np.stack([np.full(len(regions), row), regions]))
    b, r = np.concatenate(picked, axis=1)
    columns = {"image": b, "region": r, **{name: values[b, r] for name, values in table.items()}}
    if outlined is not None:
        columns["polygon"] = _polygons(columns, outlined, sizes, raster)
    height, width = sizes[b].T
    columns["x0"] = columns["x0"] * width // raster[1]
    columns["y0"] = columns["y0"] * height // raster[0]
    columns["x1"] = -(-columns["x1"] * width // raster[1])
    columns["y1"] = -(-columns["y1"] * height // raster[0])
    return columns


def _polygons(
    columns: Mapping[str, NDArray[Any]],
    regions: Grid | Segments,
    sizes: NDArray[np.int64],
    raster: tuple[int, int],
) -> NDArray[np.object_]:
    """Outlines of rows whose boxes are still in raster pixels."""
    polygons = np.full(len(columns["image"]), None, dtype=object)
    for row in np.unique(columns["image"]):
        at = np.flatnonzero(columns["image"] == row)
        sy, sx = sizes[row] / raster
        if isinstance(regions, Grid):
            boxes = np.stack([columns[name][at] for name in _BOX], axis=1) * (sx, sy, sx, sy)
            polygons[at] = [box_outline(*box) for box in boxes.tolist()]
        else:
            polygons[at] = outlines(regions.map[row], columns["region"][at], scale=(sy, sx))
    return polygons
