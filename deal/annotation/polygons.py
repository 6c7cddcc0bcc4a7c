"""Label maps as polygons, and polygons as pixels."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deal.kernel.geometry import outlines

__all__ = ["Ring", "fill", "fill_wkt", "polygons_of"]

Ring = NDArray[np.float64]
"""Corners (x, y) [n, 2] of a closed line, in pixels; pixel (0, 0) covers 0…1."""

_RING = re.compile(r"\(([^()]+)\)")


def polygons_of(labels: NDArray[np.unsignedinteger], tolerance: float) -> list[tuple[int, Ring]]:
    """One polygon per 4-connected area of a label map, as (label, corners).

    No tool's polygons have holes. So a hole is joined to its exterior by a line that runs there and
    back: filled by either rule (even-odd, nonzero) the hole stays free.

    Parameters
    ----------
    labels : ndarray of unsigned integers [H, W]
        0 belongs to no polygon.
    tolerance : float
        Pixels by which a line may leave the border between two labels
        (:func:`deal.kernel.geometry.outlines`); 0 keeps every corner.
    """
    segments = labels.astype(np.int32) - 1
    present = np.unique(segments[segments >= 0]).tolist()
    found = []
    for label, text in zip(present, outlines(segments, present, tolerance=tolerance), strict=True):
        for rings in _polygons(text):
            found.append((label + 1, _joined(rings)))
    return found


def fill(corners: ArrayLike, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels [H, W] whose centres lie within a closed line, by the even-odd rule.

    Raises
    ------
    ValueError
        The corners are not three or more finite points (x, y).
    """
    return _fill([np.asarray(corners, dtype=np.float64)], size)


def fill_wkt(text: str, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels [H, W] whose centres lie within a WKT POLYGON or MULTIPOLYGON."""
    return _fill([ring for rings in _polygons(text) for ring in rings], size)


def _fill(rings: list[Ring], size: tuple[int, int]) -> NDArray[np.bool_]:
    height, width = size
    flips = np.zeros((height, width + 1), dtype=np.uint8)
    for ring in rings:
        if ring.ndim != 2 or ring.shape[1:] != (2,) or len(ring) < 3:
            raise ValueError("a polygon has fewer than three corners (x, y)")
        if not np.isfinite(ring).all():
            raise ValueError("a corner of a polygon is not finite")
        for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            if y0 > y1:  # an edge that runs there and back crosses rows at the same places
                x0, y0, x1, y1 = x1, y1, x0, y0
            top = int(np.clip(np.ceil(y0 - 0.5), 0, height))
            bottom = int(np.clip(np.ceil(y1 - 0.5), 0, height))
            if top >= bottom:
                continue
            rows = np.arange(top, bottom)
            across = x0 + (rows + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
            flips[rows, np.clip(np.ceil(across - 0.5), 0, width).astype(np.int64)] ^= 1
    inside: NDArray[np.bool_] = np.bitwise_xor.accumulate(flips, axis=1)[:, :width] == 1
    return inside


def _polygons(text: str) -> list[list[Ring]]:
    """The polygons of a WKT text, each as its rings, the exterior first; without the last point."""
    polygons: list[list[Ring]] = []
    for part in text.split("((")[1:]:
        rings = [
            np.array([point.split() for point in ring.split(",")], dtype=np.float64)[:-1]
            for ring in _RING.findall(f"({part}")
        ]
        polygons.append(rings)
    return polygons


def _joined(rings: list[Ring]) -> Ring:
    whole, *holes = rings
    for hole in sorted(holes, key=lambda ring: tuple(ring[np.lexsort(ring.T[::-1])[0]])):
        first = int(np.lexsort(hole.T[::-1])[0])  # leftmost, so that the line is short
        at = int(((whole - hole[first]) ** 2).sum(axis=1).argmin())
        turned = np.roll(hole, -first, axis=0)
        whole = np.concatenate([whole[: at + 1], turned, turned[:1], whole[at:]])
    return whole
