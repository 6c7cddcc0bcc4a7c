"""``distill``: train a small network to predict what a model says, for ``--screen``."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deal import _options
from deal._version import __version__
from deal.distilling.comparing import Scored, correlation, reach, scored
from deal.distilling.drawing import LEAST, drawn, read
from deal.distilling.lessons import Teacher
from deal.distilling.student import Training, build_student, taught
from deal.engines import open_engine
from deal.engines.base import parse_device
from deal.engines.torch import module_metadata
from deal.errors import ModelError, OutputError, UsageError
from deal.export.files import new_file
from deal.export.onnx import export_module
from deal.machine.cores import available_cores
from deal.machine.files import check_not_read
from deal.model.files import with_model_files
from deal.model.head import DifficultyHead
from deal.model.placing import half_size
from deal.model.spec import ModelSpec, choose_difficulty
from deal.pool.inside import Reading
from deal.pool.listing import Pool
from deal.training.difficulty import WithDifficulty
from deal.training.preparation import find_device
from deal.training.recipe import IMAGENET, check_seed

__all__ = ["DistillReport", "distill"]

_CHECKED = 16  # images on which the exported network is compared with PyTorch
_STRIDE = 4  # pixels of the small network's input per cell of the maps that are learned
_LONGEST = 2**15  # pixels of a side

Size = tuple[int, int]
Source = str | Path


@dataclass(frozen=True)
class DistillReport:
    """A small network that was trained, and how it ranks held-out images.

    Attributes
    ----------
    input_size : (H, W)
    images, held_out : int
        Images that were learned from, and others on which the rest was measured.
    unread : int
        Images that were drawn, and that could not be read or scored.
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
    epochs: int = 20,
    batch_size: int = 8,
    lr: float = 1e-3,
    seed: int = 0,
    difficulty_head: DifficultyHead | Source | None = None,
    engine: str = "ort",
    device: str = "auto",
    threads: int | None = None,
    model_options: Mapping[str, Any] | None = None,
    skip: Sequence[str] = (),
    reading: Reading | None = None,
    overwrite: bool = False,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> DistillReport:
    """Train a small network to predict what a model says, and export it to ONNX.

    It learns from images of a pool, without labels. It has the classes of the model, and a
    difficulty of its own if the model has one, so ``deal-score --screen`` can screen for every
    function with it. Source: knowledge distillation, Hinton et al., arXiv 1503.02531.

    Parameters
    ----------
    pool, skip
        As `deal.score_pool` takes them.
    reading : Reading, optional
        What is read of files that hold images.
    model, difficulty_head, engine, device, threads, model_options
        As :class:`deal.Scorer` takes them, and as the pool will be scored. The small network is
        trained on ``device``, too, and with as many threads.
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
        Of the training: AdamW, with learning rates of one cycle up to ``lr``. The last batches of
        an epoch may have up to twice as many images.
    overwrite : bool
        Replace the file.
    progress : callable of (stage, done, total), optional

    Raises
    ------
    UsageError, EngineUnavailableError
        Options do not fit, or a package, device or engine is missing.
    PoolError
        The pool has fewer than 32 images that the model can score.
    ModelError
        The model does not keep the contract, or crops images.
    OutputError
        The file is there already, or cannot be written; before any work.
    DealError
        The loss is no longer finite.
    """
    # Numbers of NumPy could not be written into the model, after all the work.
    images, epochs, batch_size, seed, lr, threads = map(
        _options.plain, (images, epochs, batch_size, seed, lr, threads)
    )
    _check(images, epochs, batch_size, lr, seed, threads)
    output = Path(output)
    _check_output(output, overwrite, (model, weights, difficulty_head))
    kind, index = parse_device(device)
    place = find_device(kind)
    if place.type == "cuda":
        place = torch.device("cuda", index)
    options = {"device": device, "threads": threads}
    of_model = {"engine": engine, "model_options": model_options}
    run = _Run(progress or (lambda stage, done, total: None))
    with _torch_threads(threads):
        opened = open_engine(model, engine, device, None, threads, model_options, batch_size=1)
        spec = opened.spec
        if spec.resize == "crop":
            raise ModelError(
                f"model {spec.path} crops images (resize crop), and a small network that sees them "
                "whole cannot imitate it: export the model with resize stretch"
            )
        small = _size(size, spec)
        head, _ = choose_difficulty(spec, difficulty_head)
        teacher = Teacher(opened, head, threads)
        student = build_student(network, spec.num_classes, small, weights, seed)
        contract: dict[str, Any] = {
            "classes": spec.classes,
            "input_size": small,
            "palette": spec.palette,
            "ignore_index": spec.ignore_index,
            "difficulty": teacher.has_difficulty,
        }
        with new_file(output, module_metadata(student, provenance={}, **contract)) as temporary:
            found = drawn(Pool(pool, skip=skip, reading=reading), images)
            with run.stage("scoring with the model", len(found.held_out)) as done:
                theirs = scored(
                    model,
                    found.held_out,
                    done,
                    difficulty_head=difficulty_head,
                    **of_model,
                    **options,
                )
            maps = math.ceil(small[0] / _STRIDE), math.ceil(small[1] / _STRIDE)
            with run.stage("teaching", len(found.learned)) as done:
                lessons = teacher.lessons(found.learned, small, maps, done)
            learned = len(lessons.images)
            training = Training(epochs, min(batch_size, learned), lr, seed)
            with run.stage("training", training.steps(learned)) as done:
                taught(student, lessons, training, place, done)
            del lessons
            provenance = {
                "model_sha256": spec.digest(),
                "network": network,
                "weights": None if weights is None else Path(weights).name,
                "images": learned,
                "epochs": epochs,
                "batch_size": batch_size,
                "lr": lr,
                "seed": seed,
            }
            with run.stage("exporting", None):
                _export(student, temporary, contract, provenance, theirs)
            with run.stage("scoring with the small network", len(theirs.items)) as done:
                on = "ort" if engine == "torch" else engine
                ours = scored(temporary, theirs.items, done, engine=on, raster="half", **options)
    names = list(ours.scores)
    return DistillReport(
        input_size=small,
        images=learned,
        held_out=len(theirs.items),
        unread=found.missing
        + (len(found.learned) - learned)
        + (len(found.held_out) - len(theirs.items)),
        correlations={n: correlation(theirs.scores[n], ours.scores[n]) for n in names},
        reach={n: reach(theirs.scores[n], ours.scores[n]) for n in names},
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


def _export(
    student: WithDifficulty,
    path: Path,
    contract: Mapping[str, Any],
    provenance: Mapping[str, Any],
    held_out: Scored,
) -> None:
    """Export the small network, and compare it with PyTorch on held-out images."""
    shown = (image for _, image in read(held_out.items[:_CHECKED]) if image is not None)
    export_module(
        student,
        path,
        **contract,
        provenance={"deal": __version__, "distilled": dict(provenance)},
        images=shown,
        source="the small network",
    )


@contextmanager
def _torch_threads(threads: int | None) -> Iterator[None]:
    """Run PyTorch with so many threads inside; one per core by default."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or available_cores())
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _size(size: Any, spec: ModelSpec) -> Size:
    """The small network's input: what is asked for, or half of the model's."""
    if size is not None:
        try:
            sides = [_options.plain(side) for side in size]
        except TypeError:
            sides = [size]
        if len(sides) != 2 or not all(_is_whole(side) and 1 <= side <= _LONGEST for side in sides):
            raise UsageError(
                f"--size needs a height and a width of 1 to {_LONGEST} pixels, not {sides}"
            )
        return sides[0], sides[1]
    if spec.input_size is None:
        raise UsageError(
            f"model {spec.path} takes images at their own size: say with --size HxW how large the "
            "small network's input is to be"
        )
    return half_size(spec.input_size)


def _check_output(output: Path, overwrite: bool, inputs: Sequence[Any]) -> None:
    if output.suffix.lower() != ".onnx":
        raise UsageError(f"--output {output} is an ONNX file: let its name end in .onnx")
    if not output.exists() or output.is_dir():
        return  # a folder is refused before anything is written
    if not overwrite:
        raise OutputError(f"{output} is there already: --overwrite replaces it")
    check_not_read(output, with_model_files(inputs))


def _check(
    images: int, epochs: int, batch_size: int, lr: float, seed: int, threads: int | None
) -> None:
    for name, value, least in (
        ("images", images, LEAST),
        ("epochs", epochs, 1),
        ("batch-size", batch_size, 2),
        ("threads", 1 if threads is None else threads, 1),
    ):
        if not _is_whole(value) or value < least:
            raise UsageError(f"--{name} must be a whole number of at least {least}, not {value!r}")
    _options.check_threads(threads=threads)
    if batch_size > images:
        raise UsageError(f"--batch-size {batch_size} is more than the --images {images}")
    is_number = isinstance(lr, (int, float)) and not isinstance(lr, bool)
    if not is_number or not np.isfinite(lr) or lr <= 0:
        raise UsageError(f"--lr must be above 0, not {lr!r}")
    check_seed("--seed", seed)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
