"""How a small network orders images, beside the model that it imitates."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions.binding import acquisition_scores
from deal.errors import ModelError, PoolError
from deal.metrics import spearman
from deal.scoring.scorer import Scorer

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
    scores : mapping of function to ndarray of float64 [N]
    seconds : float
        Per image, the median; decoding aside.
    """

    scores: Mapping[str, Scores]
    seconds: float


def scored(
    model: str | Path,
    images: Iterable[NDArray[np.uint8]],
    done: Callable[[], None],
    **options: Any,
) -> Scored:
    """Score images one by one.

    Parameters
    ----------
    model, options
        As :class:`deal.Scorer` takes them.
    images : iterable of ndarray of uint8 [H, W, 3]
    done : callable
        Called after each image.

    Raises
    ------
    PoolError
        There is no image.
    ModelError
        An image cannot be scored: the model does not take its size, or gives NaN.
    UsageError, EngineUnavailableError
        As of :class:`deal.Scorer`.
    """
    seconds: list[float] = []
    found: dict[str, list[Scores]] = {}
    with Scorer(model, **options) as scorer:
        names = [n for n in FUNCTIONS if scorer.has_difficulty or n not in _OF_DIFFICULTY]
        for image in images:
            begun = time.perf_counter()
            columns = scorer.score([image])
            seconds.append(time.perf_counter() - begun)
            if columns["status"][0] != "ok":
                raise ModelError(f"model {model} cannot score an image: {columns['error'][0]}")
            for name in names:
                found.setdefault(name, []).append(acquisition_scores(columns, name))
            done()
    if not seconds:
        raise PoolError("none of the held-out images can be read")
    scores = {name: np.concatenate(values) for name, values in found.items()}
    return Scored(scores, float(np.median(seconds)))


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
