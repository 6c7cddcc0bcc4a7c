"""Run a network on labeled images: logits, difficulty maps, and the time they took."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal.engines.base import Engine, on_host
from deal.errors import ModelError, PoolError
from deal.fitting.images import LabeledImage, read
from deal.kernel.statistics import difficulty_map
from deal.model.head import DifficultyHead
from deal.scoring.inputs import Inputs
from deal.types import EngineOutput

__all__ = ["Runner"]

Size = tuple[int, int]


class Runner:
    """An open network, and the time that each stage has taken.

    Attributes
    ----------
    engine : Engine
    void : int
        Label of void pixels.
    seconds : dict of stage to float
    """

    def __init__(
        self, engine: Engine, void: int, threads: int | None, stages: Sequence[str]
    ) -> None:
        self.engine = engine
        self.void = void
        self.threads = threads
        self.seconds = dict.fromkeys(("reading", "inference", *stages), 0.0)
        self._inputs = Inputs(engine.spec, "image", None)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add what runs inside to ``seconds``."""
        begin = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - begin

    def infer(self, image: LabeledImage) -> tuple[EngineOutput, NDArray[np.uint8]]:
        """Run the network on one image: float32 logits [1, C, h, w], and the label uint8 [H, W].

        Raises the errors of `look`.
        """
        output, label, _ = self.look(image)
        return output, label

    def look(
        self, image: LabeledImage
    ) -> tuple[EngineOutput, NDArray[np.uint8], NDArray[np.uint8]]:
        """Return what `infer` does, and the image uint8 [H, W, 3].

        Raises
        ------
        PoolError
            Image or label cannot be read, or do not fit each other or the model.
        ModelError
            An output is NaN or infinite.
        """
        with self.timed("reading"):
            rgb, label = read(image, self.engine.spec.num_classes, self.void)
            groups, failures = self._inputs.groups([rgb])
            if failures:
                raise PoolError(f"image {image.files.image}: {failures[0].message}")
        with self.timed("inference"):
            output = on_host(self.engine.infer(np.stack(groups[0].images)))
        logits = output.logits.astype(np.float32)
        bad = int((~np.isfinite(logits)).sum())
        if output.difficulty is not None:
            bad += int((~np.isfinite(output.difficulty)).sum())
        if bad:
            raise ModelError(
                f"image {image.files.image}: {bad} of the network's outputs are NaN or infinite; "
                "leave the image out, or export the model in a higher precision"
            )
        return EngineOutput(logits, output.difficulty), label, rgb

    def difficulty_map(
        self, logits: Any, head: DifficultyHead | None, grid: Any, size: Size
    ) -> NDArray[np.float32]:
        """Difficulty [H, W] of one image by a head, or by ``grid`` (before the sigmoid)."""
        found: NDArray[np.float32] = difficulty_map(
            logits,
            head,
            size=size,
            align_corners=self.engine.spec.align_corners,
            difficulty=grid,
            threads=self.threads,
        )[0]
        return found
