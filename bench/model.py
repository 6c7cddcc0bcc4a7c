"""How long does an image take with a model of one's own, stage by stage, and at its worst?"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal.bench.child import run_child
from deal.bench.environment import environment
from deal.engines.onnxruntime import OnnxRuntimeEngine
from deal.errors import ModelError, UsageError
from deal.export.images import PoolImages, image_of
from deal.machine.cores import available_cores
from deal.machine.meter import Meter
from deal.model.spec import choose_difficulty
from deal.pool.locator import locate
from deal.scoring.inputs import Inputs
from deal.scoring.statistics import Kernel
from deal.synthetic.scenes import write_pool
from deal.types import PoolItem

__all__ = ["STAGES", "ModelReport", "Percentiles", "Variant", "run", "score_some"]

STAGES = ("decode", "preparation", "network", "kernel", "end to end")

_SIZE = (360, 480)  # of scenes, for models that take any
_SCENES, _LEAST = 16, 32  # scenes have no fewer rows and columns
_MEMORY_IMAGES = 3

Progress = Callable[[str, int, int | None], None]
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds that one stage takes for an image: half, 90 % and 99 % take no longer."""

    model: str
    threads: int
    stage: str
    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True)
class Variant:
    """A model file.

    Attributes
    ----------
    model : str
        Name of the file.
    precision : str or None
        As it records; None: not recorded.
    input_size : (H, W)
        Of the first image as the network gets it.
    megabytes : float
        Of the file and its external weights, 10⁶ bytes.
    peak_memory : float
        MiB resident at most in a process of its own that scores three images with all threads.
    agreement : float
        Share of the cells of the logits grid of which the first model predicts the same class, over
        all images; NaN where the grids differ.
    """

    model: str
    precision: str | None
    input_size: Size
    megabytes: float
    peak_memory: float
    agreement: float


@dataclass(frozen=True, slots=True)
class ModelReport:
    """What was measured, with its settings and the environment.

    ``command`` measures it again; it is empty until the command line fills it in.
    """

    settings: Mapping[str, Any]
    variants: tuple[Variant, ...]
    rows: tuple[Percentiles, ...]
    question: str = "model"
    command: str = ""
    environment: Mapping[str, Any] = field(default_factory=environment)

    def to_dict(self) -> dict[str, Any]:
        """JSON values; an agreement that there is not is null."""
        document = asdict(self)
        for variant in document["variants"]:
            if np.isnan(variant["agreement"]):
                variant["agreement"] = None
        return document


