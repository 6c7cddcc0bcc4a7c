"""Disagreement of a committee: several models, dropout passes, or an image and its mirror image."""

from __future__ import annotations

from deal.acquisitions.columns import Columns, Scores
from deal.acquisitions.registry import acquisition

__all__ = ["bald", "consensus_entropy", "kl_to_mean", "vote_entropy"]

_BOTH = ("images", "regions")


@acquisition(
    "vote-entropy",
    requires=["vote_entropy_mean"],
    tables=_BOTH,
    formula="mean over pixels of −Σ_c v_c ln v_c, with v_c the share of members that predict c",
    source="Dagan & Engelson, ICML 1995; Settles 2009, section 3.2",
)
def vote_entropy(columns: Columns) -> Scores:
    """Mean entropy of the members' votes, nats."""
    return columns["vote_entropy_mean"]


@acquisition(
    "bald",
    requires=["mutual_information_mean"],
    tables=_BOTH,
    formula="mean over pixels of H(P̄) − mean_m H(P_m), with P̄ = mean_m P_m",
    source="BALD: Houlsby et al. 2011, arXiv 1112.5745; with dropout Gal et al., ICML 2017, "
    "arXiv 1703.02910",
)
def bald(columns: Columns) -> Scores:
    """Mean mutual information between prediction and member, nats."""
    return columns["mutual_information_mean"]


@acquisition(
    "kl-to-mean",
    requires=["mutual_information_mean"],
    tables=_BOTH,
    formula="mean over pixels of mean_m KL(P_m ‖ P̄), with P̄ = mean_m P_m",
    source="McCallum & Nigam, ICML 1998; Settles 2009, section 3.2",
)
def kl_to_mean(columns: Columns) -> Scores:
    """Mean divergence of the members from their mean, nats; equal to ``bald``.

    mean_m Σ_c P_mc (ln P_mc − ln P̄_c) = −mean_m H(P_m) + H(P̄).
    """
    return columns["mutual_information_mean"]


@acquisition(
    "consensus-entropy",
    requires=["consensus_entropy_mean"],
    tables=_BOTH,
    formula="mean over pixels of H(P̄), with P̄ = mean_m P_m",
    source="soft vote entropy: Settles 2009, section 3.2; Lakshminarayanan et al., NeurIPS 2017, "
    "arXiv 1612.01474",
)
def consensus_entropy(columns: Columns) -> Scores:
    """Mean entropy of the members' mean probabilities, nats."""
    return columns["consensus_entropy_mean"]
