"""The report on experiments as JSON values, with the numbers of the tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from deal.loop.statistics import (
    Interval,
    area_under_curve,
    mean_interval,
    paired_differences,
    significant_wins,
    wins,
)
from deal.report.loop import LoopReport
from deal.report.loop_text import clipped, verdict_text

__all__ = ["document"]


def document(reports: Sequence[LoopReport]) -> dict[str, Any]:
    """Every experiment under ``experiments``; metrics are fractions.

    An interval is ``{"mean", "low", "high", "seeds"}``. ``low`` and ``high`` are null if there are
    too few seeds, and are cut to the range of the metric.
    """
    return {"experiments": [_experiment(report) for report in reports]}


def _experiment(report: LoopReport) -> dict[str, Any]:
    experiment = report.experiment
    counts, curves = experiment.counts, experiment.curves()
    last = max(len(curve) for of in curves.values() for curve in of.values())
    methods: dict[str, Any] = {}
    for method, of in curves.items():
        whole = [curve for curve in of.values() if len(curve) == len(counts)]
        rounds = ([c[i] for c in of.values() if i < len(c)] for i in range(len(counts)))
        methods[method] = {
            "curves": {str(seed): _known(curve) for seed, curve in of.items()},
            "rounds": [_interval(values) for values in rounds],
            "average": _interval([math.fsum(c[1:]) / len(c[1:]) for c in whole if c[1:]]),
            "auc": _interval([area_under_curve(counts, curve) for curve in whole]),
            "iou": {name: _class(report, method, name, last) for name in report.hard},
        }
    return {
        "name": experiment.name,
        "labeled": list(counts),
        "shared": dict(experiment.shared),
        "methods": methods,
        "full_supervision": {str(seed): each["miou"] for seed, each in experiment.full.items()},
        "differences": {base: _differences(report, base) for base in report.baselines},
        "wins": wins(curves),
        "significant_wins": significant_wins(curves),
    }


def _class(report: LoopReport, method: str, name: str, last: int) -> dict[str, Any]:
    curves = report.experiment.curves(name)[method].values()
    return _interval([curve[last - 1] for curve in curves if len(curve) >= last])


def _differences(report: LoopReport, base: str) -> dict[str, Any]:
    curves = report.experiment.curves()
    found = {}
    for method in curves:
        if method != base:
            rounds, average = paired_differences(curves, method, base)
            found[method] = {
                "rounds": [_told(each, -1.0) for each in rounds],
                "average": _told(average, -1.0),
                "verdict": verdict_text(average),
            }
    return found


def _interval(values: Sequence[float]) -> dict[str, Any]:
    return _told(mean_interval([value for value in values if not math.isnan(value)]))


def _told(value: Interval, least: float = 0.0) -> dict[str, Any]:
    low, high = clipped(value, least) or (None, None)
    mean = value.mean if value.count else None
    return {"mean": mean, "low": low, "high": high, "seeds": value.count}


def _known(curve: Sequence[float]) -> list[float | None]:
    return [None if math.isnan(value) else value for value in curve]
