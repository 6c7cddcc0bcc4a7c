"""Measure a run: seconds per stage, over many threads, and memory."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from types import TracebackType

__all__ = ["Meter", "peak_memory"]


class Meter:
    """Seconds that threads, or the parts of a device, were busy, by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._lock = Lock()

    def __call__(self, stage: str) -> _Block:
        """A context manager that counts the time of its block for ``stage``."""
        return _Block(self, stage)

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add seconds by stage that were measured elsewhere."""
        with self._lock:
            for stage, spent in seconds.items():
                self.seconds[stage] = self.seconds.get(stage, 0.0) + spent

    def busiest(self, threads: Mapping[str, int]) -> str:
        """The stage with the most busy seconds per thread; ``threads`` is not empty."""
        return max(threads, key=lambda stage: self.seconds.get(stage, 0.0) / threads[stage])


class _Block:
    """One block that is timed: a generator takes twice as long, and an image has several blocks."""

    __slots__ = ("_meter", "_stage", "_start")

    def __init__(self, meter: Meter, stage: str) -> None:
        self._meter, self._stage = meter, stage

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._meter.add({self._stage: time.perf_counter() - self._start})


def peak_memory() -> int | None:
    """Peak resident memory of this process in bytes (``VmHWM``); None except on Linux."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    peak = next((line for line in lines if line.startswith("VmHWM:")), None)
    return None if peak is None else int(peak.split()[1]) * 1024
