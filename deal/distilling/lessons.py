"""What a model says of images, as a smaller network is to learn it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal import _native
from deal.distilling.drawing import LEAST, read
from deal.engines.base import Engine, on_host
from deal.errors import PoolError
from deal.fitting.pixels import resize, softmax
from deal.kernel.statistics import difficulty_map
from deal.model.head import DifficultyHead
from deal.scoring.inputs import Inputs
from deal.types import EngineOutput, PoolItem

__all__ = ["Lessons", "Teacher"]

Image8 = NDArray[np.uint8]
Half = NDArray[np.float16]
Size = tuple[int, int]


@dataclass(frozen=True)
class Lessons:
    """Images and what the model says of them.

    Attributes
    ----------
    images : ndarray of uint8 [N, H, W, 3]
        At the size that the small network takes.
    probabilities : ndarray of float16 [N, C, h, w]
    difficulty : ndarray of float16 [N, h, w] or None
        In 0…1; None if the model has no difficulty.
    """

    images: Image8
    probabilities: Half
    difficulty: Half | None

    def first(self, count: int) -> Lessons:
        """The first images."""
        difficulty = None if self.difficulty is None else self.difficulty[:count]
        return Lessons(self.images[:count], self.probabilities[:count], difficulty)


class Teacher:
    """An open model that says what it makes of images.

    Parameters
    ----------
    engine : Engine
    head : DifficultyHead or None
        Instead of the graph's own difficulty.
    threads : int or None

    Attributes
    ----------
    has_difficulty : bool
    """

    def __init__(self, engine: Engine, head: DifficultyHead | None, threads: int | None) -> None:
        self._engine, self._head, self._threads = engine, head, threads
        self._inputs = Inputs(engine.spec, "input")
        self.has_difficulty = head is not None or engine.spec.difficulty_name is not None

    def lessons(
        self,
        items: Sequence[PoolItem],
        input_size: Size,
        map_size: Size,
        done: Callable[[], None],
    ) -> Lessons:
        """Run the model on images; those that cannot be read, or that it cannot take, are left out.

        Memory: ``H·W·3`` bytes of the input and ``2·(C + 1)·h·w`` bytes of the maps per image.

        Parameters
        ----------
        items : sequence of PoolItem
        input_size : (H, W)
            Of the images that are kept.
        map_size : (h, w)
            Of the maps that are kept.
        done : callable
            Called after each image.

        Raises
        ------
        PoolError
            Fewer than 32 images are left.
        """
        found, channels = len(items), self._engine.spec.num_classes
        kept = Lessons(
            np.empty((found, *input_size, 3), np.uint8),
            np.empty((found, channels, *map_size), np.float16),
            np.empty((found, *map_size), np.float16) if self.has_difficulty else None,
        )
        count = 0
        for _, image in read(items):
            looked = None if image is None else self._look(image, map_size)
            if image is not None and looked is not None:
                # As the inputs of an exported network are resized (bilinear-antialias).
                kept.images[count] = _native.resample(
                    np.ascontiguousarray(image), *input_size, False
                )
                kept.probabilities[count] = looked[0]
                if kept.difficulty is not None:
                    kept.difficulty[count] = looked[1]
                count += 1
            done()
        if count < LEAST:
            raise PoolError(
                f"the model can score {count} of the {found} images to learn from; at "
                f"least {LEAST} are needed: raise --images, so that others of the pool take the "
                "place of those that fail (deal check says what is wrong with an image)"
            )
        return kept.first(count)

    def _look(self, image: Image8, size: Size) -> tuple[Any, Any] | None:
        """Probabilities [C, h, w] and difficulty [h, w] of the part that shows the image.

        None for an image that the model cannot take, or for which it gives NaN or infinity.
        """
        groups, failures = self._inputs.groups([image])
        if failures:
            return None
        group = groups[0]
        output = on_host(self._engine.infer(np.stack(group.images)))
        given = output.logits, output.difficulty
        if not all(np.isfinite(maps).all() for maps in given if maps is not None):
            return None
        inside = group.placements[0].inside
        maps = softmax(output.logits[0].astype(np.float32))
        probabilities = _averaged(maps, inside, group.size, size)
        if not self.has_difficulty:
            return probabilities, None
        difficulty = self._difficulty(output, maps.shape[1:])
        return probabilities, _averaged(difficulty[None], inside, group.size, size)[0]

    def _difficulty(self, output: EngineOutput, size: Any) -> NDArray[np.float32]:
        """Difficulty on the grid of the logits."""
        found: NDArray[np.float32] = difficulty_map(
            output.logits.astype(np.float32),
            self._head,
            size=size,
            align_corners=self._engine.spec.align_corners,
            difficulty=None if self._head is not None else output.difficulty,
            threads=self._threads,
        )[0]
        return found


def _averaged(
    maps: NDArray[np.float32], inside: tuple[slice, slice], window: Size, size: Size
) -> NDArray[np.float32]:
    """The part of maps [K, h, w] of a window that shows the image, averaged down to ``size``."""
    rows, columns = (
        slice(
            part.start * length // whole,
            max(-(-part.stop * length // whole), part.start * length // whole + 1),
        )
        for part, length, whole in zip(inside, maps.shape[1:], window, strict=True)
    )
    part = maps[:, rows, columns]
    # Enlarged to a multiple of the size, so that each mean is of as many cells.
    fine = tuple(-(-have // want) * want for have, want in zip(part.shape[1:], size, strict=True))
    if fine != part.shape[1:]:
        part = resize(np.ascontiguousarray(part), fine, align_corners=False)
    height, width = size
    blocks = part.reshape(len(part), height, fine[0] // height, width, fine[1] // width)
    means: NDArray[np.float32] = blocks.mean(axis=(2, 4), dtype=np.float32)
    return means
