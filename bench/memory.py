"""Does memory grow with the pool?"""

from __future__ import annotations

import os
import sys
import tempfile
from importlib import resources
from pathlib import Path

from deal.bench.report import Report, Row
from deal.bench.timing import Spread
from deal.synthetic import write_pool

__all__ = ["run"]


def run(*, model: str | None = None, small: int = 500, large: int = 10_000) -> Report:
    """Peak resident memory of ``deal-score`` over a small and a large pool of 96×128 images."""
    bundled = resources.files("deal") / "demo" / "model.onnx"
    with tempfile.TemporaryDirectory(prefix="deal-bench-") as name:
        folder = Path(name)
        pool = write_pool(folder / "pool", large, (96, 128), distinct=50)
        listing = folder / "small.txt"
        names = sorted(path.name for path in pool.iterdir())[:small]
        listing.write_text("".join(f"pool/{name}\n" for name in names), encoding="utf-8")
        peaks = {
            count: _peak(str(source), model or str(bundled), folder / f"out-{count}")
            for count, source in ((small, listing), (large, pool))
        }
    one = peaks[large] / peaks[small]
    return Report(
        question="memory",
        command="deal bench memory",
        settings={"small": small, "large": large, "size": [96, 128]},
        rows=(
            Row(f"peak, {small} images", _single(peaks[small] / 2**20), "MiB"),
            Row(f"peak, {large} images", _single(peaks[large] / 2**20), "MiB"),
            Row(f"{large} images / {small} images", _single(one), "ratio", "<= 1.05"),
        ),
    )


def _single(value: float) -> Spread:
    return Spread(value, value, value, 1)


def _peak(source: str, model: str, output: Path) -> int:
    """Peak resident bytes of one run in a process of its own."""
    program = str(Path(sys.executable).with_name("deal-score"))
    arguments = [program, "--model", model, "--output", str(output), "--device", "cpu", source]
    log = os.open(os.devnull, os.O_WRONLY)
    pid = os.posix_spawn(
        program,
        arguments,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)],
    )
    os.close(log)
    _, status, usage = os.wait4(pid, 0)
    if status != 0:
        raise RuntimeError(f"{' '.join(arguments)} ended with status {status}")
    return usage.ru_maxrss * 1024
