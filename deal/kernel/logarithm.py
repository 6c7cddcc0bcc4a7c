"""The natural logarithm, with the same bits on every processor."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deal import _native

__all__ = ["log"]


def log(values: ArrayLike, out: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Natural logarithm, float64 of the same shape; −inf for 0, NaN below 0; within one ulp.

    NumPy's depends on the instruction set, and the C library's on its version. Scores and draws
    need one that does not: what a rig decides has to be what a workstation decides. ``out``,
    C-contiguous, may be the array of the values itself.
    """
    given = np.ascontiguousarray(values, np.float64).reshape(np.shape(values))
    if out is None:
        out = np.empty_like(given)
    _native.log(given, out)
    return out
