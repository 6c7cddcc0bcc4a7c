"""Uncertainty of one model's class probabilities, region impurity, and the random baseline."""

from __future__ import annotations

import hashlib

import numpy as np

from deal.acquisitions.columns import Columns, Scores
from deal.acquisitions.registry import acquisition
from deal.kernel.logarithm import log

__all__ = ["entropy", "least_confidence", "margin", "random", "ripu"]

_BOTH = ("images", "regions")


@acquisition(
    "entropy",
    requires=["entropy_mean"],
    tables=_BOTH,
    formula="mean over pixels of H(P) = −Σ_c P_c ln P_c",
    source="Shannon 1948; Settles, Active Learning Literature Survey, 2009, section 3.1",
    class_sums="class_entropy_sum",
)
def entropy(columns: Columns) -> Scores:
    """Mean entropy of the class probabilities, nats."""
    return columns["entropy_mean"]


@acquisition(
    "margin",
    requires=["margin_mean"],
    tables=_BOTH,
    formula="mean over pixels of 1 − (P₁ − P₂)",
    source="Scheffer et al., IDA 2001; best versus second best: Joshi et al., CVPR 2009",
)
def margin(columns: Columns) -> Scores:
    """Mean of one minus the gap between the two likeliest classes."""
    return columns["margin_mean"]


@acquisition(
    "least-confidence",
    requires=["least_confidence_mean"],
    tables=_BOTH,
    formula="mean over pixels of 1 − P₁",
    source="Lewis & Gale, SIGIR 1994; Settles 2009, section 3.1",
)
def least_confidence(columns: Columns) -> Scores:
    """Mean of one minus the probability of the likeliest class."""
    return columns["least_confidence_mean"]


@acquisition(
    "ripu",
    requires=lambda table: [
        "class_pixels" if table == "images" else "impurity",
        "entropy_mean",
    ],
    tables=_BOTH,
    formula="(−Σ_c q_c ln q_c) · mean over pixels of H(P), with q_c the share of pixels predicted "
    "as c; 0 where only one class is predicted, as in regions of kind components",
    source="RIPU: Xie et al., CVPR 2022, arXiv 2111.12940, section 3.2",
    class_sums="class_entropy_sum",
)
def ripu(columns: Columns, *, table: str) -> Scores:
    """Impurity of the predicted classes times mean entropy, nats²; an image counts as one region.

    Parameters
    ----------
    columns : mapping
        ``entropy_mean`` [n]; for regions ``impurity`` [n], for images ``class_pixels`` [n, C].
    """
    if table == "regions":
        return columns["impurity"] * columns["entropy_mean"]
    counts = columns["class_pixels"]
    total = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)
    log_share = log(np.where(counts > 0, share, 1.0))
    result: Scores = np.abs((share * log_share).sum(axis=1)) * columns["entropy_mean"]
    return result


@acquisition(
    "random",
    requires=lambda table: ["id"] if table == "images" else ["id", "region"],
    tables=_BOTH,
    formula="hash(seed, id) / 2⁶⁴ (for a region: hash(seed, id, region))",
    source="the baseline of every comparison; the first 53 bits of BLAKE2b, RFC 7693",
)
def random(columns: Columns, *, seed: int = 0, table: str) -> Scores:
    """Uniform in [0, 1) from a hash of seed and id, so the same in any shard or order."""
    prefix = hashlib.blake2b(f"{seed}\0".encode(), digest_size=8)

    def digest(item: str) -> bytes:
        state = prefix.copy()
        state.update(item.encode())
        return state.digest()

    items = map(str, columns["id"])
    if table == "regions":
        items = map("{}\0{}".format, items, columns["region"])
    words = b"".join(map(digest, items))
    return np.ldexp((np.frombuffer(words, dtype="<u8") >> np.uint64(11)).astype(np.float64), -53)
