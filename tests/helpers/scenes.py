"""Pools of a few random images for tests of acquisition: per-pixel maps, and their tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import deal
from tests.oracle import reference

SIZE, CLASSES, CELL = (24, 33), ("road", "pole", "sign", "sky", "bicyclist"), 8


@dataclass(frozen=True)
class Scenes:
    """Images as probabilities on the raster, in float64, and how they were made.

    ``p`` [B, C, H, W]; ``members`` [M, B, C, H, W], the first of them ``p``; ``d`` (difficulty)
    and ``kept`` (not masked) [B, H, W]; ``arguments`` of `deal.score_logits`.
    """

    p: NDArray[np.float64]
    members: NDArray[np.float64]
    d: NDArray[np.float64]
    kept: NDArray[np.bool_]
    arguments: dict[str, Any]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Predicted class of each pixel, [B, H, W]."""
        return self.p.argmax(axis=1)

    @property
    def entropy(self) -> NDArray[np.float64]:
        """Entropy of each pixel, nats, [B, H, W]."""
        return -(self.p * np.log(self.p)).sum(axis=1)

    def mean(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean of a map [B, H, W] over the pixels kept, [B]."""
        return np.array([image[kept].mean() for image, kept in zip(values, self.kept, strict=True)])

    def statistics(self) -> deal.Statistics:
        """The oracle's statistics, regions being a grid of cells."""
        ys, xs = np.indices(SIZE) // CELL
        ids = (ys * -(-SIZE[1] // CELL) + xs).astype(np.int32)
        return reference.statistics(
            **self.arguments,
            regions=np.broadcast_to(ids, (len(self.p), *SIZE)),
            n_regions=int(ids.max()) + 1,
        )


def scenes(images: int = 6, members: int = 1, seed: int = 0) -> Scenes:
    """Random scenes of five classes, of which the first is common; the same for a seed."""
    rng = np.random.default_rng(seed)
    n_classes = len(CLASSES)
    logits = rng.normal(size=(members, images, n_classes, 7, 9)) * 2
    logits[:, :, 0] += 1.5
    head = deal.DifficultyHead(0.8, rng.normal(size=n_classes), -0.4)
    mask = (rng.random((images, *SIZE)) > 0.2).astype(np.uint8)
    p = np.stack([reference.softmax(reference.resize(z, SIZE, True)) for z in logits])
    grid = reference.difficulty_grid(logits[0], head, True)
    return Scenes(
        p=p[0],
        members=p,
        d=reference.difficulty_map(grid, SIZE, True),
        kept=mask != 0,
        arguments={
            "logits": logits[0] if members == 1 else logits,
            "size": SIZE,
            "head": head,
            "mask": mask,
        },
    )
