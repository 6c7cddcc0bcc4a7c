"""Measure how long the steps of a training wait for their batches."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["BatchClock"]


class BatchClock:
    """Adds up the seconds that making batches takes.

    On CUDA it measures between events in the stream that batches and steps share. Kernels run after
    their launch, so the clock of the host would count launches, and waiting for the previous step,
    as time for batches.

    Parameters
    ----------
    device : torch.device
        The device on which the steps run.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_device = device.type == "cuda"
        self._seconds = 0.0
        self._events: list[tuple[Any, Any]] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count what happens in here."""
        if self._on_device:
            event: Any = torch.cuda.Event  # the stub has no types
            start, end = event(enable_timing=True), event(enable_timing=True)
            start.record()
            yield
            end.record()
            self._events.append((start, end))
        else:
            started = time.perf_counter()
            yield
            self._seconds += time.perf_counter() - started

    def seconds(self) -> float:
        """The sum so far; on CUDA, waits until all launched work has ended."""
        milliseconds: float = sum(start.elapsed_time(end) for start, end in self._events)
        return self._seconds + milliseconds / 1000
