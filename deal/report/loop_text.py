"""Numbers of learning curves as text: fractions in, percent out."""

from __future__ import annotations

import math
from collections.abc import Sequence

from deal.loop.statistics import SEEDS, Interval

__all__ = [
    "CLIPPED",
    "NO_INTERVAL",
    "clipped",
    "interval_text",
    "range_text",
    "signed_text",
    "verdict_text",
]

NO_INTERVAL = f"With fewer than {SEEDS} seeds there is no interval."
CLIPPED = "An interval that would leave 0…100 is cut there and given by both ends, in brackets."


def clipped(value: Interval, least: float = 0.0, most: float = 1.0) -> tuple[float, float] | None:
    """Both ends of the interval, cut to ``least`` … ``most``; None without an interval."""
    if math.isnan(value.half):
        return None
    return max(value.low, least), min(value.high, most)


def interval_text(value: Interval, least: float = 0.0, most: float = 1.0) -> str:
    """Percent with the half-width of the interval, or both ends if it is cut; ``-`` if unknown."""
    if not value.count:
        return "-"
    return f"{100 * value.mean:.1f}{_spread(value, least, most, '.1f')}"


def signed_text(value: Interval) -> str:
    """A difference in percentage points, with its sign; the interval as `interval_text`."""
    if not value.count:
        return "-"
    return f"{100 * value.mean:+.1f}{_spread(value, -1.0, 1.0, '+.1f')}"


def _spread(value: Interval, least: float, most: float, form: str) -> str:
    ends = clipped(value, least, most)
    if ends is None:
        return ""
    if ends == (value.low, value.high):
        return f" ± {100 * value.half:.1f}"
    return f" ({100 * ends[0]:{form}}…{100 * ends[1]:{form}})"


def verdict_text(average: Interval) -> str:
    """Say whether the interval lies above 0, below 0, or contains 0; ``-`` without an interval."""
    if average.count < SEEDS:
        return "-"
    return "above" if average.low > 0 else "below" if average.high < 0 else "open"


def range_text(values: Sequence[int]) -> str:
    """One number, or the first and the last."""
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"
