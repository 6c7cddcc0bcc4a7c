"""Do statistics on a raster of half the size rank a pool as those on the network's input do?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions import acquisition_names, bind
from deal.bench.report import Report, Row
from deal.bench.timing import single
from deal.engines.onnxruntime import OnnxRuntimeEngine
from deal.errors import UsageError
from deal.export.images import image_of
from deal.export.parity import top_k_overlap
from deal.machine.meter import Meter
from deal.metrics import spearman
from deal.model.spec import choose_difficulty
from deal.pool.listing import Pool
from deal.scoring.inputs import Inputs
from deal.scoring.statistics import Kernel
from deal.types import PoolItem

__all__ = ["run"]

_RASTERS = ("input", "half")
_CORRELATION, _OVERLAP = ">= 0.999", ">= 0.98"
_TOP = 0.1

Columns = dict[str, NDArray[Any]]


def run(*, pool: Sequence[str], model: str, images: int | None = None) -> Report:
    """Score images on both rasters from the same logits, and compare each function's scores.

    Every acquisition function is compared that scores an image by itself or by totals of the pool,
    without a committee; ``focus:*`` with the first three classes. Times are CPU time of one thread.

    Parameters
    ----------
    pool : sequence of str
    model : str
    images : int, optional
        So many images, taken evenly over the pool; all by default.

    Raises
    ------
    UsageError
        There are fewer than ten images, or the model boxes or crops them.
    """
    items = [item for item in Pool(pool) if isinstance(item, PoolItem)]
    if images is not None:
        items = items[:: max(len(items) // images, 1)][:images]
    if len(items) < 1 / _TOP:
        raise UsageError(f"{len(items)} images; give 10 or more, of which a tenth is compared")
    engine = OnnxRuntimeEngine(Path(model), 1)
    head, from_graph = choose_difficulty(engine.spec, None)
    kernel = Kernel(engine.spec, head, from_graph, 1)
    inputs = {raster: Inputs(engine.spec, raster) for raster in _RASTERS}
    parts: dict[str, list[Columns]] = {raster: [] for raster in _RASTERS}
    seconds = dict.fromkeys(_RASTERS, 0.0)
    for item in items:
        image = image_of(item)
        groups = {raster: of.groups([image])[0][0] for raster, of in inputs.items()}
        output = engine.infer(groups["input"].images)
        for raster, group in groups.items():
            start = time.thread_time()
            found = kernel.statistics(output, group.size, None, group.mask, Meter())
            seconds[raster] += time.thread_time() - start
            parts[raster].append(found.images)
    full, half = (_joined(parts[raster]) for raster in _RASTERS)
    rows = [
        *_agreement(full, half, engine.spec.classes),
        *(
            Row(f"kernel, raster {raster}", single(1e3 * spent / len(items)), "CPU ms/image")
            for raster, spent in seconds.items()
        ),
        Row("kernel, half / input", single(seconds["half"] / seconds["input"]), "ratio"),
    ]
    return Report(
        question="raster",
        settings={"images": len(items), "model": Path(model).name},
        rows=tuple(rows),
    )


def _joined(parts: Sequence[Columns]) -> Columns:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _agreement(full: Columns, half: Columns, classes: Sequence[str] | None) -> list[Row]:
    """Rank correlation and shared picks of each function that the columns allow."""
    rows = []
    names = list(classes or (f"class {k}" for k in range(full["class_pixels"].shape[1])))
    for name in acquisition_names("images"):
        options: dict[str, Any] = {"focus": names[:3]} if name.startswith("focus:") else {}
        bound = bind(name, classes=names, **options)
        if bound.greedy or bound.name != name or not set(bound.columns) <= set(full):
            continue
        scores = [bound.scores(table, bound.totals(table)) for table in (full, half)]
        count = int(np.ceil(_TOP * len(scores[0])))
        shared = top_k_overlap(scores[0], scores[1], count)
        rows += [
            Row(f"{name}: Spearman", single(spearman(*scores)), "1", _CORRELATION),
            Row(f"{name}: top 10 % shared", single(shared), "1", _OVERLAP),
        ]
    return rows
