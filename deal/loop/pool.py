"""The labeled data set as a pool: ids, files to score, the draws that all methods share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from deal.errors import PoolError, UsageError
from deal.loop.config import LoopConfig
from deal.loop.files import hold
from deal.pool import open_pool
from deal.training.data import Dataset, Sample, load_dataset
from deal.types import FailedItem

__all__ = ["Pool", "open_data"]

# Streams of random numbers that must not meet.
_INITIAL, _SUBSET = 1, 2


@dataclass(frozen=True)
class Pool:
    """Training images by id, in byte order of the ids.

    Attributes
    ----------
    data : Dataset
        Its ``train`` samples are in the order of ``ids``.
    ids : tuple of str
        File names, as `deal-score` names the images.
    drives : tuple of str or None
    images : tuple of Path
        The files: a pool to score.
    counts : tuple of int
        Labeled images of each round.
    """

    data: Dataset
    ids: tuple[str, ...]
    drives: tuple[str | None, ...]
    images: tuple[Path, ...]
    counts: tuple[int, ...]

    def initial(self, seed: int) -> list[str]:
        """The first round's images: the same for every method of a seed."""
        order = np.random.default_rng((seed, _INITIAL)).permutation(len(self.ids))
        return [self.ids[index] for index in order[: self.counts[0]]]

    def candidates(self, seed: int, number: int, labeled: Sequence[str], count: int) -> set[str]:
        """``count`` unlabeled images that round ``number`` picks from.

        Every image draws one number a round; the lowest are taken, so that methods which have
        labeled differently still pick from nearly the same images.
        """
        known = set(labeled)
        draws = np.random.default_rng((seed, _SUBSET, number)).random(len(self.ids))
        unlabeled = [index for index in np.argsort(draws) if self.ids[index] not in known]
        return {self.ids[index] for index in unlabeled[:count]}

    def indices(self, labeled: Sequence[str]) -> list[int]:
        """Places of ids in ``ids``, ascending."""
        places = {item_id: index for index, item_id in enumerate(self.ids)}
        return sorted(places[item_id] for item_id in labeled)


def open_data(config: LoopConfig) -> Pool:
    """Read and check the data set.

    Raises
    ------
    UsageError, PoolError
        As :func:`deal.training.data.load_dataset`; or rounds, batches and the pool's subset ask
        for images that are not there.
    """
    given = config.data
    root = None if given.root is None else Path(given.root)
    if given.evaluate not in ("val", "test"):
        raise UsageError(f"[data] evaluate must be val or test, not {given.evaluate!r}")
    data = load_dataset(given.dataset, root, size=given.size, scenes=given.scenes)
    if not getattr(data, given.evaluate):
        raise PoolError(f"the data set has no {given.evaluate} split to evaluate on")
    counts = _counts(config, len(data.train))
    files = {sample.path or _written(config.folder, sample): sample for sample in data.train}
    images = sorted(files, key=lambda path: os.fsencode(path.name))
    items = []
    for item in open_pool(images, sequence_from=given.sequence_from):
        if isinstance(item, FailedItem):
            raise PoolError(f"image {item.item.uri}: {item.error}")
        items.append(item)
    return Pool(
        data=replace(data, train=tuple(files[path] for path in images)),
        ids=tuple(item.id for item in items),
        drives=tuple(item.sequence for item in items),
        images=tuple(images),
        counts=counts,
    )


def _counts(config: LoopConfig, images: int) -> tuple[int, ...]:
    counts = config.rounds.counts(images)
    if counts[0] < config.training.batch_size:
        raise PoolError(
            f"the first round has {counts[0]} of {images} images, less than a batch of "
            f"{config.training.batch_size}: label more in [rounds] or train with smaller batches"
        )
    for before, after in pairwise(counts):
        if config.rounds.subset(images - before) < after - before:
            raise PoolError(
                f"pool_subset {config.rounds.pool_subset} of {images - before} unlabeled images "
                f"is less than the {after - before} to pick: give a larger share"
            )
    return counts


def _written(folder: Path, sample: Sample) -> Path:
    """A generated image as a file, since scoring reads files."""
    target = folder / "common" / "images" / f"{sample.name}.png"
    if not target.exists():
        with hold(folder / "common", wait=True):
            target.parent.mkdir(exist_ok=True)
            temporary = folder / "common" / f"_{target.name}"
            Image.fromarray(sample.image).save(temporary)
            temporary.replace(target)
    return target
