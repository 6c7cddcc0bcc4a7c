"""Eight threads score at once, with a Scorer each or as sessions of one run: equal numbers."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import deal
from tests.helpers.models import metadata, save_model, scenes
from tests.helpers.runs import write_pool
from tests.torture.cases import Case, Finding

__all__ = ["threads"]

_THREADS = 8
_SIZES = ((24, 32), (33, 47), (40, 40))


@contextmanager
def threads(folder: Path) -> Iterator[Case]:
    """Batches of any images, sizes and order, on eight threads that begin and end at any time."""
    model = save_model(folder / "m.onnx", exact=True, props=metadata(), embedding=True)
    images = [image for size in _SIZES for image in scenes(4, size)]
    with deal.Scorer(model, regions=deal.Grid(8), threads=1) as scorer:
        expected = [scorer.score([image]) for image in images]

    def work(seed: int) -> str | None:
        rng = random.Random(seed)
        with deal.Scorer(model, regions=deal.Grid(8), threads=rng.choice([1, 2])) as scorer:
            for _ in range(rng.randint(1, 4)):
                chosen = [rng.randrange(len(images)) for _ in range(rng.randint(1, 5))]
                columns = scorer.score([images[index] for index in chosen])
                for row, index in enumerate(chosen):
                    for name, values in columns.items():
                        if not _equal(values[row], expected[index][name][0]):
                            return f"{name} of image {index} in a batch of {len(chosen)}"
        return None

    pool = write_pool(folder / "pool", 12)
    runs = iter(range(10**9))

    def rows_of(**options: int) -> list[dict[str, Any]]:
        output = folder / f"out{next(runs)}"
        deal.score_pool(pool, model=model, output=output, **options)
        rows = sorted(deal.read_results(output).to_pylist(), key=lambda row: row["id"])
        shutil.rmtree(output)
        return rows

    alone = repr(rows_of(sessions=1, threads=1, decode_threads=1))

    def case(rng: random.Random) -> str:
        if rng.random() < 0.3:
            options = {"sessions": _THREADS, "threads": 1, "batch_size": rng.randint(1, 3)}
            options["decode_threads"] = rng.randint(1, 4)
            if repr(rows_of(**options)) != alone:
                raise Finding(f"other rows with {options}")
            return "eight sessions of a run"
        seeds = [rng.getrandbits(32) for _ in range(_THREADS)]
        with ThreadPoolExecutor(_THREADS) as pool:
            for wrong in pool.map(work, seeds):
                if wrong is not None:
                    raise Finding(f"threads {seeds}: other numbers for {wrong}")
        return "eight scorers"

    yield case


def _equal(value: object, expected: object) -> bool:
    return repr(np.asarray(value).tolist()) == repr(np.asarray(expected).tolist())  # NaN is NaN
