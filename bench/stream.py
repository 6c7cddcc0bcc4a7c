"""What does a frame cost in the selector of streams, in a C program on one core?"""

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

_BUDGET, _RATE, _GAP, _NEAR = 500, 30, 2_000_000_000, 3.0
_RULES = {
    "budget": (0, -1.0),
    "gap": (_GAP, -1.0),
    "gap, near-duplicates": (_GAP, _NEAR),
}


def run(*, frames: int = 108_000, results: str | None = None) -> Report:
    """Push a made-up drive, 30 frames per second and a budget of 500, by three sets of rules.

    Builds ``bench/stream.c`` and the C library of this checkout in the cache, and runs it. Times
    are CPU time of the thread, each push by itself, with the reading of the clock in it. The
    program counts every ``malloc``, ``calloc``, ``realloc`` and aligned allocation of the process
    between the first and the last push. With ``results``, a scored trip, the rows of
    :func:`deal.bench.trip.compared` follow.

    Raises
    ------
    UsageError
        There is no checkout to build from.
    FailedCheckError
        The budget is not filled exactly, or a frame was decided early for lack of room.
    """
    program = build("build/bench_stream")
    rows: list[Row] = []
    found: dict[str, Any] = {}
    for name, (gap, near) in _RULES.items():
        found = _measure(program, frames, gap, near)
        if found["kept"] != min(_BUDGET, frames) and frames >= 108_000:
            raise FailedCheckError(f"{name}: {found['kept']} frames kept of a budget of {_BUDGET}")
        if found["overflow"]:
            raise FailedCheckError(f"{name}: {found['overflow']} frames were decided early")
        times = Spread(found["p50"], found["p25"], found["p75"], frames)
        rows += [
            Row(f"a push, {name}, median", times.scaled(1e6), "µs", "<= 2"),
            _row(f"a push, {name}, p99.9", 1e6 * found["p99.9"], "µs", "<= 50"),
            _row(f"memory, {name}", found["memory"] / 1e3, "kB"),
        ]
        if found["counts_allocations"]:
            rows.append(_row(f"allocations, {name}", found["allocations"], "calls", "<= 0"))
    rows.append(_row("reading the clock", 1e6 * found["clock"], "µs"))
    if results is not None:
        from deal.bench.trip import compared

        rows += compared(results)
    return Report(
        question="stream",
        settings={
            "frames": frames,
            "frames_per_second": _RATE,
            "budget": _BUDGET,
            "gap_s": _GAP / 1e9,
            "near_levels": _NEAR,
            "build": found["build"],
        },
        rows=tuple(rows),
    )


def _row(name: str, value: float, unit: str, target: str | None = None) -> Row:
    return Row(name, single(value), unit, target)


def _measure(program: Path, frames: int, gap: int, near: float) -> dict[str, Any]:
    core = min(os.sched_getaffinity(0))
    done = subprocess.run(
        [program, *map(str, (frames, _BUDGET, _RATE, gap, near))],
        check=True,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    values: dict[str, Any] = json.loads(done.stdout)
    return values
