"""How fast is one image on several threads, alone and beside threads of PyTorch that spin?"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

import deal
from deal.bench.failed import FailedCheckError
from deal.bench.kernel import SHAPES, smooth_logits
from deal.bench.report import Report, Row
from deal.bench.timing import ratios, spread
from deal.machine.cores import available_cores

__all__ = ["run"]

_SHAPE = "camvid"
_CELL = 40
_CALLS = 20
_PRODUCT = 512
_PAUSE = 0.3
_TARGET = "<= 2.4"


def run(*, threads: int = 2, rounds: int = 15) -> Report:
    """Time one image with head, regions and boundary lines, of smooth and of noisy logits.

    The candidates take turns: one thread; ``threads`` threads; as many, each time right after a
    matrix product of PyTorch, whose OpenMP threads then spin for a fifth of a second on the other
    cores. So does a loop that runs a network and scores its logits, image by image.

    Raises
    ------
    FailedCheckError
        The statistics of several threads are not the bits of one.
    """
    import torch

    torch.set_num_threads(available_cores())
    classes, small, size, grid = SHAPES[_SHAPE]
    rng = np.random.default_rng(0)
    head = deal.DifficultyHead(0.8, rng.normal(size=classes), -0.4, grid)
    matrix = torch.rand(_PRODUCT, _PRODUCT)
    images = {
        "smooth": smooth_logits(classes, small, 1),
        "noisy": rng.normal(size=(1, classes, *small)).astype(np.float32) * 4,
    }

    def score(logits: NDArray[np.float32], threads: int) -> deal.Statistics:
        return deal.score_logits(
            logits, size=size, head=head, regions=deal.Grid(_CELL), threads=threads
        )

    ways: dict[str, tuple[int, bool]] = {
        "1 thread": (1, False),
        f"{threads} threads": (threads, False),
        f"{threads} threads beside PyTorch's": (threads, True),
    }
    rows = []
    for kind, logits in images.items():
        _hold(score(logits, 1), score(logits, threads))
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, (count, beside) in ways.items():
                time.sleep(_PAUSE)
                score(logits, count)
                spent = 0.0
                for _ in range(_CALLS):
                    if beside:
                        torch.mm(matrix, matrix)
                    start = time.perf_counter()
                    score(logits, count)
                    spent += time.perf_counter() - start
                seconds[name].append(spent / _CALLS)
        one, several, spinning = seconds.values()
        for name, values in seconds.items():
            target = _TARGET if kind == "smooth" and values is spinning and threads == 2 else None
            rows.append(Row(f"{kind}: {name}", spread(values).scaled(1e3), "ms/image", target))
        rows.append(Row(f"{kind}: 1 thread / {threads} threads", ratios(one, several), "ratio"))
    return Report(
        question="threads",
        settings={"shape": _SHAPE, "threads": threads, "calls": _CALLS, "rounds": rounds},
        rows=tuple(rows),
    )


def _hold(one: deal.Statistics, several: deal.Statistics) -> None:
    """Raise where threads change a bit."""
    for mine, theirs in ((one.images, several.images), (one.regions or {}, several.regions or {})):
        for name, value in mine.items():
            if np.asarray(value).tobytes() != np.asarray(theirs[name]).tobytes():
                raise FailedCheckError(f"{name} depends on the number of threads")
