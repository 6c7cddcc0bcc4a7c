"""Shapes of regions: connected areas of one predicted class, and outlines as WKT polygons."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deal import _native
from deal.errors import UsageError
from deal.kernel.regions import Segments
from deal.kernel.statistics import class_map

__all__ = ["box_outline", "components", "outlines", "simplify"]

Vertices = NDArray[np.int64]


def components(
    logits: Any,
    *,
    size: tuple[int, int],
    align_corners: bool = True,
    mask: ArrayLike | None = None,
    min_pixels: int = 64,
    threads: int | None = None,
    stream: Any | None = None,
) -> Segments:
    """Find 4-connected areas of one predicted class: the semantic areas of DEAL (Xie et al., 2020).

    Parameters
    ----------
    logits : array [B, C, h, w]
        Logits on a device stay there; the predicted classes are copied to the host, where the areas
        are found.
    size : (H, W)
        The raster, as for :func:`deal.score_logits`; areas are found on its predicted classes.
    mask : array of uint8 [H, W] or [B, H, W], optional
        Pixels of value 0 belong to no area and do not connect areas.
    min_pixels : int
        Areas of fewer raster pixels are not regions; their pixels get -1.
    threads, stream
        As for :func:`deal.score_logits`.

    Returns
    -------
    Segments
        int32 [B, H, W]; the areas of an image are numbered from 0 in raster order of their first
        pixel. ``count`` is the number of areas of the image that has most of them, at least 1. An
        image with NaN or infinite logits has no area.

    Raises
    ------
    UsageError
        Shapes or dtypes do not fit, or ``min_pixels`` is below 1.
    """
    least = _whole(min_pixels, "min_pixels")
    if least < 1:
        raise UsageError(f"min_pixels={min_pixels!r}: at least 1 is needed")
    classes, nonfinite = class_map(
        logits, size=size, align_corners=align_corners, threads=threads, stream=stream
    )
    areas = classes.astype(np.int32)
    if mask is not None:
        kept = np.asarray(mask)
        if kept.shape not in (areas.shape, areas.shape[1:]):
            raise UsageError(
                f"mask: shape {kept.shape}; give one mask [{size[0]}, {size[1]}] of the raster's "
                "size, or one for each image of the batch"
            )
        areas[np.broadcast_to(kept == 0, areas.shape)] = -1
    areas[nonfinite > 0] = -1
    count = 1
    for b, area in enumerate(areas):
        areas[b], found = _native.components(area, min(least, area.size + 1))
        count = max(count, found)
    return Segments(areas, count=count)


def box_outline(x0: float, y0: float, x1: float, y1: float) -> str:
    """WKT POLYGON of the half-open box x0…x1, y0…y1, from its top left corner."""
    left, top, right, bottom = map(_number, (x0, y0, x1, y1))
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return f"POLYGON ({_ring(corners)})"


def outlines(
    segments: NDArray[np.int32],
    ids: Sequence[int] | NDArray[np.integer[Any]],
    *,
    scale: tuple[float, float] = (1.0, 1.0),
    tolerance: float = 0.0,
) -> list[str]:
    """Outlines of regions as well-known text (OGC simple features), in the order of ``ids``.

    A region of one 4-connected area is a POLYGON, one of several areas a MULTIPOLYGON, and an empty
    one ``POLYGON EMPTY``. Rings are simple and closed, and begin at their topmost corner (the
    leftmost of several). In pixel coordinates ``Σ (x₀y₁ − x₁y₀) / 2`` is positive for exteriors and
    negative for holes; the sum over all rings is the number of pixels.

    Parameters
    ----------
    segments : ndarray of int32 [H, W]
        Region of every pixel, negative for no region.
    ids : sequence of int
        The regions to outline.
    scale : (sy, sx)
        Factors from pixels of ``segments`` to those of the outlines. Pixel (y, x) covers x…x+1,
        y…y+1; coordinates are rounded to a thousandth.
    tolerance : float
        In pixels of ``segments``; 0 keeps every pixel corner. Otherwise lines are simplified
        (:func:`simplify`) between the points where three regions meet, so that neighbours still
        share their line. Rings that would lose their whole area keep their corners. Simplified
        rings may touch or cross.

    Raises
    ------
    UsageError
        ``segments`` is not int32 [H, W], ``ids`` are not whole numbers from 0 on, ``scale`` is not
        positive, or ``tolerance`` is negative.
    """
    if not isinstance(segments, np.ndarray) or segments.dtype != np.int32 or segments.ndim != 2:
        raise UsageError("segments: an array of int32 [height, width] is needed")
    wanted = [_whole(i, "ids") for i in ids]
    if min(wanted, default=0) < 0:
        raise UsageError(f"ids: {min(wanted)} is not a region; regions are numbered from 0")
    if not (tolerance >= 0 and all(0 < s < np.inf for s in scale)):
        raise UsageError(f"scale={scale!r}, tolerance={tolerance!r}: positive numbers are needed")
    if not wanted or segments.size == 0:
        return ["POLYGON EMPTY"] * len(wanted)
    chosen = np.where(np.isin(segments, wanted), segments, -1).astype(np.int32)
    areas, count = _native.components(chosen, 1)
    owner = np.empty(count + 1, dtype=np.int32)
    owner[areas.ravel()] = chosen.ravel()  # the last entry belongs to pixels without an area
    joints = _joints(segments) if tolerance > 0 else None
    height, width = areas.shape
    ys = [_number(i * scale[0]) for i in range(height + 1)]
    xs = [_number(i * scale[1]) for i in range(width + 1)]
    polygons: list[list[str]] = [[] for _ in range(count)]
    for area, ring in _rings(areas, joints):
        points = ring if joints is None else _thinned(ring, joints, tolerance)
        polygons[area].append(_ring([(xs[x], ys[y]) for x, y in points.tolist()]))
    parts: dict[int, list[str]] = {}
    for region, rings in zip(owner[:-1].tolist(), polygons, strict=True):
        parts.setdefault(region, []).append(f"({', '.join(rings)})")
    return [_polygons(parts.get(i, [])) for i in wanted]


def simplify(line: ArrayLike, tolerance: float) -> NDArray[Any]:
    """Points of an open line [n, 2] that keep it within ``tolerance`` (Douglas and Peucker, 1973).

    Both ends stay. Between two kept points, the point farthest from their segment stays if it is
    farther than ``tolerance``; of equally far points, the earliest.
    """
    given = np.asarray(line)
    points = given.astype(np.float64)
    keep = np.zeros(len(points), dtype=bool)
    keep[[0, -1]] = True
    spans = [(0, len(points) - 1)]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        away = points[first + 1 : last] - points[first]
        chord = points[last] - points[first]
        length = float(chord @ chord)
        along = np.clip(away @ chord / length, 0.0, 1.0) if length > 0 else np.zeros(len(away))
        distances = ((away - along[:, None] * chord) ** 2).sum(axis=1)
        farthest = int(distances.argmax())
        if distances[farthest] > tolerance**2:
            middle = first + 1 + farthest
            keep[middle] = True
            spans += [(first, middle), (middle, last)]
    return given[keep]


def _whole(value: Any, name: str) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise UsageError(f"{name}: {value!r} is not a whole number") from None


# Directions 0…3: right, down, left, up. A crack is the edge between two pixels; the four cracks of
# a pixel run around it in this order.
_STEP = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])


def _rings(
    areas: NDArray[np.int32], joints: NDArray[np.bool_] | None
) -> list[tuple[int, Vertices]]:
    """Return simple rings around 4-connected areas: (area, corners (x, y) [n, 2]), and joints.

    The area lies to the right of a ring on the screen; exteriors come before holes.
    """
    height, width = areas.shape
    padded = np.pad(areas, 1, constant_values=-1)
    here = padded[1:-1, 1:-1]
    cracks = np.zeros((height, width, 4), dtype=bool)
    for edge, (dx, dy) in enumerate(((0, -1), (1, 0), (0, 1), (-1, 0))):
        beside = padded[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
        cracks[:, :, edge] = (here >= 0) & (here != beside)
    found = np.flatnonzero(cracks)
    side, (y, x) = found % 4, np.divmod(found // 4, width)
    number = np.empty(cracks.size, dtype=np.int64)
    number[found] = np.arange(len(found))
    # The next crack runs around the pixel diagonally ahead if that pixel and the pixel between
    # belong to the area; else along the pixel between if it belongs to the area; else around the
    # same pixel.
    ahead, out = _STEP[side], _STEP[(side + 3) % 4]
    own = here[y, x]
    straight = padded[1 + y + ahead[:, 1], 1 + x + ahead[:, 0]] == own
    diagonal = padded[1 + y + ahead[:, 1] + out[:, 1], 1 + x + ahead[:, 0] + out[:, 0]] == own
    left, on = straight & diagonal, straight & ~diagonal
    to_y = y + straight * ahead[:, 1] + left * out[:, 1]
    to_x = x + straight * ahead[:, 0] + left * out[:, 0]
    turned = np.where(left, side + 3, np.where(on, side, side + 1)) % 4
    follow = number[(to_y * width + to_x) * 4 + turned]
    begin_x, begin_y = x + np.isin(side, (1, 2)), y + np.isin(side, (2, 3))
    # Only corners remain: jump from crack to crack, twice as far each time, to the next corner.
    corner = np.zeros(len(found), dtype=bool)
    corner[follow[~on]] = True
    if joints is not None:
        corner |= joints[begin_y, begin_x]
    jump = np.where(corner, np.arange(len(found)), follow)
    while not corner[jump].all():
        jump = jump[jump]
    kept = np.flatnonzero(corner)
    place = np.cumsum(corner) - 1
    return _cycles(place[jump[follow[kept]]].tolist(), begin_x[kept], begin_y[kept], own[kept])


def _cycles(
    follow: list[int], x: NDArray[np.int64], y: NDArray[np.int64], area: NDArray[np.int32]
) -> list[tuple[int, Vertices]]:
    """Cut cycles of corners where they meet a vertex again, so that rings are simple."""
    vertex = list(zip(y.tolist(), x.tolist(), strict=True))
    seen = bytearray(len(follow))
    exteriors: list[tuple[int, Vertices]] = []
    holes: list[tuple[int, Vertices]] = []
    for start in range(len(follow)):
        if seen[start]:
            continue
        path: list[int] = []
        place: dict[tuple[int, int], int] = {}
        corner = start
        rings = []
        while True:
            at = place.get(vertex[corner])
            if at is not None:
                rings.append(path[at:])
                for gone in rings[-1]:
                    del place[vertex[gone]]
                del path[at:]
            if seen[corner]:
                break
            place[vertex[corner]] = len(path)
            path.append(corner)
            seen[corner] = 1
            corner = follow[corner]
        for ring in rings:
            first = min(range(len(ring)), key=lambda i: vertex[ring[i]])
            chosen = np.array(ring[first:] + ring[:first])
            points = np.stack([x[chosen], y[chosen]], axis=1)
            side = exteriors if _area(points) > 0 else holes
            side.append((int(area[start]), points))
    return exteriors + holes


def _area(ring: NDArray[Any]) -> float:
    x, y = ring.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def _joints(segments: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Vertices [H + 1, W + 1] where lines between regions meet or end: more than two cracks."""
    padded = np.pad(segments, 1, constant_values=-1)
    padded = np.where(padded < 0, -1, padded)
    across = padded[:-1, :] != padded[1:, :]
    down = padded[:, :-1] != padded[:, 1:]
    return np.asarray(
        across[:, :-1].astype(int) + across[:, 1:] + down[:-1, :] + down[1:, :] > 2,
    )