def run(
    model: str | Path,
    *,
    also: Sequence[str | Path] = (),
    images: str | None = None,
    size: Size | None = None,
    frames: int = 100,
    model_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> ModelReport:
    """Score images one at a time on the CPU, with one thread and with all, by ONNX Runtime.

    Models and numbers of threads take turns image by image, so that what else the machine does hits
    all alike. ``preparation`` is resizing and what the network's input needs; decoding takes one
    thread always.

    Parameters
    ----------
    model, also : path
        ONNX files of the contract, such as the same network in several precisions.
    images : str, optional
        Pool of images, the first ``frames`` of which are taken in turn; by default street scenes of
        the models' size, as JPEG.
    size : (H, W), optional
        Input size of models that take several.
    frames : int
        Images that are timed, after one that is not.
    model_options : mapping, optional
        Keys of the contract that the files lack.
    progress : callable of (stage, done, total), optional

    Raises
    ------
    ModelError
        A model does not keep the contract, cannot be run, or gives NaN or infinite logits.
    UsageError
        Two models have one name, or an image does not fit.
    PoolError
        Images cannot be read.
    """
    files = [Path(model), *map(Path, also)]
    names = _names(files)
    options = {**(model_options or {}), **({} if size is None else {"input_size": list(size)})}
    report = progress or (lambda stage, done, total: None)
    threads = sorted({1, available_cores()})
    lines = [
        _Line(name, file, count, options)
        for name, file in zip(names, files, strict=True)
        for count in threads
    ]
    with tempfile.TemporaryDirectory(prefix="deal-bench-") as folder:
        h, w = size or lines[0].spec.input_size or _SIZE
        drawn = max(h, _LEAST), max(w, _LEAST)
        pool = images or str(write_pool(Path(folder) / "pool", _SCENES, drawn))
        items = PoolImages.of(pool).items[:frames]
        # Before the clock runs: memory grows, kernels are chosen, and what cannot work says so.
        agreed = np.zeros((len(lines), 2))
        _round(lines, items[0], [])
        seconds: list[list[dict[str, float]]] = [[] for _ in lines]
        for count in range(frames):
            classes = _round(lines, items[count % len(items)], seconds)
            for row, found in enumerate(classes):
                same = found.shape == classes[0].shape
                agreed[row] += ((found == classes[0]).sum(), found.size) if same else np.nan
            report("scoring", count + 1, frames)
        shapes = [line.input_size for line in lines]
        peaks = []
        for count, file in enumerate(files, start=1):
            peaks.append(_peak(file, options, items, threads[-1]))
            report("memory", count, len(files))
    variants = tuple(
        Variant(
            name,
            lines[place].spec.precision,
            shapes[place],
            _bytes(lines[place]) / 1e6,
            peak / 2**20,
            float(agreed[place, 0] / agreed[place, 1]),
        )
        for name, place, peak in zip(names, range(0, len(lines), len(threads)), peaks, strict=True)
    )
    rows = tuple(
        Percentiles(
            line.name,
            line.threads,
            stage,
            *(1e3 * float(p) for p in np.percentile([s[stage] for s in taken], (50, 90, 99))),
        )
        for line, taken in zip(lines, seconds, strict=True)
        for stage in STAGES
    )
    settings = {
        "models": list(names),
        "images": None if images is None else Path(images).name,
        "distinct_images": len(items),
        "size": None if size is None else list(size),
        "frames": frames,
        "threads": threads,
        "model_options": dict(model_options or {}),
    }
    return ModelReport(settings, variants, rows)


def score_some(model: str, options: str, threads: int, *uris: str) -> None:
    """Score images with a model, for :func:`run` to see how much memory it takes."""
    line = _Line("", Path(model), threads, json.loads(options))
    for uri in uris:
        line.score(PoolItem(uri, uri, locate(uri), source_version=""))


class _Timed(OnnxRuntimeEngine):
    """Knows how long it took to turn images into what the network takes."""

    preparing = 0.0

    def _prepared(self, images: Any) -> NDArray[Any]:
        begin = time.perf_counter()
        batch = super()._prepared(images)
        self.preparing = time.perf_counter() - begin
        return batch


class _Line:
    """One model with so many threads, image → statistics."""

    def __init__(self, name: str, file: Path, threads: int, options: Mapping[str, Any]) -> None:
        self.name, self.threads = name, threads
        self._engine = _Timed(file, threads, options)
        self.spec = self._engine.spec
        self._inputs = Inputs(self.spec, "input")
        head, from_graph = choose_difficulty(self.spec, None)
        self._kernel = Kernel(self.spec, head, from_graph, threads)
        self.input_size: Size = (0, 0)

    def score(self, item: PoolItem) -> tuple[dict[str, float], NDArray[np.intp]]:
        """Seconds by stage, and the predicted classes [h, w]."""
        times = [time.perf_counter()]
        image = image_of(item)
        times.append(time.perf_counter())
        groups, failures = self._inputs.groups([image])
        for failure in failures.values():
            raise UsageError(f"image {item.uri}: {failure.message}")
        group = groups[0]
        times.append(time.perf_counter())
        output = self._engine.infer(group.images)
        times.append(time.perf_counter())
        self._kernel.statistics(output, group.size, None, group.mask, Meter())
        times.append(time.perf_counter())
        if not np.isfinite(output.logits).all():
            path = self.spec.path
            raise ModelError(f"model {path} gives NaN or infinite logits: see deal check {path}")
        self.input_size = group.images[0].shape[0], group.images[0].shape[1]
        decoding, resizing, network, kernel = np.diff(times).tolist()
        preparing = self._engine.preparing
        taken = (decoding, resizing + preparing, network - preparing, kernel, times[-1] - times[0])
        return dict(zip(STAGES, taken, strict=True)), output.logits[0].argmax(axis=0)


def _round(
    lines: Sequence[_Line], item: PoolItem, seconds: Sequence[list[dict[str, float]]]
) -> list[NDArray[np.intp]]:
    """Let every line score an image; their classes."""
    found = [line.score(item) for line in lines]
    for taken, (times, _) in zip(seconds, found, strict=False):
        taken.append(times)
    return [classes for _, classes in found]


def _names(files: Sequence[Path]) -> list[str]:
    names = [file.name for file in files]
    if len({*names}) < len(names):  # told apart by their folders
        names = [str(file) for file in files]
    if len({*names}) < len(names):
        raise UsageError("a model is given twice: give each file once")
    return names


def _bytes(line: _Line) -> int:
    path = line.spec.path
    files = [path, *(path.parent / name for name in line.spec.external)]
    return sum(file.stat().st_size for file in files)


def _peak(file: Path, options: Mapping[str, Any], items: Sequence[PoolItem], threads: int) -> int:
    code = (
        "import sys; from deal.bench.model import score_some; "
        "score_some(sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:])"
    )
    uris = [item.uri for item in items[:_MEMORY_IMAGES]]
    arguments = [str(file), json.dumps(options), str(threads), *uris]
    return run_child([sys.executable, "-c", code, *arguments]).peak
