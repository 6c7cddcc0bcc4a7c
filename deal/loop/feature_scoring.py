"""Score a pool from kept features: the rows of a run of `deal score` without its encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from deal.acquisitions import bind
from deal.errors import DealError, PoolError
from deal.kernel.statistics import score_logits
from deal.loop.pool import Pool
from deal.loop.trained import trained
from deal.model.head import DifficultyHead
from deal.model.placing import Placement
from deal.pool.decode import decode
from deal.pool.signature import thumbnail
from deal.regions.sources import Superpixels
from deal.results.output import Output
from deal.run.config import ScoreConfig
from deal.run.rows import Outcome, Shape, to_rows
from deal.scoring.batch_scores import BatchScores, failure_of
from deal.scoring.columns import scores_of
from deal.scoring.inputs import InputGroup
from deal.scoring.region_plan import RegionPlan
from deal.training.embedding import classifier_name, pooled_input
from deal.training.kept import KeptFeatures
from deal.training.networks import SegmentationNetwork
from deal.training.step import ALIGN_CORNERS
from deal.types import FailedItem, PoolItem

__all__ = ["FeatureScorer"]

_BATCH = 8


class FeatureScorer:
    """Runs a decoder on the features of a pool and stores the rows of a scoring run.

    Parameters
    ----------
    pool : Pool
    features : KeptFeatures
        Of the pool's images, in its order.
    threads : int or None
        Of the kernel; None takes every core.
    """

    def __init__(self, pool: Pool, features: KeptFeatures, threads: int | None) -> None:
        self._pool, self._features, self._threads = pool, features, threads
        self._items: list[tuple[PoolItem, Shape]] = []
        self._segments: dict[Superpixels, dict[int, NDArray[np.int32]]] = {}

    def score(self, checkpoint: Path, output: Path, options: Mapping[str, Any]) -> None:
        """Store the rows of all images that are not stored yet.

        Raises DealError if the decoder gives NaN for an image.
        """
        module, meta = trained(checkpoint)
        config = ScoreConfig.parse(
            self._pool.images, model=checkpoint, output=output, **cast(Any, options)
        )
        choice, head = config.scoring.choice, module.head()
        plan = RegionPlan(
            choice.regions,
            bind("ds", table="regions", classes=meta.classes),
            outlines=choice.outlines,
        )
        settings = {
            "model": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
            "features": self._features.path.stem,
            "regions": plan.settings(),
        }
        network = cast(SegmentationNetwork, module.module)
        embedded = classifier_name(network, len(meta.classes))
        items = self._listed(config)
        with Output.open(output, settings=settings, classes=meta.classes) as results:
            left = [
                index
                for index, (item, _) in enumerate(items)
                if not results.is_done(item.id, item.source_version)
            ]
            for start in range(0, len(left), _BATCH):
                batch = left[start : start + _BATCH]
                with torch.inference_mode(), pooled_input(network, embedded) as pooled:
                    logits = network.decode(self._features.maps(batch)).numpy()
                scores = self._scores(logits, pooled[0].numpy(), head, batch, plan)
                outcome = Outcome([items[index] for index in batch], scores, {})
                for images, regions in to_rows([outcome]):
                    results.write(images, regions)

    def _scores(
        self,
        logits: Any,
        embedding: Any,
        head: DifficultyHead,
        batch: Sequence[int],
        plan: RegionPlan,
    ) -> BatchScores:
        assert self._pool.raster is not None
        size = self._pool.raster
        shapes = [self._items[index][1] for index in batch]
        group = InputGroup(
            size,
            list(range(len(batch))),
            originals=[(shape.height, shape.width) for shape in shapes],
            placements=[Placement(size, size)] * len(batch),
        )
        if isinstance(plan.source, Superpixels):
            group.segments.extend(self._superpixels(plan.source, index) for index in batch)
        regions, crowded = plan.regions(group, logits, ALIGN_CORNERS, self._threads)
        stats = score_logits(
            logits,
            size=size,
            head=head,
            regions=regions,
            align_corners=ALIGN_CORNERS,
            threads=self._threads,
        )
        for row, index in enumerate(batch):
            error = failure_of(stats, row) or crowded.get(row)
            if error is not None:
                raise DealError(f"image {self._pool.ids[index]}: {error.message}")
        return scores_of(group, stats, np.asarray(embedding), range(len(batch)), regions, plan)

    def _superpixels(self, source: Superpixels, index: int) -> NDArray[np.int32]:
        """Superpixels of an image; they depend on no network, so they are computed once."""
        known = self._segments.setdefault(source, {})
        if index not in known:
            known[index] = source.segments(self._features.image(index))
        return known[index]

    def _listed(self, config: ScoreConfig) -> list[tuple[PoolItem, Shape]]:
        """The items of the pool with the facts of their images; decoded at the first call only."""
        if not self._items:
            for item in config.items:
                if isinstance(item, FailedItem):
                    raise PoolError(f"image {item.item.uri}: {item.error}")
                decoded = decode(item)
                self._items.append((item, Shape.of(decoded, thumbnail(decoded.image).tobytes())))
        return self._items
