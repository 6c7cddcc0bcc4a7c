"""Numbers of learning curves as text: fractions in, per cent out."""

from __future__ import annotations

import math
from collections.abc import Sequence

from deal.loop.statistics import Interval

__all__ = ["interval_text", "range_text", "signed_text", "verdict_text"]


def interval_text(value: Interval) -> str:
    """Per cent with the half width of the interval; - for none."""
    if not value.count:
        return "-"
    mean = f"{100 * value.mean:.1f}"
    return mean if math.isnan(value.half) else f"{mean} ± {100 * value.half:.1f}"


def verdict_text(average: Interval) -> str:
    """Whether the interval lies above 0, below it, or says neither."""
    if average.count < 2:
        return "-"
    return "above" if average.low > 0 else "below" if average.high < 0 else "open"


def range_text(values: Sequence[int]) -> str:
    """One number, or the first and the last."""
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"


def signed_text(value: Interval) -> str:
    """A difference in per cent points, with its sign, and the half width."""
    if not value.count:
        return "-"
    mean = f"{100 * value.mean:+.1f}"
    return mean if math.isnan(value.half) else f"{mean} ± {100 * value.half:.1f}"
