"""Logits → statistics and difficulty maps, through the native kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal import _reference
from deal.errors import UsageError
from deal.head import DifficultyHead
from deal.types import Statistics

__all__ = ["Grid", "Segments", "difficulty_map", "score_logits"]


@dataclass(frozen=True)
class Grid:
    """Square regions of ``cell`` raster pixels a side; the last row and column may be ragged.

    Region ids are row-major: ``(y // cell) * columns + x // cell``.
    """

    cell: int

    def __post_init__(self) -> None:
        if self.cell < 1:
            raise UsageError(f"Grid(cell={self.cell}): the cell needs at least 1 pixel")

    def shape(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of cells on a raster of ``size`` (H, W)."""
        return -(-size[0] // self.cell), -(-size[1] // self.cell)


@dataclass(frozen=True, eq=False)
class Segments:
    """Regions of any shape: ``map`` int32 [B, H, W] or [H, W], negative for no region."""

    map: NDArray[np.int32]


def score_logits(
    logits: Any,
    *,
    size: tuple[int, int],
    head: DifficultyHead | None = None,
    regions: Grid | Segments | None = None,
    mask: NDArray[np.uint8] | None = None,
    align_corners: bool = True,
    difficulty: Any | None = None,
    threads: int | None = None,
    stream: Any | None = None,
) -> Statistics:
    """Every statistic of a batch of logits."""
    z = np.asarray(logits)
    batch = len(z)
    height, width = size
    segments, count = None, 0
    if isinstance(regions, Grid):
        rows, columns = regions.shape(size)
        y, x = np.mgrid[:height, :width] // regions.cell
        segments = np.broadcast_to((y * columns + x).astype(np.int32), (batch, height, width))
        count = rows * columns
    elif regions is not None:
        segments = np.broadcast_to(regions.map, (batch, height, width))
        count = int(segments.max()) + 1
    if mask is not None:
        mask = np.broadcast_to(mask, (batch, height, width))
    if difficulty is not None:
        difficulty = np.asarray(difficulty, dtype=np.float64)[:, 0]
    return _reference.statistics(
        z,
        size=size,
        head=head,
        difficulty=difficulty,
        regions=segments,
        n_regions=count,
        mask=mask,
        align_corners=align_corners,
    )


def difficulty_map(
    logits: Any,
    head: DifficultyHead,
    *,
    size: tuple[int, int],
    align_corners: bool = True,
    threads: int | None = None,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Difficulty of every raster pixel, float32 [B, H, W]."""
    grid = _reference.difficulty_grid(logits, head, align_corners)
    return _reference.difficulty_map(grid, size, align_corners).astype(np.float32)
