"""State in words which questions the runs of ``deal loop`` decide, and which stay open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deal.loop.statistics import (
    SEEDS,
    Curves,
    Interval,
    mean_interval,
    paired_differences,
    seeds_needed,
)
from deal.report.loop_text import NO_INTERVAL, range_text, signed_text, verdict_text
from deal.report.markdown import name as shown

__all__ = ["decided"]

_POINT = 0.01  # one percentage point of mIoU


def decided(curves: Curves, baselines: Sequence[str], counts: Sequence[int]) -> list[str]:
    """Write a section that compares every method with each baseline; nothing without a pair.

    Parameters
    ----------
    curves : Curves
    baselines : sequence of str
        Methods with which all others are compared.
    counts : sequence of int
        Number of labeled images per round.
    """
    verdicts = [line for base in baselines for line in _verdicts(curves, base)]
    if not verdicts:
        return []
    pairs = {frozenset((method, base)) for method in curves for base in baselines}
    count = sum(len(pair) == 2 for pair in pairs)
    comparisons = "is 1 comparison" if count == 1 else f"are {count} comparisons"
    return [
        "## What these runs decide",
        "",
        "mIoU averaged from the second round on: difference in points ± half of the paired "
        f"95 % interval. {NO_INTERVAL} There {comparisons}; chance alone would call one in "
        "twenty above or below.",
        "",
        *_gain(curves, baselines[0], counts),
        *verdicts,
        "",
    ]


def _verdicts(curves: Curves, base: str) -> Iterator[str]:
    averages = {
        method: paired_differences(curves, method, base)[1] for method in curves if method != base
    }
    verdicts = {method: verdict_text(average) for method, average in averages.items()}

    def of(verdict: str) -> dict[str, Interval]:
        return {name: averages[name] for name, found in verdicts.items() if found == verdict}

    for verdict in ("above", "below"):
        if found := of(verdict):
            yield f"- *{verdict.title()}* {shown(base)}: {_listed(found)}."
    wide = {name: average for name, average in of("open").items() if average.half > _POINT}
    narrow = {name: average for name, average in of("open").items() if name not in wide}
    if wide:
        seeds = [seeds_needed(average, _POINT) for average in wide.values()]
        yield (
            f"- *Open* against {shown(base)}: these runs do not show whether it is better, worse "
            f"or equal: {_listed(wide)}. About {range_text(seeds)} seeds would show such a "
            "difference to ± 1 point."
        )
    if narrow:
        half = max(average.half for average in narrow.values())
        yield (
            f"- *Open* against {shown(base)}, but already known to ± {100 * half:.1f} points: "
            f"{_listed(narrow)}."
        )
    if apart := of("-"):
        yield (
            f"- Not compared with {shown(base)}, because they share fewer than {SEEDS} seeds: "
            f"{_listed(apart)}."
        )


def _listed(averages: dict[str, Interval]) -> str:
    return ", ".join(
        f"{shown(method)} ({signed_text(average)})" if average.count else shown(method)
        for method, average in averages.items()
    )


def _gain(curves: Curves, base: str, counts: Sequence[int]) -> list[str]:
    """Say how much more labels improve the baseline, and whether they improve any method."""
    gains = {
        method: mean_interval([c[-1] - c[0] for c in of.values() if len(c) == len(counts)])
        for method, of in curves.items()
    }
    gain = gains[base]
    if gain.count < SEEDS:
        return []
    span = f"{counts[0]} to {counts[-1]}"
    text = f"- From {span} labels, {shown(base)} gains {signed_text(gain)} points"
    if gain.low > 0:
        return [f"{text}."]
    others = [
        f"{shown(method)} ({signed_text(found)})"
        for method, found in gains.items()
        if found.count >= SEEDS and found.low > 0
    ]
    if others:
        return [f"{text}, which may be nothing. These surely gain: {', '.join(others)}."]
    return [
        f"{text}, which may be nothing. As long as more labels do not help the network, it cannot "
        "matter which ones were picked; the network may need longer training."
    ]
