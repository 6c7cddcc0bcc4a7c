"""Region statistics [B, R] as rows of ``regions/*.parquet``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["region_rows"]


def region_rows(
    table: Mapping[str, NDArray[Any]],
    rows: Sequence[int],
    *,
    keep: int | None,
    score: str,
    sizes: NDArray[np.int64],
    raster: tuple[int, int],
) -> dict[str, NDArray[Any]]:
    """Flatten a table of regions to one row a region that is not empty.

    Parameters
    ----------
    table : mapping of column name to ndarray [B, R]
        Boxes ``x0, y0, x1, y1`` half-open, in raster pixels.
    rows : sequence of int
        The images of the batch to take.
    keep : int or None
        Only that many regions an image, the highest by column ``score``; ties by region number.
    sizes : ndarray of int64 [B, 2]
        H, W of the oriented original images.
    raster : (H, W)

    Returns
    -------
    dict of column name to ndarray [m]
        ``image`` (index in the batch), ``region``, and the columns of ``table``; boxes are the
        smallest ones of whole pixels of the original that hold the region. Ordered by ``rows``,
        then region number.
    """
    picked = []
    for row in rows:
        regions = np.flatnonzero(table["n_pixels"][row])
        if keep is not None:
            order = np.argsort(-table[score][row, regions], kind="stable")
            regions = np.sort(regions[order[:keep]])
        picked += [(row, region) for region in regions]
    b, r = np.array(picked, dtype=np.int64).reshape(-1, 2).T
    columns = {"image": b, "region": r, **{name: values[b, r] for name, values in table.items()}}
    height, width = sizes[b].T
    columns["x0"] = columns["x0"] * width // raster[1]
    columns["y0"] = columns["y0"] * height // raster[0]
    columns["x1"] = -(-columns["x1"] * width // raster[1])
    columns["y1"] = -(-columns["y1"] * height // raster[0])
    return columns
