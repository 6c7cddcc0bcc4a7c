"""The labeled data set as a pool: ids, files to score, and random draws shared by all methods."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deal.errors import PoolError, UsageError
from deal.fitting.images import LabeledImage, read
from deal.labeled.datasets import list_dataset
from deal.labeled.labels import LabelClasses, LabeledFiles
from deal.loop.config import LoopConfig
from deal.loop.files import hold
from deal.machine.cores import available_cores
from deal.pool import listing
from deal.types import FailedItem

if TYPE_CHECKING:
    from deal.training.data import Dataset, Sample

__all__ = ["Files", "Pool", "open_data", "open_files"]

# Different streams of random numbers, which must be independent.
_INITIAL, _SUBSET = 1, 2


@dataclass(frozen=True)
class Pool:
    """Training images by id, in byte order of the ids.

    Attributes
    ----------
    classes : tuple of str
    ids : tuple of str
        File names, as `deal-score` names the images.
    drives : tuple of str or None
    images : tuple of Path
        The image files to score.
    counts : tuple of int
        Number of labeled images per round.
    raster : (H, W) or None
        The raster of every image's scores; None if the model of a round decides it.
    """

    classes: tuple[str, ...]
    ids: tuple[str, ...]
    drives: tuple[str | None, ...]
    images: tuple[Path, ...]
    counts: tuple[int, ...]
    raster: tuple[int, int] | None = None

    def initial(self, seed: int) -> list[str]:
        """The images of the first round, the same for every method of a seed."""
        order = np.random.default_rng((seed, _INITIAL)).permutation(len(self.ids))
        return [self.ids[index] for index in order[: self.counts[0]]]

    def candidates(self, seed: int, number: int, labeled: Sequence[str], count: int) -> set[str]:
        """Draw ``count`` unlabeled images from which round ``number`` picks.

        Every image draws one number per round, and the lowest numbers are taken. So methods that
        labeled different images still pick from nearly the same images.
        """
        known = set(labeled)
        draws = np.random.default_rng((seed, _SUBSET, number)).random(len(self.ids))
        unlabeled = [index for index in np.argsort(draws) if self.ids[index] not in known]
        return {self.ids[index] for index in unlabeled[:count]}

    def indices(self, labeled: Sequence[str]) -> list[int]:
        """Positions of the labeled ids in ``ids``, ascending."""
        places = {item_id: index for index, item_id in enumerate(self.ids)}
        return sorted(places[item_id] for item_id in labeled)


@dataclass(frozen=True)
class Files:
    """A data set of files that are not in memory.

    Attributes
    ----------
    classes : LabelClasses
    train : tuple of LabeledFiles
        In the order of the pool's ``ids``.
    evaluate : tuple of LabeledFiles, not empty
        Files of the split on which every round is measured.
    """

    classes: LabelClasses
    train: tuple[LabeledFiles, ...]
    evaluate: tuple[LabeledFiles, ...]


def open_data(config: LoopConfig) -> tuple[Pool, Dataset]:
    """Read a data set into memory and check it; its train samples are in the order of the pool.

    Raises
    ------
    UsageError, PoolError
        As :func:`deal.training.data.load_dataset`; or rounds, batches or ``pool_subset`` need more
        images than there are.
    """
    from deal.training.data import load_dataset

    given = config.data
    _check_split(config)
    data = load_dataset(given.dataset, _root(config), size=given.size, scenes=given.scenes)
    if not getattr(data, given.evaluate):
        raise _no_split(config)
    counts = _counts(config, len(data.train))
    samples = {sample.path or _written(config.folder, sample): sample for sample in data.train}
    pool = replace(_pool(config, data.classes, counts, samples), raster=data.size)
    return pool, replace(data, train=tuple(samples[path] for path in pool.images))


def open_files(config: LoopConfig) -> tuple[Pool, Files]:
    """List the files of a data set and check them, one image at a time.

    Raises
    ------
    UsageError, PoolError
        As `open_data`; or the data set is generated and has no files, or a file has a name that is
        not UTF-8.
    """
    given = config.data
    _check_split(config)
    if given.dataset.startswith("synthetic"):
        raise UsageError(
            f"[data] dataset {given.dataset} has no files for [training] command to read: write "
            "it to files with deal.synthetic.write_dataset, and choose dataset folder"
        )
    classes, files = list_dataset(given.dataset, _root(config))
    if not files[given.evaluate]:
        raise _no_split(config)
    counts = _counts(config, len(files["train"]))
    for pair in files["train"]:
        for path in (pair.image, pair.label):
            if not _is_text(path.absolute()):
                raise PoolError(
                    f"{path.absolute()} has a name that is not UTF-8, so the list for [training] "
                    "command cannot hold it: rename it"
                )
    with ThreadPoolExecutor(available_cores()) as readers:
        for split in ("train", given.evaluate):
            found = list(readers.map(functools.partial(_has_labels, classes), files[split]))
            if not any(found):
                raise PoolError(
                    f"split {split} of {given.root} has no labeled pixel: all pixels are "
                    f"{classes.ignore_index} (void)"
                )
    pairs = {pair.image: pair for pair in files["train"]}
    pool = _pool(config, classes.names, counts, pairs)
    train = tuple(pairs[path] for path in pool.images)
    return pool, Files(classes, train, tuple(files[given.evaluate]))


def _check_split(config: LoopConfig) -> None:
    if config.data.evaluate not in ("val", "test"):
        raise UsageError(f"[data] evaluate must be val or test, not {config.data.evaluate!r}")


def _root(config: LoopConfig) -> Path | None:
    return None if config.data.root is None else Path(config.data.root)


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _no_split(config: LoopConfig) -> PoolError:
    return PoolError(f"the data set has no {config.data.evaluate} split to evaluate on")


def _has_labels(classes: LabelClasses, files: LabeledFiles) -> bool:
    """Whether a label has a pixel that is not void; also checks that the image can be read."""
    label = read(LabeledImage(files.image.name, files), len(classes.names), classes.ignore_index)[1]
    return bool((label != classes.ignore_index).any())


def _pool(
    config: LoopConfig, classes: tuple[str, ...], counts: tuple[int, ...], images: Iterable[Path]
) -> Pool:
    paths = sorted(images, key=lambda path: os.fsencode(path.name))
    items = []
    for item in listing.Pool(paths, sequence_from=config.data.sequence_from):
        if isinstance(item, FailedItem):
            raise PoolError(f"image {item.item.uri}: {item.error}")
        items.append(item)
    return Pool(
        classes=classes,
        ids=tuple(item.id for item in items),
        drives=tuple(item.sequence for item in items),
        images=tuple(paths),
        counts=counts,
    )


def _counts(config: LoopConfig, images: int) -> tuple[int, ...]:
    counts = config.rounds.counts(images)
    if counts[0] < config.training.least_images:
        raise PoolError(
            f"the first round has {counts[0]} of {images} images, fewer than a batch of "
            f"{config.training.least_images}: label more in [rounds] or train with smaller batches"
        )
    for before, after in pairwise(counts):
        if config.rounds.subset(images - before) < after - before:
            raise PoolError(
                f"pool_subset {config.rounds.pool_subset} of {images - before} unlabeled images "
                f"is less than the {after - before} to pick: give a larger share"
            )
    return counts


def _written(folder: Path, sample: Sample) -> Path:
    """Write a generated image to a file, since scoring reads files."""
    target = folder / "common" / "images" / f"{sample.name}.png"
    # A file may be damaged, or of other settings, which were refused.
    if not _shows(target, sample.image):
        with hold(folder / "common", wait=True):
            target.parent.mkdir(exist_ok=True)
            temporary = folder / "common" / f"_{target.name}"
            Image.fromarray(sample.image).save(temporary)
            temporary.replace(target)
    return target


def _shows(path: Path, image: NDArray[np.uint8]) -> bool:
    """Whether a file holds this image."""
    try:
        with Image.open(path) as file:
            return file.size == image.shape[1::-1] and bool((np.asarray(file) == image).all())
    except (OSError, SyntaxError, ValueError):  # missing, or damaged in one of Pillow's ways
        return False
