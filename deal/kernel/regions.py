"""Regions the kernel can sum over: squares of a grid, or a map of region ids."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

from deal.errors import UsageError

__all__ = ["Grid", "Segments"]


@dataclass(frozen=True)
class Grid:
    """Square regions of ``cell`` × ``cell`` raster pixels, smaller in the last row and column.

    Region ids are row-major: ``(y // cell) * columns + x // cell``.

    Parameters
    ----------
    cell : int
        Side of a square, in raster pixels.

    Raises
    ------
    UsageError
        ``cell`` is not a whole number of at least 1.
    """

    cell: int

    def __post_init__(self) -> None:
        try:
            cell = operator.index(self.cell)  # a number of NumPy too
        except TypeError:
            cell = 0
        if not 1 <= cell < 2**63:
            raise UsageError(f"Grid(cell={self.cell!r}): cell must be a whole number of at least 1")
        object.__setattr__(self, "cell", cell)

    def __str__(self) -> str:
        return f"grid:{self.cell}"

    def settings(self) -> dict[str, Any]:
        """Settings that change a stored number, as JSON values."""
        return {"cell": self.cell}

    def shape(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of cells on a raster of ``size`` (H, W)."""
        return -(-size[0] // self.cell), -(-size[1] // self.cell)


@dataclass(frozen=True, eq=False)
class Segments:
    """Regions of any shape.

    Parameters
    ----------
    map : ndarray of int32 [B, H, W], or [H, W] for all images
        Region id of every raster pixel, negative for no region. If the logits are on a device, the
        map must be a C-contiguous array on the same device.
    count : int or None
        R, the number of regions; None means the largest id + 1 and needs a map on the host.
    """

    map: Any
    count: int | None = None
