"""How long the steps of a training wait for their batches."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["BatchClock"]


class BatchClock:
    """Adds up the seconds that making batches takes from the steps.

    On CUDA between events in the stream that batches and steps share: kernels run after they were
    launched, so the host's clock would tell launches, and waits for the step before, as batches.

    Parameters
    ----------
    device : torch.device
        Where the steps run.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_device = device.type == "cuda"
        self._seconds = 0.0
        self._events: list[tuple[Any, Any]] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count what happens in here."""
        if self._on_device:
            event: Any = torch.cuda.Event  # its stub says nothing of its types
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
        """The sum so far; on CUDA once all that was launched has ended."""
        milliseconds: float = sum(start.elapsed_time(end) for start, end in self._events)
        return self._seconds + milliseconds / 1000
