"""How long does selecting from a large scored pool take, and how much memory?"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deal import select
from deal.bench.report import Report, Row
from deal.bench.timing import spread
from deal.parts import part_name, publish
from deal.pool import Shard
from deal.schema import images_schema, part_metadata, to_table

__all__ = ["run", "write_pool"]

CLASSES = 11
TARGETS = {"entropy": "<= 20", "de": "<= 90"}

_PROBE = "from deal.bench.selection import probe; probe({!r}, {!r})"


def write_pool(folder: Path, rows: int, part_rows: int) -> NDArray[np.float64]:
    """Write made-up results as `deal-score` does; the entropies of all rows, float64 [rows]."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    metadata = part_metadata({"pool": "made up"}, [f"class {number}" for number in range(CLASSES)])
    schema = images_schema().with_metadata(metadata)
    hists = rng.poisson(np.linspace(1500, 10, 240), (4096, 240)).astype(np.int32)
    entropies = rng.random(rows)
    for number, start in enumerate(range(0, rows, part_rows)):
        count = min(part_rows, rows - start)
        ids = [f"drive_{i // 3000:05}/front/frame_{i:09}.jpg" for i in range(start, start + count)]
        columns = {
            "id": ids,
            "uri": [f"/data/pool/{name}" for name in ids],
            "source_version": ["123456-1234567890123456789"] * count,
            "status": ["ok"] * count,
            "entropy_mean": entropies[start : start + count],
            "difficulty_hist_image": hists[rng.integers(0, len(hists), count)],
            "class_entropy_sum": rng.random((count, CLASSES)),
        }
        table = to_table(columns, schema, CLASSES)
        publish(table, folder / "images" / part_name(Shard(), number))
    return entropies


def run(*, rows: int = 10_000_000, part_rows: int = 8192, rounds: int = 1) -> Report:
    """Time ``select`` of the best 1 %, each in a process of its own, written to a folder.

    Raises
    ------
    RuntimeError
        A selection from a small pool is not what NumPy sorts.
    """
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        _check(Path(folder) / "small")
        write_pool(Path(folder) / "pool", rows, part_rows)
        for name, target in TARGETS.items():
            found = [_measured(folder, name) for _ in range(rounds)]
            peaks = [peak / 2**20 for _, peak in found]
            lines += [
                Row(f"select, {name}", spread([seconds for seconds, _ in found]), "s", target),
                Row(f"peak of its process, {name}", spread(peaks), "MiB", "<= 2048"),
            ]
    return Report(
        question="select",
        command=f"deal bench select --rows {rows} --part-rows {part_rows}",
        settings={"rows": rows, "part_rows": part_rows, "rounds": rounds},
        rows=tuple(lines),
    )


def _check(folder: Path) -> None:
    entropies = write_pool(folder, 2000, 300)
    best = np.argsort(-entropies)[:20]
    found = select(folder, acquisition="entropy", budget="1%")
    if [int(name[-13:-4]) for name in found.ids] != best.tolist():
        raise RuntimeError("the selection is not what NumPy sorts")


def _measured(folder: str, acquisition: str) -> tuple[float, int]:
    code = _PROBE.format(folder, acquisition)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    seconds, peak = json.loads(done.stdout)
    return float(seconds), int(peak)


def probe(folder: str, acquisition: str) -> None:
    """Print seconds of a selection and the peak resident bytes of this process."""
    start = time.perf_counter()
    select(Path(folder) / "pool", acquisition=acquisition, budget="1%").write(Path(folder) / "out")
    seconds = time.perf_counter() - start
    with open("/proc/self/status", encoding="ascii") as file:
        line = next(line for line in file if line.startswith("VmHWM:"))
    print(json.dumps([seconds, int(line.split()[1]) * 1024]))
