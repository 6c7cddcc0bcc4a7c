"""What does Ray cost beside ``deal-score`` on the same machine?"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import deal
from deal._demo import demo_file
from deal.bench.failed import FailedCheckError
from deal.bench.report import Report, Row
from deal.bench.timing import ratios, spread
from deal.machine.cores import available_cores
from deal.ray.cluster import connected
from deal.ray.scoring import score
from deal.synthetic.scenes import write_pool

__all__ = ["run"]

_SIZE = (360, 480)
_TARGET = ">= 0.8"
_INTERVAL = 0.2  # seconds
_TICK = os.sysconf("SC_CLK_TCK")


def run(
    *,
    pool: Sequence[str] = (),
    model: str | None = None,
    images: int = 2000,
    rounds: int = 1,
) -> Report:
    """Score a pool with ``score_pool`` and with ``deal.ray.score`` in turns, on all cores.

    CPU seconds are those of this process and of all below it, Ray's own among them; the cluster is
    started before, and how long that takes is a row of its own. It idles below ``score_pool``, too.

    Parameters
    ----------
    pool : sequence of str
        Images; by default generated street scenes of 360×480.
    model : str, optional
        By default the bundled one, which is light: what Ray costs shows most.
    images : int
        Generated scenes.
    rounds : int

    Raises
    ------
    FailedCheckError
        The rows differ.
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="deal-bench-") as name, connected(None):
        starting = time.perf_counter() - started
        folder = Path(name)
        sources = list(pool) or [str(write_pool(folder / "pool", images, _SIZE))]
        network = model or str(demo_file("model.onnx"))
        spent: dict[str, list[float]] = {"deal-score": [], "Ray": []}
        walls: dict[str, list[float]] = {"deal-score": [], "Ray": []}
        calls: dict[str, Callable[..., deal.RunReport]] = {
            "deal-score": deal.score_pool,
            "Ray": score,
        }
        for number in range(rounds):
            tables = []
            for way, call in calls.items():
                output = folder / f"{way}-{number}"
                began = time.perf_counter()
                with _CpuMeter() as meter:
                    total = call(sources, model=network, output=output, device="cpu").scored
                walls[way].append(total / (time.perf_counter() - began))
                spent[way].append(total / meter.seconds)
                tables.append(deal.read_results(output).table.sort_by("id"))
            if not tables[0].equals(tables[1]):
                raise FailedCheckError("Ray stored other rows than deal-score")
    rows = [
        *(Row(f"{way}, images per CPU second", spread(v), "images/s") for way, v in spent.items()),
        *(Row(way, spread(values), "images/s") for way, values in walls.items()),
        Row(
            "Ray / deal-score, per CPU second",
            ratios(spent["Ray"], spent["deal-score"]),
            "ratio",
            _TARGET,
        ),
        Row("start of a cluster", spread([starting]), "s"),
    ]
    return Report(
        question="ray",
        settings={
            "images": total,
            "model": "bundled" if model is None else Path(model).name,
            "cores": available_cores(),
            "rounds": rounds,
        },
        rows=tuple(rows),
    )


class _CpuMeter:
    """CPU seconds of this process and of all below it while it is open.

    A worker of Ray that has ended leaves its seconds to nobody, so all processes are looked at
    again and again, and the last that was seen of each counts.
    """

    def __init__(self) -> None:
        self._before = _ticks()
        self._seen = dict(self._before)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _CpuMeter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._seen |= _ticks()

    @property
    def seconds(self) -> float:
        """The seconds, once it is closed."""
        ticks = (count - self._before.get(key, 0) for key, count in self._seen.items())
        return sum(ticks) / _TICK

    def _watch(self) -> None:
        while not self._done.wait(_INTERVAL):
            self._seen |= _ticks()


def _ticks() -> dict[tuple[int, int], int]:
    """Ticks of this process and of all below it, by number and start."""
    parents: dict[int, int] = {}
    found: dict[int, tuple[tuple[int, int], int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(") ")[2].split()
        except OSError:  # it has just ended
            continue
        pid = int(entry.name)
        parents[pid] = int(fields[1])
        found[pid] = (pid, int(fields[19])), int(fields[11]) + int(fields[12])
    ticks: dict[tuple[int, int], int] = {}
    below = {os.getpid()}
    while below:
        ticks |= dict(found[pid] for pid in below)
        below = {pid for pid, parent in parents.items() if parent in below}
    return ticks
