"""What the runs of ``deal loop`` decide, and what they leave open, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deal.loop.statistics import Curves, Interval, mean_interval, paired_differences, seeds_needed
from deal.report.loop_text import range_text, signed_text, verdict_text

__all__ = ["decided"]

_POINT = 0.01  # of mIoU


def decided(curves: Curves, baselines: Sequence[str], counts: Sequence[int]) -> list[str]:
    """A section on every method against each baseline; without any pair nothing.

    Parameters
    ----------
    curves : Curves
    baselines : sequence of str
        Methods that all others are compared with.
    counts : sequence of int
        Labeled images of each round.
    """
    verdicts = [line for base in baselines for line in _verdicts(curves, base)]
    if not verdicts:
        return []
    pairs = {frozenset((method, base)) for method in curves for base in baselines}
    count = sum(len(pair) == 2 for pair in pairs)
    comparisons = "1 comparison" if count == 1 else f"{count} comparisons"
    return [
        "## What these runs decide",
        "",
        "mIoU averaged from the second round on: difference in points ± half of the paired "
        f"95 % interval. {comparisons}, of which chance alone would call one in twenty "
        "above or below.",
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
            yield f"- *{verdict.title()}* {base}: {_listed(found)}."
    wide = {name: average for name, average in of("open").items() if average.half > _POINT}
    narrow = {name: average for name, average in of("open").items() if name not in wide}
    if wide:
        seeds = [seeds_needed(average, _POINT) for average in wide.values()]
        yield (
            f"- *Open* against {base}, neither better nor worse nor equal by these runs: "
            f"{_listed(wide)}. To know such a difference to ± 1 point takes about "
            f"{range_text(seeds)} seeds."
        )
    if narrow:
        half = max(average.half for average in narrow.values())
        yield (
            f"- *Open* against {base}, but already known to ± {100 * half:.1f} points: "
            f"{_listed(narrow)}."
        )
    if apart := of("-"):
        yield f"- Not compared with {base}, for want of two common seeds: {_listed(apart)}."


def _listed(averages: dict[str, Interval]) -> str:
    return ", ".join(
        f"{method} ({signed_text(average)})" if average.count else method
        for method, average in averages.items()
    )


def _gain(curves: Curves, base: str, counts: Sequence[int]) -> list[str]:
    """What labels give the baseline; where they give nothing to anybody, no pick shows any."""
    gains = {
        method: mean_interval([c[-1] - c[0] for c in of.values() if len(c) == len(counts)])
        for method, of in curves.items()
    }
    gain = gains[base]
    if gain.count < 2:
        return []
    text = f"- From {counts[0]} to {counts[-1]} labels {base} gains {signed_text(gain)} points"
    if gain.low > 0:
        return [f"{text}."]
    others = [
        f"{method} ({signed_text(found)})"
        for method, found in gains.items()
        if found.count > 1 and found.low > 0
    ]
    if others:
        return [f"{text}: not surely anything. Surely more than nothing: {', '.join(others)}."]
    return [
        f"{text}: not surely anything. Where labels themselves do not help a network, which "
        "ones were picked cannot show; it may need longer training."
    ]
