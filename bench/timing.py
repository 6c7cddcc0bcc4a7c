"""Interleaved timing: every candidate once a round, ratios within the round."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Spread", "interleave", "ratios", "single", "spread"]


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles of ``count`` values."""

    median: float
    low: float
    high: float
    count: int

    def scaled(self, factor: float) -> Spread:
        """The same values in another unit."""
        return Spread(self.median * factor, self.low * factor, self.high * factor, self.count)


def single(value: float) -> Spread:
    """One value, three times the same."""
    return Spread(value, value, value, 1)


def spread(values: Sequence[float]) -> Spread:
    """Median, first and third quartile (of one value: three times the same)."""
    if len(values) == 1:
        return single(values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high, len(values))


def interleave(
    candidates: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warmup: int = 1,
    calls: int = 1,
    pause: float = 0.0,
) -> dict[str, list[float]]:
    """Wall seconds of a call of each candidate in each round; the machine's drift hits all alike.

    ``calls`` above 1 times so many in a row, after one that does not count: a stream, not a cold
    start. ``pause`` seconds come before: idle OpenMP threads of PyTorch spin for a while after
    their work and would take cores from the next candidate.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(warmup + rounds):
        for name, candidate in candidates.items():
            time.sleep(pause)
            if calls > 1:
                candidate()
            start = time.perf_counter()
            for _ in range(calls):
                candidate()
            elapsed = (time.perf_counter() - start) / calls
            if turn >= warmup:
                seconds[name].append(elapsed)
    return seconds


def ratios(numerator: Sequence[float], denominator: Sequence[float]) -> Spread:
    """Spread of the ratios, round by round."""
    return spread([a / b for a, b in zip(numerator, denominator, strict=True)])
