"""The oracle of boundaries and areas: plain Python, to be read beside ARCHITECTURE.md.

Tests compare the native kernel with it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["components"]


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
