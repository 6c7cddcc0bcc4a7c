"""What readers see instead of the machine names of acquisition functions."""

from __future__ import annotations

from deal.acquisitions.registry import ALIASES

__all__ = ["label"]

_LABELS = {
    "ds:none": "difficulty (DS)",
    "ds:entropy": "difficulty × entropy (DS)",
    "ds:margin": "difficulty × margin (DS)",
    "ds:least-confidence": "difficulty × least confidence (DS)",
    "de": "difficulty entropy (DE)",
    "entropy": "entropy",
    "margin": "margin",
    "least-confidence": "least confidence",
    "ripu": "region impurity × uncertainty (RIPU)",
    "random": "random",
    "tail:difficulty": "difficulty of the worst pixels",
    "tail:entropy": "entropy of the worst pixels",
    "balanced:difficulty": "class-balanced difficulty",
    "balanced:entropy": "class-balanced entropy",
    "balanced:ds-entropy": "class-balanced difficulty × entropy",
    "focus:difficulty": "difficulty of chosen classes",
    "focus:entropy": "entropy of chosen classes",
    "focus:ds-entropy": "difficulty × entropy of chosen classes",
    "focus:pixels": "share of chosen classes",
    "vote-entropy": "vote entropy",
    "bald": "mutual information (BALD)",
    "kl-to-mean": "divergence from the mean vote",
    "consensus-entropy": "consensus entropy",
    "core-set": "distance (core-set)",
    "typiclust": "typical images of clusters (TypiClust)",
}


def label(name: str) -> str:
    """Return the name of an acquisition function for readers: ``ds:none`` → difficulty (DS).

    A user's own function is called by its name. Options, metadata and files keep the names that
    the command line takes.
    """
    return _LABELS.get(ALIASES.get(name, name), name)
