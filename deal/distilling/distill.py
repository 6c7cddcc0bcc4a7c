"""``distill``: teach a small network what a model says of a pool's images, for ``--screen``."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from deal import _options
from deal._version import __version__
from deal.distilling.comparing import correlation, reach, scored
from deal.distilling.lessons import Teacher
from deal.distilling.student import Training, build_student, taught
from deal.engines import open_engine
from deal.engines.base import parse_device
from deal.errors import ItemError, ModelError, OutputError, PoolError, UsageError
from deal.export.files import new_file
from deal.export.onnx import export_module
from deal.model.head import DifficultyHead
from deal.model.placing import half_size
from deal.model.spec import ModelSpec, choose_difficulty
from deal.pool.decode import decode
from deal.pool.listing import Pool
from deal.training.preparation import find_device
from deal.training.recipe import IMAGENET, check_seed, check_size
from deal.types import FailedItem, PoolItem

__all__ = ["DistillReport", "distill"]

_LEAST = 32
_HELD_OUT = 5  # a fifth as many images are held out as are learned from
_MOST_HELD_OUT = 200
_CHECKED = 16  # images on which the exported network is compared with PyTorch
_STRIDE = 4  # of the maps that are learned, in pixels of the small network's input

Size = tuple[int, int]
Image8 = NDArray[np.uint8]
Source = str | Path


@dataclass(frozen=True)
class DistillReport:
    """A small network that was taught, and how it orders held-out images.

    Attributes
    ----------
    input_size : (H, W)
    images, held_out : int
        Images that were learned from, and others on which the rest was measured.
    unread : int
        Images that were drawn and could not be read.
    correlations : dict of function to float
        Spearman's rank correlation of the scores of both networks.
    reach : dict of function to float
        The share of the small network's order that holds the best 5 % of the model's.
    cost : float
        Time per image as a share of the model's, decoding aside.
    seconds : dict of stage to float
    """

    input_size: Size
    images: int
    held_out: int
    unread: int
    correlations: dict[str, float]
    reach: dict[str, float]
    cost: float
    seconds: dict[str, float]


def distill(
    pool: Source | Sequence[Source],
    model: Source,
    output: Source,
    *,
    images: int = 500,
    size: Size | None = None,
    network: str = "lite0-fast",
    weights: str | None = IMAGENET,
    epochs: int = 30,
    batch_size: int = 8,
    lr: float = 1e-3,
    seed: int = 0,
    difficulty_head: DifficultyHead | Source | None = None,
    engine: str = "ort",
    device: str = "auto",
    threads: int | None = None,
    model_options: Mapping[str, Any] | None = None,
    skip: Sequence[str] = (),
    overwrite: bool = False,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> DistillReport:
    """Teach a small network what a model says of a pool's images, and export it to ONNX.

    No labels are needed. The small network has the classes of the model, and a difficulty of its
    own if the model has one, so ``deal-score --screen`` can screen for every function with it.
    Source: knowledge distillation, Hinton et al., arXiv 1503.02531.

    Parameters
    ----------
    pool, skip
        As `deal.score_pool` takes them.
    model, difficulty_head, engine, device, threads, model_options
        As :class:`deal.Scorer` takes them. The small network is trained on ``device``, too.
    output : path
        ONNX file of the small network; it appears once all is done.
    images : int
        Images to learn from, drawn evenly from the pool by a hash of their ids. A fifth as many
        others, and at most 200, are held out to measure on.
    size : (H, W), optional
        Input of the small network; half of the model's by default.
    network, weights
        As ``deal train`` takes them; without weights the encoder starts from random ones.
    epochs, batch_size, lr, seed
        Of the training: AdamW, with learning rates of one cycle up to ``lr``.
    overwrite : bool
        Replace the file.
    progress : callable of (stage, done, total), optional

    Raises
    ------
    UsageError, EngineUnavailableError
        Options do not fit, or a package, device or engine is missing.
    PoolError
        The pool has too few images that can be read.
    ModelError
        The model does not keep the contract, crops images, cannot take one, or gives NaN.
    OutputError
        The file is there already, or cannot be written; before any work.
    DealError
        The loss is no longer finite.
    """
    # Numbers of NumPy could not be written into the model, after all the work.
    images, epochs, batch_size, seed, lr = map(
        _options.plain, (images, epochs, batch_size, seed, lr)
    )
    _check(images, epochs, batch_size, lr, seed)
    check_size("--size", size)
    output = Path(output)
    if output.exists() and not overwrite:
        raise OutputError(f"{output} is there already: --overwrite replaces it")
    kind, index = parse_device(device)
    place = find_device(kind)
    if place.type == "cuda":
        place = torch.device("cuda", index)
    training = Training(epochs, batch_size, lr, seed)
    run = _Run(progress or (lambda stage, done, total: None))
    opened = open_engine(model, engine, device, None, threads, model_options, batch_size=1)
    spec = opened.spec
    if spec.resize == "crop":
        raise ModelError(
            f"model {spec.path} crops images (resize crop), and a small network that sees them "
            "whole cannot imitate it: export the model with resize stretch"
        )
    small = size or _half(spec)
    head, _ = choose_difficulty(spec, difficulty_head)
    teacher = Teacher(opened, head, threads)
    contract: dict[str, Any] = {
        "classes": spec.classes,
        "input_size": small,
        "palette": spec.palette,
        "ignore_index": spec.ignore_index,
    }
    with new_file(output, contract) as temporary:
        student = build_student(network, spec.num_classes, small, weights, seed)
        reader = _Reader(_drawn(Pool(pool, skip=skip), images))
        maps = math.ceil(small[0] / _STRIDE), math.ceil(small[1] / _STRIDE)
        with run.stage("teaching", len(reader.shown)) as done:
            lessons = teacher.lessons(reader.read(reader.shown), small, maps, done)
        if len(lessons.images) < batch_size:
            raise PoolError(
                f"only {len(lessons.images)} images could be read, fewer than --batch-size "
                f"{batch_size}: give a larger pool"
            )
        steps = epochs * max(len(lessons.images) // batch_size, 1)
        with run.stage("training", steps) as done:
            taught(student, lessons, training, place, done)
        with run.stage("exporting", None):
            export_module(
                student,
                temporary,
                **contract,
                provenance={
                    "deal": __version__,
                    "distilled": {
                        "model_sha256": spec.digest(),
                        "network": network,
                        "weights": None if weights is None else Path(weights).name,
                        "images": len(lessons.images),
                        "epochs": epochs,
                        "batch_size": batch_size,
                        "lr": lr,
                        "seed": seed,
                    },
                },
                images=reader.read(reader.held[:_CHECKED]),
                difficulty=teacher.has_difficulty,
                source="the small network",
            )
        options = {
            "engine": "ort" if engine == "torch" else engine,
            "device": device,
            "threads": threads,
        }
        with run.stage("measuring", 2 * len(reader.held)) as done:
            theirs = scored(
                model,
                reader.read(reader.held),
                done,
                **{**options, "engine": engine},
                model_options=model_options,
                difficulty_head=difficulty_head,
            )
            ours = scored(temporary, reader.read(reader.held), done, raster="half", **options)
    return DistillReport(
        input_size=small,
        images=len(lessons.images),
        held_out=len(reader.held),
        unread=reader.unread,
        correlations={
            name: correlation(theirs.scores[name], ours.scores[name]) for name in ours.scores
        },
        reach={name: reach(theirs.scores[name], ours.scores[name]) for name in ours.scores},
        cost=ours.seconds / theirs.seconds,
        seconds=run.seconds,
    )


class _Run:
    """Progress, and the time that each stage took."""

    def __init__(self, report: Callable[[str, int, int | None], None]) -> None:
        self._report = report
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Callable[[], None]]:
        """Time what runs inside; it calls what it is given after each of ``total`` pieces."""
        count, begun = itertools.count(1), time.perf_counter()
        self._report(name, 0, total)
        yield lambda: self._report(name, next(count), total)
        self.seconds[name] = time.perf_counter() - begun


class _Reader:
    """Reads the drawn images, those held out before the others, and passes over broken ones."""

    def __init__(self, items: Sequence[PoolItem]) -> None:
        count = min(len(items) // (_HELD_OUT + 1), _MOST_HELD_OUT)
        self.held, self.shown = items[:count], items[count:]
        self._broken: set[str] = set()

    @property
    def unread(self) -> int:
        """How many images could not be read."""
        return len(self._broken)

    def read(self, items: Iterable[PoolItem]) -> Iterator[Image8]:
        """Decode images, uint8 [H, W, 3]."""
        for item in items:
            try:
                yield decode(item).image
            except ItemError:
                self._broken.add(item.id)


def _drawn(pool: Pool, images: int) -> list[PoolItem]:
    """Images to learn from and to hold out, in the order of a hash of their ids."""
    count, total = images + min(images // _HELD_OUT, _MOST_HELD_OUT), pool.count()
    share = min(2 * count / max(total, 1), 1.0)  # of which half is left after sorting

    def place(name: str) -> float:
        value = blake2b(name.encode(), digest_size=8, person=b"deal distill").digest()
        return int.from_bytes(value, "little") / 2**64

    listed = pool.only(lambda name: place(name) < share)
    found = [item for item in listed if not isinstance(item, FailedItem)]
    if len(found) < _LEAST:
        raise PoolError(
            f"the pool has {len(found)} images that can be listed; a small network needs at least "
            f"{_LEAST} to learn from"
        )
    return sorted(found, key=lambda item: (place(item.id), item.id))[:count]


def _half(spec: ModelSpec) -> Size:
    """Half of the model's input, rounded up."""
    if spec.input_size is None:
        raise UsageError(
            f"model {spec.path} takes images at their own size: say with --size HxW how large the "
            "small network's input is to be"
        )
    return half_size(spec.input_size)


def _check(images: int, epochs: int, batch_size: int, lr: float, seed: int) -> None:
    for name, value, least in (
        ("images", images, _LEAST),
        ("epochs", epochs, 1),
        ("batch-size", batch_size, 2),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise UsageError(f"--{name} must be a whole number of at least {least}, not {value!r}")
    if not (isinstance(lr, (int, float)) and math.isfinite(lr) and lr > 0):
        raise UsageError(f"--lr must be above 0, not {lr!r}")
    check_seed("--seed", seed)
