"""The oracle of boundaries and areas: plain Python (docs/explanation/mathematics.md).

Tests compare the native kernel with it.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["boundaries", "components"]


def components(ids: NDArray[np.int32], min_pixels: int) -> NDArray[np.int32]:
    """4-connected areas of equal, non-negative values by flood fill, numbered in raster order."""
    height, width = ids.shape
    areas = np.full(ids.shape, -1, dtype=np.int32)
    seen = ids < 0
    count = 0
    for start in np.argwhere(~seen).tolist():
        if seen[*start]:
            continue
        found, queue = [], [tuple(start)]
        seen[*start] = True
        while queue:
            y, x = queue.pop()
            found.append((y, x))
            for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if 0 <= v < height and 0 <= u < width and not seen[v, u] and ids[v, u] == ids[y, x]:
                    seen[v, u] = True
                    queue.append((v, u))
        if len(found) >= min_pixels:
            areas[tuple(np.transpose(found))] = count
            count += 1
    return areas


Vertex = tuple[int, int]


def boundaries(
    classes: NDArray[Any],
    kept: NDArray[np.bool_],
    regions: NDArray[np.int32] | None = None,
    n_regions: int = 0,
    tolerance: float = 1.5,
) -> dict[str, Any]:
    """Length and corners of the simplified lines between predicted classes.

    ``classes`` and ``kept`` [H, W], ``regions`` [H, W], negative for none. Gives
    ``boundary_length``, ``boundary_corners``, and of regions ``region_boundary_length`` [R],
    ``region_boundary_corners`` [R].
    """
    ids = np.where(kept, -1 if regions is None else regions, -1)
    ids = np.pad(ids, 1, constant_values=-1)  # vertex (y, x) is the corner of ids[y:y+2, x:x+2]
    near = _near(classes, kept)
    length, region_length = 0.0, np.zeros(n_regions)
    corners = {v for v in near if len(near[v]) != 2}
    for chain in _chains(near, corners):
        stays = _kept_points(chain, tolerance)
        corners.update(chain[i] for i in stays)
        for first, last in pairwise(stays):
            part = math.dist(chain[first], chain[last])
            length += part
            for a, b in pairwise(chain[first : last + 1]):
                for region in _regions_beside(ids, a, b):
                    region_length[region] += part / (last - first)
    region_corners = np.zeros(n_regions, dtype=np.int64)
    for y, x in corners:
        for region in set(ids[y : y + 2, x : x + 2].flat) - {-1}:
            region_corners[region] += region >= 0
    return {
        "boundary_length": length,
        "boundary_corners": len(corners),
        "region_boundary_length": region_length,
        "region_boundary_corners": region_corners,
    }


def _near(classes: NDArray[Any], kept: NDArray[np.bool_]) -> dict[Vertex, list[Vertex]]:
    """The vertices of cracks, in raster order, with those a crack away: right, down, left, up."""
    height, width = classes.shape
    right = np.zeros((height + 1, width + 1), dtype=bool)
    down = right.copy()
    right[1:-1, :-1] = (classes[:-1] != classes[1:]) & kept[:-1] & kept[1:]
    down[:-1, 1:-1] = (classes[:, :-1] != classes[:, 1:]) & kept[:, :-1] & kept[:, 1:]
    left, up = np.roll(right, 1, axis=1), np.roll(down, 1, axis=0)  # nothing lies at the seams
    steps = ((right, 0, 1), (down, 1, 0), (left, 0, -1), (up, -1, 0))
    return {
        (y, x): [(y + dy, x + dx) for there, dy, dx in steps if there[y, x]]
        for y, x in np.argwhere(right | down | left | up).tolist()
    }


def _chains(near: dict[Vertex, list[Vertex]], ends: set[Vertex]) -> list[list[Vertex]]:
    """Every crack once: chains between ends in the order of their first, then closed rings."""
    passed: set[frozenset[Vertex]] = set()
    chains = []
    for start in [*(v for v in near if v in ends), *(v for v in near if v not in ends)]:
        for second in near[start]:
            if frozenset((start, second)) in passed:
                continue
            chain = [start, second]
            while chain[-1] not in ends and chain[-1] != start:
                chain.append(next(v for v in near[chain[-1]] if v != chain[-2]))
            passed.update(frozenset(crack) for crack in pairwise(chain))
            chains.append(chain)
    return chains


def _kept_points(chain: list[Vertex], tolerance: float) -> list[int]:
    """Indices that Douglas and Peucker's method keeps, ends included.

    A chain that ends where it began is held by its point farthest from there.
    """

    def far(first: int, last: int) -> list[int]:
        if last - first < 2:
            return []
        between = range(first + 1, last)
        distances = [_distance(chain[i], chain[first], chain[last]) for i in between]
        largest = max(distances)
        if largest <= tolerance**2 * _square(chain[first], chain[last]):
            return []
        middle = first + 1 + distances.index(largest)
        return [*far(first, middle), middle, *far(middle, last)]

    last = len(chain) - 1
    if chain[0] != chain[-1]:
        return [0, *far(0, last), last]
    distances = [_square(v, chain[0]) for v in chain]
    middle = distances.index(max(distances))
    return [0, *far(0, middle), middle, *far(middle, last), last]


def _square(a: Vertex, b: Vertex) -> int:
    return (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2


def _distance(p: Vertex, a: Vertex, b: Vertex) -> int:
    """Squared distance of p from the segment between a and b, times the segment's squared length.

    A whole number: equal distances are equal.
    """
    chord, away = (b[0] - a[0], b[1] - a[1]), (p[0] - a[0], p[1] - a[1])
    square = _square(a, b)
    along = chord[0] * away[0] + chord[1] * away[1]
    if along <= 0:
        return _square(p, a) * square
    if along >= square:
        return _square(p, b) * square
    return (chord[0] * away[1] - chord[1] * away[0]) ** 2


def _regions_beside(ids: NDArray[np.int32], a: Vertex, b: Vertex) -> set[int]:
    """Regions of the two pixels beside a crack."""
    (y, x), across = min(a, b), a[0] == b[0]
    pair = (ids[y, x + 1], ids[y + 1, x + 1]) if across else (ids[y + 1, x], ids[y + 1, x + 1])
    return {int(i) for i in pair if i >= 0}
