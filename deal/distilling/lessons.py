"""What a model says of images, as a smaller network is to learn it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal import _native
from deal.engines.base import Engine, on_host
from deal.errors import ModelError, PoolError
from deal.fitting.pixels import resize, softmax
from deal.kernel.statistics import difficulty_map
from deal.model.head import DifficultyHead
from deal.scoring.inputs import Inputs
from deal.types import EngineOutput

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
        images: Iterable[Image8],
        input_size: Size,
        map_size: Size,
        done: Callable[[], None],
    ) -> Lessons:
        """Run the model on images.

        Parameters
        ----------
        images : iterable of ndarray of uint8 [H, W, 3]
        input_size : (H, W)
            Of the images that are kept.
        map_size : (h, w)
            Of the maps that are kept.
        done : callable
            Called after each image.

        Raises
        ------
        PoolError
            There is no image, or one of a size that the model cannot take.
        ModelError
            An output is NaN or infinite.
        """
        inputs, probabilities, difficulties = [], [], []
        for image in images:
            found, difficulty = self._look(image, map_size)
            # As the inputs of an exported network are resized (bilinear-antialias).
            inputs.append(_native.resample(np.ascontiguousarray(image), *input_size, False))
            probabilities.append(found.astype(np.float16))
            if difficulty is not None:
                difficulties.append(difficulty.astype(np.float16))
            done()
        if not inputs:
            raise PoolError("none of the images to learn from can be read")
        return Lessons(
            np.stack(inputs),
            np.stack(probabilities),
            np.stack(difficulties) if difficulties else None,
        )

    def _look(self, image: Image8, size: Size) -> tuple[Any, Any]:
        """Probabilities [C, h, w] and difficulty [h, w] of the part that shows the image."""
        groups, failures = self._inputs.groups([image])
        if failures:
            raise PoolError(failures[0].message)
        group = groups[0]
        output = on_host(self._engine.infer(np.stack(group.images)))
        given = output.logits, output.difficulty
        if not all(np.isfinite(maps).all() for maps in given if maps is not None):
            raise ModelError(
                f"model {self._engine.spec.path}: its outputs are NaN or infinite; export it in a "
                "higher precision"
            )
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
