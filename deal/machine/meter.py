"""Measure a run: seconds per stage, over many threads, and memory."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

__all__ = ["Meter", "peak_memory"]


class Meter:
    """Seconds that threads, or the parts of a device, were busy, by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._lock = Lock()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count the time of the block for ``stage``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add({stage: time.perf_counter() - start})

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add seconds by stage that were measured elsewhere."""
        with self._lock:
            for stage, spent in seconds.items():
                self.seconds[stage] = self.seconds.get(stage, 0.0) + spent

    def busiest(self, threads: Mapping[str, int]) -> str:
        """The stage with the most busy seconds per thread; ``threads`` is not empty."""
        return max(threads, key=lambda stage: self.seconds.get(stage, 0.0) / threads[stage])


def peak_memory() -> int | None:
    """Peak resident memory of this process in bytes (``VmHWM``); None except on Linux."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    peak = next((line for line in lines if line.startswith("VmHWM:")), None)
    return None if peak is None else int(peak.split()[1]) * 1024
