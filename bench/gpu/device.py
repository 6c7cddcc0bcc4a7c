"""Timing on a GPU by events, and the same calls on the CPU for a rehearsal.

Before each timed call a buffer of twice the level-2 cache is written: the call finds the cache as
cold as a network of many layers leaves it, and the launches that follow queue up meanwhile, so that
the processor's speed is not what is timed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

__all__ = ["CpuDevice", "CudaDevice", "open_device"]

_LEAST_FLUSH = 256 * 2**20


class CpuDevice:
    """The rehearsal: wall time, and no graphs."""

    name = "cpu"
    stream = None

    def seconds(self, call: Callable[[], object], calls: int = 1) -> float:
        """Seconds of a call, the mean of ``calls`` in a row."""
        start = time.perf_counter()
        for _ in range(calls):
            call()
        return (time.perf_counter() - start) / calls

    def graph(self, call: Callable[[], object]) -> Callable[[], object]:
        """The call itself: there are no graphs here."""
        return call

    def synchronize(self) -> None:
        """Nothing runs behind the caller's back."""

    def pinned(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor: there is nothing to copy it to."""
        return tensor


class CudaDevice:
    """The current GPU through PyTorch."""

    name = "cuda"

    def __init__(self) -> None:
        cache = torch.cuda.get_device_properties(0).L2_cache_size
        self._flush = torch.empty(max(2 * cache, _LEAST_FLUSH), dtype=torch.uint8, device=self.name)

    @property
    def stream(self) -> int:
        """Handle of the current stream."""
        return int(torch.cuda.current_stream().cuda_stream)

    def seconds(self, call: Callable[[], object], calls: int = 1) -> float:
        """Seconds between events around ``calls`` in a row, divided by their number."""
        event: Any = torch.cuda.Event  # its stub says nothing of its types
        start, end = event(enable_timing=True), event(enable_timing=True)
        self._flush.zero_()
        start.record()
        for _ in range(calls):
            call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3 / calls

    def graph(self, call: Callable[[], object]) -> Callable[[], object]:
        """Capture a call on a stream of its own; the result replays it on the current stream."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            call()
        replay: Callable[[], object] = graph.replay
        return replay

    def synchronize(self) -> None:
        """Wait for everything that was started."""
        torch.cuda.synchronize()

    def pinned(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy in host memory that the GPU reads without the processor's help."""
        return tensor.pin_memory()


Device = CpuDevice | CudaDevice


def open_device(name: str) -> Device:
    """``cuda`` or, for a rehearsal, ``cpu``."""
    return CudaDevice() if name == "cuda" else CpuDevice()


def interleave(
    device: Device,
    candidates: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warmup: int = 3,
    calls: int = 1,
) -> dict[str, list[float]]:
    """Seconds of a call of each candidate in each round; drifting clocks hit all alike."""
    found: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(warmup + rounds):
        for name, call in candidates.items():
            seconds = device.seconds(call, calls)
            if turn >= warmup:
                found[name].append(seconds)
    return found


def overhead(device: Device, rounds: int = 20) -> float:
    """Seconds between two events with nothing between them, the median."""
    return statistics.median(device.seconds(lambda: None) for _ in range(rounds))


def random(shape: tuple[int, ...], device: Device, dtype: Any = torch.float32) -> torch.Tensor:
    """Normal random values, never zeros: they run faster than real data."""
    return torch.randn(shape, device=device.name).to(dtype)
