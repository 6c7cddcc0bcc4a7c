"""How a small network orders images, beside the model that it imitates."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions.binding import acquisition_scores
from deal.distilling.drawing import read
from deal.errors import PoolError
from deal.metrics import spearman
from deal.scoring.scorer import Scorer
from deal.types import PoolItem

__all__ = ["FUNCTIONS", "Scored", "correlation", "reach", "scored"]

FUNCTIONS = ("ds", "ds:entropy", "entropy", "margin", "de")
"""What is compared; functions of difficulty only where there is one."""

_OF_DIFFICULTY = ("ds", "ds:entropy", "de")
_TOP = 0.05

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Scored:
    """What a network makes of some images.

    Attributes
    ----------
    items : list of PoolItem
        The images that could be read and scored.
    scores : dict of function to ndarray of float64 [N]
    seconds : float
        Per image, the median; decoding aside.
    """

    items: list[PoolItem]
    scores: dict[str, Scores]
    seconds: float


def scored(
    model: str | Path, items: Sequence[PoolItem], done: Callable[[], None], **options: Any
) -> Scored:
    """Score images one by one.

    Parameters
    ----------
    model, options
        As :class:`deal.Scorer` takes them.
    items : sequence of PoolItem
    done : callable
        Called after each image.

    Raises
    ------
    PoolError
        No image can be scored.
    UsageError, EngineUnavailableError, ModelError
        As of :class:`deal.Scorer`.
    """
    kept: list[PoolItem] = []
    seconds: list[float] = []
    found: dict[str, list[Scores]] = {}
    with Scorer(model, **options) as scorer:
        names = [n for n in FUNCTIONS if scorer.has_difficulty or n not in _OF_DIFFICULTY]
        # What read() gives holds the content of its file, so the items of the list are kept.
        for item, (_, image) in zip(items, read(items), strict=True):
            done()
            if image is None:
                continue
            begun = time.perf_counter()
            columns = scorer.score([image])
            taken = time.perf_counter() - begun
            if columns["status"][0] != "ok":
                continue
            kept.append(item)
            seconds.append(taken)
            for name in names:
                found.setdefault(name, []).append(acquisition_scores(columns, name))
    if not kept:
        raise PoolError(
            f"model {model} can score none of the {len(items)} held-out images: deal check says "
            "what is wrong with one"
        )
    scores = {name: np.concatenate(values) for name, values in found.items()}
    return Scored(kept, scores, float(np.median(seconds)))


def correlation(model: Scores, small: Scores) -> float:
    """Spearman's rank correlation of the scores [N] of both networks."""
    return spearman(model, small)


def reach(model: Scores, small: Scores) -> float:
    """The share of the small network's order that holds the best 5 % of the model's, 0…1."""
    count = max(round(_TOP * len(model)), 1)
    best = np.argsort(-model, kind="stable")[:count]
    places = np.empty(len(small), np.int64)
    places[np.argsort(-small, kind="stable")] = np.arange(len(small))
    return float((places[best].max() + 1) / len(small))
