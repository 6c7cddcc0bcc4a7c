"""How long does one frame take in a C program, at its worst too?"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from deal.bench.checkout import build
from deal.bench.failed import FailedCheckError
from deal.bench.report import Report, Row
from deal.bench.timing import Spread, single

__all__ = ["run"]

_CLASSES, _CELL = 19, 32
_LOGITS, _RASTER, _GRID = (136, 240), (544, 960), (68, 120)


def run(*, frames: int = 10_000) -> Report:
    """Score frames one at a time on one core: logits → difficulty head, statistics and regions.

    Builds ``bench/latency.c`` and the C library of this checkout in the cache, and runs it. The
    program counts every ``malloc``, ``calloc``, ``realloc`` and aligned allocation of the process
    between ``deal_reserve`` and the last frame.

    Raises
    ------
    UsageError
        There is no checkout to build from.
    FailedCheckError
        A mean difficulty outside 0…1.
    """
    found = _measure(build("build/bench_latency"), frames)
    if not 0 < found["mean_difficulty"] < 1:
        raise FailedCheckError(f"mean difficulty {found['mean_difficulty']}")
    rows = [
        Row(
            "one frame, one core, median",
            Spread(found["p50"], found["p25"], found["p75"], frames).scaled(1e3),
            "ms",
        )
    ]
    rows += [_row(f"one frame, {name}", 1e3 * found[name], "ms") for name in ("p99", "p99.9")]
    if found["counts_allocations"]:
        rows.append(_row("allocations while scoring", found["allocations"], "calls", "<= 0"))
    return Report(
        question="latency",
        settings={
            "classes": _CLASSES,
            "logits": list(_LOGITS),
            "raster": list(_RASTER),
            "grid": list(_GRID),
            "cell": _CELL,
            "frames": frames,
            "threads": 1,
            "build": found["build"],
        },
        rows=tuple(rows),
    )


def _row(name: str, value: float, unit: str, target: str | None = None) -> Row:
    return Row(name, single(value), unit, target)


def _measure(program: Path, frames: int) -> dict[str, Any]:
    core = str(min(os.sched_getaffinity(0)))
    numbers = [frames, _CLASSES, *_LOGITS, *_RASTER, *_GRID, _CELL]
    done = subprocess.run(
        [program, *map(str, numbers)],
        check=True,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, {int(core)}),
    )
    values: dict[str, Any] = json.loads(done.stdout)
    return values
