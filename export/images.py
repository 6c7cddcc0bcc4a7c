"""Images to calibrate an export on and to check it with: pools, or synthetic scenes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deal.errors import ItemError, PoolError, UsageError
from deal.export.fidelity import MIN_IMAGES
from deal.pool.decode import decode
from deal.pool.listing import Pool
from deal.synthetic.scenes import FIRST_SEED, scene
from deal.types import FailedItem, PoolItem

__all__ = ["CALIBRATION_IMAGES", "PoolImages", "Scenes", "divided", "even", "image_of"]

CALIBRATION_IMAGES = 64
"""Enough for ranges of activations; taken evenly from a pool that has more."""

_MOST_HELD_OUT = 1000


def image_of(item: PoolItem) -> NDArray[np.uint8]:
    """The image, uint8 RGB [H, W, 3], where each one counts; PoolError names one that fails."""
    try:
        return decode(item).image
    except ItemError as error:
        raise PoolError(f"image {item.uri}: {error.message}; mend or remove it") from error


class PoolImages(Sequence[NDArray[np.uint8]]):
    """Images of a pool, uint8 RGB [H, W, 3], decoded each time they are read.

    Raises PoolError for an image that cannot be read.
    """

    def __init__(self, items: Sequence[PoolItem]) -> None:
        self.items = items

    @classmethod
    def of(cls, pool: str) -> PoolImages:
        """All images of a folder, glob or manifest; PoolError where there are none."""
        items = []
        for item in Pool(pool):
            if isinstance(item, FailedItem):
                raise PoolError(f"image {item.item.uri}: {item.error}")
            items.append(item)
        if not items:
            raise PoolError(f"{pool} has no images")
        return cls(items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if isinstance(index, slice):
            return PoolImages(self.items[index])
        return image_of(self.items[index])

    def __str__(self) -> str:
        return f"{len(self)} images of the pool"


class Scenes(Sequence[NDArray[np.uint8]]):
    """Synthetic street scenes, uint8 RGB [H, W, 3], drawn once and kept."""

    def __init__(self, seeds: range, size: tuple[int, int]) -> None:
        self._size = max(size[0], 32), max(size[1], 32)
        self._seeds = seeds
        self._drawn: dict[int, NDArray[np.uint8]] = {}

    def __len__(self) -> int:
        return len(self._seeds)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        seed = self._seeds[index]
        if seed not in self._drawn:
            self._drawn[seed] = scene(seed, self._size)[0]
        return self._drawn[seed]

    def __str__(self) -> str:
        return f"{len(self)} synthetic scenes"


Images = PoolImages | Scenes


def divided(
    images: str | None, held_out: str | None, size: tuple[int, int]
) -> tuple[Images, Images]:
    """Images to calibrate on, and others to judge the selection on.

    Parameters
    ----------
    images : str, optional
        Pool to calibrate on: ``CALIBRATION_IMAGES`` spread evenly over it. Synthetic scenes
        otherwise.
    held_out : str, optional
        Pool to judge on. Otherwise the rest of ``images`` if that is enough to judge on, else
        synthetic scenes.
    size : (H, W)
        Of synthetic scenes.

    Raises
    ------
    PoolError
        No images, or one that cannot be read.
    UsageError
        An image is in both, or the held-out ones are too few.
    """
    train, test = (
        range(FIRST_SEED[split], FIRST_SEED[split] + count)
        for split, count in (("train", CALIBRATION_IMAGES), ("test", MIN_IMAGES))
    )
    calibration: Images = Scenes(train, size)
    judged: Images = Scenes(test, size)
    rest: Sequence[PoolItem] = ()
    if images is not None:
        pool = PoolImages.of(images)
        taken = set(even(len(pool), CALIBRATION_IMAGES))
        calibration = PoolImages([pool.items[index] for index in sorted(taken)])
        rest = [item for index, item in enumerate(pool.items) if index not in taken]
    if held_out is not None:
        judged = PoolImages.of(held_out)
        if isinstance(calibration, PoolImages):
            _check_apart(calibration, judged)
        if len(judged) < MIN_IMAGES:
            raise UsageError(
                f"--held-out has {len(judged)} images, too few to compare selections on: give at "
                f"least {MIN_IMAGES}, or leave it out"
            )
    elif len(rest) >= MIN_IMAGES:
        judged = PoolImages([rest[index] for index in even(len(rest), _MOST_HELD_OUT)])
    return calibration, judged


def even(total: int, count: int) -> Iterator[int]:
    """Indices of at most ``count`` of ``total`` images, spread evenly over them."""
    count = min(total, count)
    return (index * total // count for index in range(count))


def _check_apart(calibration: PoolImages, judged: PoolImages) -> None:
    ours = {Path(item.uri).resolve() for item in calibration.items}
    for item in judged.items:
        if Path(item.uri).resolve() in ours:
            raise UsageError(
                f"held-out image {item.uri} is among the calibration images, which would flatter "
                "the figures: give --held-out other images than --images, or leave it out to keep "
                "part of --images back"
            )
