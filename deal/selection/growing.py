"""An array that grows at its end; it is never in memory twice."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["Growing"]

_LEAST = 1 << 16


class Growing:
    """Values of one type, of which more and more come.

    Parameters
    ----------
    dtype : dtype
    """

    def __init__(self, dtype: DTypeLike) -> None:
        self._values = np.empty(0, dtype)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def extend(self, values: NDArray[Any]) -> None:
        """Append values [n]."""
        count = self._count + len(values)
        if count > len(self._values):
            self._resize(max(count, len(self._values) * 5 // 4, _LEAST))
        self._values[self._count : count] = values
        self._count = count

    def pad(self, count: int, value: int) -> None:
        """Append ``value`` until there are ``count`` of them."""
        if count > self._count:
            self.extend(np.full(count - self._count, value, self._values.dtype))

    def close(self) -> NDArray[Any]:
        """The values [n]; there will be no more."""
        self._resize(self._count)
        return self._values

    def _resize(self, count: int) -> None:
        # The system moves large blocks without copying them.
        self._values.resize(count, refcheck=False)
