"""Measure whether an exported network gives what its checkpoint gives."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions import acquisition_scores
from deal.engines.base import Engine, on_host
from deal.errors import ModelError, UsageError
from deal.kernel.statistics import score_logits
from deal.metrics import spearman
from deal.scoring.inputs import Inputs
from deal.types import EngineOutput

__all__ = [
    "Parity",
    "ScoreParity",
    "compare",
    "compared_scores",
    "differences",
    "spearman",
    "top_k_overlap",
]

_TOP = 0.25

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class ScoreParity:
    """Agreement of one acquisition function over the checked images.

    Attributes
    ----------
    max_difference : float
        Greatest absolute difference, in the unit of the score.
    spearman : float
        Rank correlation, −1…1.
    top_k_overlap : float
        Share of the reference's top k that are in the other's top k, 0…1.
    """

    max_difference: float
    spearman: float
    top_k_overlap: float


@dataclass(frozen=True)
class Parity:
    """Agreement of an exported network with its checkpoint.

    Attributes
    ----------
    images : int
        How many were compared.
    max_logit_difference : float
        Greatest absolute difference of any logit of any image.
    max_embedding_difference : float or None
        Greatest difference of a number of the embedding, as a share of the reference's greatest
        of that image; None where the exported network has none.
    top_k : int
        The k of ``top_k_overlap``: a quarter of the images, rounded up.
    scores : dict of acquisition function to ScoreParity
    """

    images: int
    max_logit_difference: float
    max_embedding_difference: float | None
    top_k: int
    scores: dict[str, ScoreParity]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def compared_scores(*engines: Engine) -> tuple[str, ...]:
    """Acquisition functions by which networks are compared.

    The command line's default and its relatives: ``ds``, ``ds:entropy``, ``de`` and ``entropy``
    where every model has a difficulty; ``entropy`` and ``margin`` without.
    """
    specs = [engine.spec for engine in engines]
    if all(s.difficulty_head is not None or s.difficulty_name is not None for s in specs):
        return ("ds", "ds:entropy", "de", "entropy")
    return ("entropy", "margin")


def compare(
    reference: Engine, exported: Engine, inputs: Inputs, images: Iterable[NDArray[np.uint8]]
) -> Parity:
    """Run two networks on the same images and compare logits and scores.

    Parameters
    ----------
    reference, exported : Engine
        Each scores with its own difficulty: an output of its graph, or else the head of its
        ``spec``.
    inputs : Inputs
        How images reach the networks.
    images : iterable of ndarray of uint8 [H, W, 3]

    Raises
    ------
    ModelError
        Logits of either network are NaN or infinite.
    UsageError
        No images, or one that the network cannot take.
    """
    engines = reference, exported
    tables: tuple[list[dict[str, Any]], list[dict[str, Any]]] = [], []
    difference, count = 0.0, 0
    of_embeddings: list[float] = []
    for count, image in enumerate(images, start=1):
        groups, failures = inputs.groups([image])
        if failures:
            raise UsageError(f"check image {count}: {failures[0].message}")
        outputs = [on_host(engine.infer(np.stack(groups[0].images))) for engine in engines]
        distance, apart = differences(*outputs)
        if not math.isfinite(distance):
            raise ModelError(f"check image {count}: the network gives NaN or infinite logits")
        difference = max(difference, distance)
        if apart is not None:
            of_embeddings.append(apart)
        for engine, output, table in zip(engines, outputs, tables, strict=True):
            stats = score_logits(
                output.logits,
                size=groups[0].size,
                head=engine.spec.difficulty_head,
                difficulty=output.difficulty,
                align_corners=engine.spec.align_corners,
            )
            table.append(stats.images)
    if count == 0:
        raise UsageError("no images to check the export on")
    top_k = math.ceil(_TOP * count)
    columns = [
        {name: np.concatenate([row[name] for row in table]) for name in table[0]}
        for table in tables
    ]
    scores = {}
    for name in compared_scores(*engines):
        ours, theirs = (acquisition_scores(table, name) for table in columns)
        scores[name] = ScoreParity(
            max_difference=float(np.abs(ours - theirs).max()),
            spearman=spearman(ours, theirs),
            top_k_overlap=top_k_overlap(ours, theirs, top_k),
        )
    return Parity(count, difference, max(of_embeddings, default=None), top_k, scores)


def differences(reference: EngineOutput, exported: EngineOutput) -> tuple[float, float | None]:
    """Greatest difference of any logit, and of the embedding if both have one.

    The latter is a share of the reference's greatest number, since embeddings have no unit.
    """
    of_logits = float(np.abs(reference.logits - exported.logits).max())
    if reference.embedding is None or exported.embedding is None:
        return of_logits, None
    distance = np.abs(reference.embedding - exported.embedding).max()
    return of_logits, float(distance / np.abs(reference.embedding).max())


def top_k_overlap(reference: Scores, other: Scores, k: int) -> float:
    """Share of the k highest of ``reference`` that are among the k highest of ``other``.

    Ties go to the earlier element.
    """
    tops = [set(np.argsort(-scores, kind="stable")[:k].tolist()) for scores in (reference, other)]
    return len(tops[0] & tops[1]) / k
