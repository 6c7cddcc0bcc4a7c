"""Outlines of the regions of an image that carry its score."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deal import _native
from deal.kernel.geometry import outlines

__all__ = ["hardest", "rings"]

_CELLS = 64  # along the longer side: a region smaller than a cell is nothing to look at
_SHARE = 0.12  # of the area, at most
_MOST = 3
_LEAST = 6  # cells
_RING = re.compile(r"\(([^()]+)\)")


def hardest(score: NDArray[np.floating[Any]]) -> list[list[float]]:
    """The up to three regions that hold most of a score map [H, W], as polygons.

    They are connected areas of the cells that score highest, together at most an eighth of the
    image. A polygon is x, y, x, y, …, in 0…1 of width and height.
    """
    height, width = score.shape
    scale = min(_CELLS / max(height, width), 1.0)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    small = np.asarray(Image.fromarray(score.astype(np.float32)).resize(size, Image.Resampling.BOX))
    # Neighbours count half, or the border between two objects falls to pieces.
    padded = np.pad(small, 1, mode="edge")
    smooth = (2 * small + sum(padded[y : y + size[1], x : x + size[0]] for y, x in _AROUND)) / 6
    bound = np.quantile(smooth, 1 - _SHARE)
    chosen = np.where((smooth >= bound) & (smooth > 0), 0, -1).astype(np.int32)
    areas, count = _native.components(chosen, _LEAST)
    if not count:
        return []
    sums = np.bincount(areas[areas >= 0], weights=smooth[areas >= 0], minlength=count)
    best = np.argsort(-sums, kind="stable")[:_MOST]
    texts = outlines(areas, best.tolist(), scale=(1 / size[1], 1 / size[0]), tolerance=0.8)
    return [rings(text)[0] for text in texts if "EMPTY" not in text]


_AROUND = ((0, 1), (1, 0), (1, 2), (2, 1))


def rings(wkt: str, width: float = 1, height: float = 1) -> list[list[float]]:
    """Rings of a polygon or multipolygon as x, y, …, divided by width and height; no last point."""
    found = []
    for ring in _RING.findall(wkt):
        points = [tuple(map(float, point.split())) for point in ring.split(",")]
        flat = [round(v, 4) for x, y in points[:-1] for v in (x / width, y / height)]
        found.append(flat)
    return found
