"""Region statistics [B, R] as rows of ``regions/*.parquet``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions.binding import Bound
from deal.kernel.geometry import box_outline, outlines
from deal.kernel.regions import Grid, Segments
from deal.model.placing import Placement

__all__ = ["region_rows"]

_BOX = ("x0", "y0", "x1", "y1")


def region_rows(
    table: Mapping[str, NDArray[Any]],
    rows: Sequence[int],
    *,
    keep: int | None,
    score: Bound,
    sizes: NDArray[np.int64],
    placements: Sequence[Placement],
    outlined: Grid | Segments | None = None,
) -> dict[str, NDArray[Any]]:
    """Flatten a table of regions to one row per region that is not empty.

    Parameters
    ----------
    table : mapping of column name to ndarray [B, R]
        Boxes ``x0, y0, x1, y1`` half-open, in raster pixels.
    rows : sequence of int
        The images of the batch to take.
    keep : int or None
        Number of regions to keep per image, those that ``score`` ranks highest; ties go by region
        number. None keeps all.
    score : Bound
        An acquisition function of regions that needs no totals.
    sizes : ndarray of int64 [B, 2]
        H, W of the oriented original images.
    placements : sequence of Placement, of the B images
        Where the images lie in the raster. Padding belongs to no image, so boxes end before it.
    outlined : Grid or Segments, optional
        The regions, for ``polygon``: WKT outlines in pixels of the oriented originals. A raster
        pixel covers a part of the original, so corners may be fractions. Outlines include the
        masked pixels of a region.

    Returns
    -------
    dict of column name to ndarray [m]
        ``image`` (index in the batch), ``region``, and the columns of ``table``; boxes are the
        the smallest ones of whole pixels of the original that hold the region. Rows are ordered by
        ``rows``, then region number.
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
        columns["polygon"] = _polygons(columns, outlined, sizes, placements)
    contents = np.array([place.content for place in placements])[b]
    offsets = np.array([place.offset for place in placements])[b]
    for axis, name in enumerate("yx"):
        length, content = sizes[b, axis], contents[:, axis]
        low = columns[f"{name}0"] - offsets[:, axis]
        high = columns[f"{name}1"] - offsets[:, axis]
        columns[f"{name}0"] = np.maximum(low * length // content, 0)
        columns[f"{name}1"] = np.minimum(-(-high * length // content), length)
    return columns


def _polygons(
    columns: Mapping[str, NDArray[Any]],
    regions: Grid | Segments,
    sizes: NDArray[np.int64],
    placements: Sequence[Placement],
) -> NDArray[np.object_]:
    """Outlines of rows whose boxes are still in raster pixels."""
    polygons = np.full(len(columns["image"]), None, dtype=object)
    for row in np.unique(columns["image"]):
        at = np.flatnonzero(columns["image"] == row)
        place, ids = placements[row], columns["region"][at]
        sy, sx = sizes[row] / place.content
        if isinstance(regions, Grid):
            (top, left), (height, width) = place.offset, place.content
            boxes = np.stack([columns[name][at] for name in _BOX], axis=1)
            boxes = np.clip(boxes - (left, top, left, top), 0, (width, height, width, height))
            polygons[at] = [box_outline(*box) for box in (boxes * (sx, sy, sx, sy)).tolist()]
        elif place.is_whole:
            polygons[at] = outlines(regions.map[row], ids, scale=(sy, sx))
        else:  # traced on the whole image, resized
            content = np.full(place.content, -1, np.int32)
            content[place.shown] = regions.map[row][place.inside]
            polygons[at] = outlines(content, ids, scale=(sy, sx))
    return polygons
