"""Numbers of learning curves as text: fractions in, per cent out."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from deal.loop.statistics import Interval
from deal.loop.table import Experiment

__all__ = [
    "interval_text",
    "range_text",
    "rounds_text",
    "signed_text",
    "training_text",
    "verdict_text",
]


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


def training_text(training: Mapping[str, Any]) -> str:
    """How every round is trained, as ``experiment.json`` has ``[training]``."""
    if "command" in training:
        parts = training["command"]
        text = " ".join(part if part.split() == [part] else shlex.quote(part) for part in parts)
        return f"by the command `{text}` in every round"
    length = f"{training['epochs']} epochs" if training["epochs"] else f"{training['steps']} steps"
    start = f"`{training['weights']}`" if training["weights"] else "scratch"
    return (
        f"{training['network']} network, width {training['width']:g}, from {start} in every round, "
        f"{length}, batches of {training['batch_size']}, lr {training['lr']:g}, "
        f"{training['precision']}"
    )


def rounds_text(experiment: Experiment) -> str:
    """What is labeled in the rounds, and what the methods have in common."""
    rounds = experiment.shared["rounds"]
    text = (
        f"Rounds at {', '.join(map(str, experiment.counts))} labeled images; the first is one "
        "random set a seed, with one model for all methods that train alike."
    )
    if regions := rounds.get("regions"):
        images = {
            run.method
            for run in experiment.runs
            if run.settings.get("selection", {}).get("table") == "images"
        }
        text += f" Then regions, `{regions}`, of as many pixels as so many images have"
        text += f"; by {', '.join(sorted(images))} whole images." if images else "."
    if share := rounds["pool_subset"]:
        text += f" Picks from a random {share} of the rest."
    return text
