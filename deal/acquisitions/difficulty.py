"""DS and DE of the DEAL paper (Xie et al., ACCV 2020, arXiv 2010.08705, section 3.3)."""

from __future__ import annotations

from typing import Any

import numpy as np

from deal.acquisitions.columns import Columns, Scores
from deal.acquisitions.registry import acquisition
from deal.errors import UsageError
from deal.kernel.logarithm import log
from deal.types import HISTOGRAM_LEVELS

__all__ = ["de", "ds_entropy", "ds_least_confidence", "ds_margin", "ds_none"]

_DEAL = "DEAL: Xie et al., ACCV 2020, arXiv 2010.08705, section 3.3"
_BOTH = ("images", "regions")
_EDGES = {"image": "difficulty_hist_image", "fixed": "difficulty_hist"}


@acquisition(
    "ds:none",
    requires=["difficulty_mean"],
    tables=_BOTH,
    formula="mean over pixels of D",
    source=f"{_DEAL}; DS as the released code computes it",
    class_sums="class_difficulty_sum",
)
def ds_none(columns: Columns) -> Scores:
    """Mean difficulty; `ds` is its short name."""
    return columns["difficulty_mean"]


@acquisition(
    "ds:entropy",
    requires=["difficulty_weighted_entropy_mean"],
    tables=_BOTH,
    formula="mean over pixels of D · H(P)",
    source=f"{_DEAL} (DS)",
    class_sums="class_difficulty_weighted_entropy_sum",
)
def ds_entropy(columns: Columns) -> Scores:
    """Mean of difficulty times entropy, nats."""
    return columns["difficulty_weighted_entropy_mean"]


@acquisition(
    "ds:margin",
    requires=["difficulty_weighted_margin_mean"],
    tables=_BOTH,
    formula="mean over pixels of D · (1 − (P₁ − P₂))",
    source=f"{_DEAL} (DS)",
)
def ds_margin(columns: Columns) -> Scores:
    """Mean of difficulty times margin uncertainty (one minus the margin)."""
    return columns["difficulty_weighted_margin_mean"]


@acquisition(
    "ds:least-confidence",
    requires=["difficulty_weighted_least_confidence_mean"],
    tables=_BOTH,
    formula="mean over pixels of D · (1 − P₁)",
    source=f"{_DEAL} (DS)",
)
def ds_least_confidence(columns: Columns) -> Scores:
    """Mean of difficulty times least confidence."""
    return columns["difficulty_weighted_least_confidence_mean"]


def _check_de(levels: int, edges: str) -> dict[str, Any]:
    if levels < 2 or HISTOGRAM_LEVELS % levels:
        divisors = [n for n in range(2, HISTOGRAM_LEVELS + 1) if HISTOGRAM_LEVELS % n == 0]
        raise UsageError(
            f"levels must divide {HISTOGRAM_LEVELS}: one of {', '.join(map(str, divisors))}; "
            f"not {levels}"
        )
    if edges not in _EDGES:
        raise UsageError(f"edges must be {' or '.join(_EDGES)}, not {edges!r}")
    return {}


@acquisition(
    "de",
    requires=lambda edges: [_EDGES[edges]],
    formula="−Σ_l h_l ln h_l, with h_l the share of pixels whose D lies in level l of L",
    source=f"{_DEAL} (DE)",
    check=_check_de,
)
def de(columns: Columns, *, levels: int = 8, edges: str = "image") -> Scores:
    """Entropy (nats) of the histogram of difficulty over L levels.

    Parameters
    ----------
    columns : mapping
        ``difficulty_hist_image`` (``edges="image"``: each image's own min…max, as in the released
        code) or ``difficulty_hist`` (``edges="fixed"``: 0…1), int64 [n, 240].
    levels : int
        L in the paper, a divisor of 240; the paper uses 8 on CamVid, 8 and 10 on Cityscapes.
    edges : ``image`` or ``fixed``
    """
    fine = np.asarray(columns[_EDGES[edges]])
    counts = fine.reshape(len(fine), levels, HISTOGRAM_LEVELS // levels).sum(axis=2)
    total = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)
    # The term of an empty level is 0, not 0 · log 0.
    log_share = log(np.where(counts > 0, share, 1.0))
    result: Scores = np.abs((share * log_share).sum(axis=1))
    return result