def _thinned(ring: Vertices, joints: NDArray[np.bool_], tolerance: float) -> Vertices:
    """Simplify each stretch of a ring between joints, with the same result from either side."""
    fixed = np.flatnonzero(joints[ring[:, 1], ring[:, 0]])
    if len(fixed) == 0:
        fixed = np.array([0])
    if len(fixed) == 1:  # a closed line has one end point, so its farthest point is the other
        apart = ((ring - ring[fixed[0]]) ** 2).sum(axis=1)
        farthest = np.flatnonzero(apart == apart.max())
        fixed = np.sort([fixed[0], farthest[np.lexsort(ring[farthest].T)[0]]])
    closed = np.concatenate([ring, ring[: fixed[0] + 1]])
    stops = [*fixed.tolist(), len(closed) - 1]
    parts = []
    for first, last in pairwise(stops):
        line = closed[first : last + 1]
        turned = tuple(line[0]) > tuple(line[-1])
        kept = simplify(line[::-1] if turned else line, tolerance)
        parts.append((kept[::-1] if turned else kept)[:-1])
    thinned = np.concatenate(parts)
    if len(thinned) < 3 or _area(thinned) * _area(ring) <= 0:
        return ring
    first = int(np.lexsort(thinned.T)[0])
    return np.roll(thinned, -first, axis=0)


def _number(value: float) -> str:
    return f"{round(value, 3) + 0.0:.12g}"  # never -0


def _ring(corners: list[tuple[str, str]]) -> str:
    return f"({', '.join(f'{x} {y}' for x, y in [*corners, corners[0]])})"


def _polygons(parts: list[str]) -> str:
    if len(parts) == 1:
        return f"POLYGON {parts[0]}"
    return f"MULTIPOLYGON ({', '.join(parts)})" if parts else "POLYGON EMPTY"
