"""Means over the worst pixels, from the stored histograms.

The mean over an image hides small objects: a thin pole that confuses the network covers a few
pixels in a thousand. The mean over the worst 5 % of the pixels shows it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions.columns import Columns, Scores
from deal.acquisitions.registry import acquisition
from deal.errors import UsageError
from deal.kernel.logarithm import log
from deal.types import HISTOGRAM_LEVELS

__all__ = ["tail_difficulty", "tail_entropy"]

_SOURCE = "expected shortfall: Rockafellar & Uryasev, Journal of Risk 2 (2000) 21–41"


def _check(tail: float) -> dict[str, Any]:
    if not 0 < tail <= 1:
        raise UsageError(f"tail must be a share of the pixels above 0 and up to 1, not {tail}")
    return {}


def _tail_mean(histogram: NDArray[Any], tail: float) -> Scores:
    """Mean of the largest ``tail`` share of the values, in levels (0.5 … 239.5); NaN without any.

    Of the lowest level that is needed, only as many pixels count as complete the share. The mean is
    summed by parts: half a level, plus for each level the share of the counted pixels above it.
    """
    wanted = tail * histogram.sum(axis=1, keepdims=True)
    above = np.minimum(np.cumsum(histogram[:, :0:-1], axis=1), wanted).sum(axis=1)
    total = wanted[:, 0]
    levels = np.divide(above, total, out=np.full(len(total), np.nan), where=total > 0)
    return np.asarray(0.5 + levels)


@acquisition(
    "tail:difficulty",
    requires=["difficulty_hist"],
    formula="mean of D over the `tail` share of the pixels where D is largest",
    source=_SOURCE,
    check=_check,
)
def tail_difficulty(columns: Columns, *, tail: float = 0.05) -> Scores:
    """Mean difficulty of the worst pixels, 0…1, exact to half a level (1/480).

    Parameters
    ----------
    columns : mapping
        ``difficulty_hist``, int64 [n, 240].
    tail : float
        Share of the pixels, above 0 and up to 1.
    """
    return _tail_mean(columns["difficulty_hist"], tail) / HISTOGRAM_LEVELS


@acquisition(
    "tail:entropy",
    requires=["entropy_hist", "class_pixels"],
    formula="mean of H(P) over the `tail` share of the pixels where H(P) is largest",
    source=_SOURCE,
    check=_check,
)
def tail_entropy(columns: Columns, *, tail: float = 0.05) -> Scores:
    """Mean entropy of the worst pixels, nats, exact to half a level (ln C / 480).

    Parameters
    ----------
    columns : mapping
        ``entropy_hist``, int64 [n, 240], over 0…ln C; ``class_pixels`` [n, C], which gives C.
    tail : float
        Share of the pixels, above 0 and up to 1.
    """
    width = float(log(columns["class_pixels"].shape[1])) / HISTOGRAM_LEVELS
    result: Scores = _tail_mean(columns["entropy_hist"], tail) * width
    return result
