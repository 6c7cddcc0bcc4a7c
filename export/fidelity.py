"""Does a network of reduced precision still select the same images? The gate of ``--precision``.

Logits of int8 differ from those of float32 by a lot, and it does not matter as long as the ranking
is the same. So what is held against limits is the selection: on images that had no part in the
conversion, ranked by each of the acquisition functions that people use.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions import acquisition_scores
from deal.engines.base import Engine, on_host
from deal.errors import ModelError, UsageError
from deal.export.parity import compared_scores, spearman, top_k_overlap
from deal.kernel.statistics import score_logits
from deal.scoring.inputs import Inputs

__all__ = [
    "LIMITS",
    "MIN_IMAGES",
    "TOP",
    "Fidelity",
    "FidelityGate",
    "ScoreFidelity",
    "pick_value",
]

MIN_IMAGES = 300
"""Least number of held-out images: fewer say too little about the top tenth."""

TOP = 0.1
"""The share of the images that counts as selected."""

LIMITS = {"spearman": 0.99, "overlap": 0.90, "pick_value": 0.99}
"""Least values that pass, by attribute of ScoreFidelity."""

Image8 = NDArray[np.uint8]
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class ScoreFidelity:
    """Agreement of one acquisition function's selection with that of the float32 network.

    Attributes
    ----------
    spearman : float
        Rank correlation over all images, −1…1.
    overlap : float
        Share of the float32 network's top tenth that is in the other's, 0…1.
    pick_value : float
        Mean float32 score of the other's top tenth, as a share of the best possible: of the
        float32 network's own top tenth.
    """

    spearman: float
    overlap: float
    pick_value: float

    @property
    def passed(self) -> bool:
        """Whether every number reaches its limit; NaN does not."""
        return all(getattr(self, name) >= limit for name, limit in LIMITS.items())


@dataclass(frozen=True)
class Fidelity:
    """Agreement of a converted network's selections with those of its float32 network.

    Attributes
    ----------
    images : int
        How many were compared.
    argmax_agreement : float
        Share of the cells of the logits grid with the same predicted class, 0…1.
    logit_error : float
        Root mean square difference of the logits, as a share of their standard deviation over
        classes and cells.
    scores : dict of acquisition function to ScoreFidelity
    """

    images: int
    argmax_agreement: float
    logit_error: float
    scores: dict[str, ScoreFidelity]

    @property
    def passed(self) -> bool:
        """Whether every acquisition function selects as the float32 network does."""
        return all(score.passed for score in self.scores.values())

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


class FidelityGate:
    """Keep what the float32 network says of the held-out images, and compare others with it.

    Parameters
    ----------
    reference : Engine
    images : iterable of ndarray of uint8 [H, W, 3]
        It is read once per network, so it must give the same images every time.
    progress : callable of (done, total or None), optional
    least : int, optional
        Least number of images; by default ``MIN_IMAGES``.

    Raises
    ------
    UsageError
        Fewer than ``least``, or an image that the network cannot take.
    ModelError
        NaN or infinite logits.
    """

    def __init__(
        self,
        reference: Engine,
        images: Iterable[Image8],
        progress: Callable[[int], None] | None = None,
        *,
        least: int | None = None,
    ) -> None:
        self._images = images
        self._inputs = Inputs(reference.spec, "input")
        self._path = reference.spec.path
        self._logits: list[NDArray[np.float16]] = []
        self._names = compared_scores(reference)
        columns: list[dict[str, Any]] = []
        for logits, row in self._run(reference, progress):
            columns.append(row)
            self._logits.append(logits.astype(np.float16))
        least = MIN_IMAGES if least is None else least
        if len(columns) < least:
            raise UsageError(
                f"{len(columns)} held-out images are too few to compare selections on: give at "
                f"least {least}, or leave them out for synthetic scenes"
            )
        self._scores = self._scored(columns)

    def judge(self, engine: Engine, progress: Callable[[int], None] | None = None) -> Fidelity:
        """Run another network on the held-out images and compare.

        Raises ModelError where its logits are NaN or infinite, or lie on another grid.
        """
        rows: list[dict[str, Any]] = []
        same = cells = 0
        squares = np.zeros(2)
        for (logits, row), expected in zip(self._run(engine, progress), self._logits, strict=True):
            if logits.shape != expected.shape:
                shapes = ["×".join(map(str, each.shape[1:])) for each in (logits, expected)]
                raise ModelError(
                    f"model {engine.spec.path} gives logits of {shapes[0]} (classes×h×w), and the "
                    f"float32 one {self._path} of {shapes[1]}: give the same network converted"
                )
            rows.append(row)
            same += int((logits.argmax(1) == expected.argmax(1)).sum())
            cells += logits[:, 0].size
            squares += relative_squares(logits, expected.astype(np.float32))
        scores = self._scored(rows)
        return Fidelity(
            images=len(rows),
            argmax_agreement=same / cells,
            logit_error=float(np.sqrt(squares[0] / squares[1])),
            scores={name: _compared(self._scores[name], scores[name]) for name in self._names},
        )

    def _run(self, engine: Engine, progress: Callable[[int], None] | None) -> Any:
        for count, image in enumerate(self._images, start=1):
            groups, failures = self._inputs.groups([image])
            if failures:
                raise UsageError(f"held-out image {count}: {failures[0].message}")
            height, width = groups[0].images[0].shape[:2]
            if engine.spec.input_size not in (None, (height, width)):
                raise ModelError(
                    f"model {engine.spec.path} takes images of another size than the float32 one "
                    f"{self._path}, {height}×{width}: give the same network converted"
                )
            output = on_host(engine.infer(np.stack(groups[0].images)))
            logits = np.asarray(output.logits, np.float32)
            if not np.isfinite(logits).all():
                raise ModelError(
                    f"held-out image {count}: the network gives NaN or infinite logits in this "
                    "precision"
                )
            stats = score_logits(
                logits,
                size=groups[0].size,
                head=engine.spec.difficulty_head,
                difficulty=output.difficulty,
                align_corners=engine.spec.align_corners,
            )
            yield logits, stats.images
            if progress is not None:
                progress(count)

    def _scored(self, rows: list[dict[str, Any]]) -> dict[str, Scores]:
        table = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
        return {name: acquisition_scores(table, name) for name in self._names}


def relative_squares(found: NDArray[Any], expected: NDArray[Any]) -> NDArray[np.float64]:
    """Sums of squares [2] of the differences, and of the expected logits about their mean."""
    error = found - expected
    spread = expected - expected.mean()
    return np.array([np.square(error).sum(dtype=np.float64), np.square(spread).sum(dtype=float)])


def pick_value(reference: Scores, other: Scores, k: int) -> float:
    """Mean of ``reference`` over the k highest of ``other``, as a share of the best possible."""
    best, picked = (
        reference[np.argsort(-scores, kind="stable")[:k]].mean() for scores in (reference, other)
    )
    return float(picked / best) if best > 0 else 1.0


def _compared(reference: Scores, other: Scores) -> ScoreFidelity:
    top = math.ceil(TOP * len(reference))
    return ScoreFidelity(
        spearman=spearman(reference, other),
        overlap=top_k_overlap(reference, other, top),
        pick_value=pick_value(reference, other, top),
    )
