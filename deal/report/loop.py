"""Report on ``deal loop``: the gain of each acquisition function, and how certain it is."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from deal.errors import ResultsError, UsageError
from deal.loop.statistics import (
    Curves,
    area_under_curve,
    labels_needed,
    mean_interval,
    paired_differences,
    significant_wins,
    wins,
)
from deal.loop.table import Experiment, merge_experiments, read_experiment, write_table
from deal.report.loop_decided import decided
from deal.report.loop_picks import pick_sections, share
from deal.report.loop_settings import settings
from deal.report.loop_text import (
    CLIPPED,
    NO_INTERVAL,
    interval_text,
    signed_text,
    verdict_text,
)
from deal.report.markdown import name as shown
from deal.report.markdown import table
from deal.report.scenes import parse_length

__all__ = ["LoopReport", "report_loop"]

Source: TypeAlias = "str | os.PathLike[str]"

_SHARES = (0.90, 0.95)

# Classes that are hard in street scenes; those that the data have are shown.
_HARD = ("pole", "sign-symbol", "fence", "pedestrian", "bicyclist")


@dataclass(frozen=True)
class LoopReport:
    """The report on one experiment; metrics are fractions, and the text shows percent.

    Attributes
    ----------
    experiment : Experiment
    baselines : tuple of str
        Methods with which all others are compared.
    hard : tuple of str
        Classes whose IoU is shown.
    full : float or None
        mIoU with all labels, for seeds without a training under full supervision.
    scene_length : int
        Number of frames per scene.
    """

    experiment: Experiment
    baselines: tuple[str, ...]
    hard: tuple[str, ...]
    full: float | None
    scene_length: int

    def to_markdown(self) -> str:
        """Write every table under a heading."""
        experiment = self.experiment
        curves = experiment.curves()
        last = max(len(curve) for of in curves.values() for curve in of.values())
        return "\n".join(
            [
                f"# {shown(experiment.name)}: {', '.join(map(shown, experiment.methods()))}",
                "",
                *settings(experiment),
                *decided(curves, self.baselines, experiment.counts),
                "## mIoU by round",
                "",
                "Percent: mean ± half of the 95 % interval over seeds (Student's t). "
                f"{NO_INTERVAL} {CLIPPED} Differences have intervals of their own, in the pairs "
                "below. ∅ is the average from the second round on, AUC the area under the curve "
                "over its span.",
                "",
                *self._miou(curves),
                *(line for base in self.baselines for line in self._paired(curves, base)),
                *self._wins(curves),
                *self._needed(curves),
                *self._classes(last),
                *pick_sections(experiment, self.scene_length),
            ]
        )

    def _miou(self, curves: Curves) -> list[str]:
        counts = self.experiment.counts
        rows = []
        for method, of in curves.items():
            whole = [curve for curve in of.values() if len(curve) == len(counts)]
            rounds = [
                mean_interval([curve[i] for curve in of.values() if i < len(curve)])
                for i in range(len(counts))
            ]
            average = mean_interval([math.fsum(c[1:]) / len(c[1:]) for c in whole])
            area = mean_interval([area_under_curve(counts, curve) for curve in whole])
            rows.append([shown(method), *map(interval_text, (*rounds, average, area))])
        return table(["method", *map(str, counts), "∅", "AUC"], rows)

    def _paired(self, curves: Curves, base: str) -> list[str]:
        rows = []
        for method in curves:
            if method != base:
                rounds, average = paired_differences(curves, method, base)
                cells = [
                    *rounds,
                    *[mean_interval([])] * (len(self.experiment.counts) - 1 - len(rounds)),
                ]
                texts = map(signed_text, (*cells, average))
                rows.append([shown(method), *texts, str(average.count), verdict_text(average)])
        if not rows:
            return []
        heads = ["method", *map(str, self.experiment.counts[1:]), "∅", "seeds", "∅ is"]
        return [
            f"## Difference to {shown(base)}",
            "",
            f"mIoU minus that of {shown(base)} with the same seed, in points: mean ± half of the "
            f"paired 95 % interval. {NO_INTERVAL} *Open*: the interval contains 0. The intervals "
            "are not corrected for looking at several methods.",
            "",
            *table(heads, rows),
        ]

    def _wins(self, curves: Curves) -> list[str]:
        if len(curves) < 2:
            return []
        any_win, sure = wins(curves), significant_wins(curves)
        rows = [
            [
                shown(row),
                *(
                    ""
                    if row == column
                    else f"{share(any_win[row][column])} ({share(sure[row][column])})"
                    for column in curves
                ),
            ]
            for row in curves
        ]
        return [
            "## Wins",
            "",
            "Share of (seed, round) pairs in which the row's method is above the column's; in "
            "brackets, the share of rounds in which its paired 95 % interval lies above 0.",
            "",
            *table(["", *map(shown, curves)], rows),
        ]

    def _needed(self, curves: Curves) -> list[str]:
        trained = {seed: metrics["miou"] for seed, metrics in self.experiment.full.items()}
        counts = self.experiment.counts
        rows, single = [], []
        for method, of in curves.items():
            relative = [
                [value / full for value in curve]
                for seed, curve in of.items()
                if (full := trained.get(seed, self.full)) is not None
            ]
            if not relative:
                continue
            longest = max(map(len, relative))
            whole = [curve for curve in relative if len(curve) == longest]
            mean = [math.fsum(values) / len(values) for values in zip(*whole, strict=True)]
            cells = []
            for target in _SHARES:
                needed = labels_needed(counts[: len(mean)], mean, target)
                reached = sum(max(curve) >= target for curve in relative)
                text = "not reached" if needed is None else f"{needed:.0f}"
                cells.append(f"{text} ({reached} of {len(relative)})")
            last = mean_interval([c[-1] for c in relative if len(c) == len(counts)])
            rows.append([shown(method), *cells, interval_text(last, most=math.inf)])
            if len(relative) == 1:
                single.append(shown(method))
        if not rows:
            return []
        if trained:
            reference = (
                f"{interval_text(mean_interval(list(trained.values())))} % mIoU with all "
                f"{self.experiment.shared['images']} labels, {_seeds(len(trained))}; each curve is "
                "divided by that of its own seed"
            )
        else:
            reference = f"{100 * (self.full or 0):.1f} % mIoU, as given"
        heads = ["method", *(f"{target:.0%}" for target in _SHARES), "share in the last round, %"]
        return [
            "## Labels needed",
            "",
            f"Images until the mean curve reaches a share of full supervision ({reference}); "
            "between rounds, the curve is a straight line. In brackets: the seeds that reach it in "
            "any round."
            f"{_of_one_seed(single, len(rows))}",
            "",
            *table(heads, rows),
        ]

    def _classes(self, last: int) -> list[str]:
        if not self.hard:
            return []
        rows = []
        for method in self.experiment.methods():
            cells = [shown(method)]
            for name in self.hard:
                of = self.experiment.curves(name)[method].values()
                values = [c[last - 1] for c in of if len(c) >= last]
                cells.append(interval_text(mean_interval([v for v in values if not math.isnan(v)])))
            rows.append(cells)
        if full := self.experiment.full.values():
            texts = []
            for name in self.hard:
                known = [v for each in full if (v := each["iou"][name]) is not None]
                texts.append(interval_text(mean_interval(known)))
            rows.append([f"(all {self.experiment.shared['images']} labels)", *texts])
        return [
            f"## IoU by class with {self.experiment.counts[last - 1]} labels",
            "",
            *table(["method", *map(shown, self.hard)], rows),
        ]


def report_loop(
    folders: Sequence[Source],
    *,
    baselines: Sequence[str] = (),
    classes: Sequence[str] = (),
    full: float | None = None,
    scene_length: str = "300f",
) -> list[LoopReport]:
    """Read experiments, bring the ``results.csv`` of each up to date, and make reports.

    Experiments of one shared configuration (data, training, rounds) become one report.

    Parameters
    ----------
    folders : sequence of path
        Folders ``OUTPUT/EXPERIMENT`` of `deal loop`.
    baselines : sequence of str, optional
        Methods to compare with; by default ``random`` and ``entropy``, if the experiment has them.
    classes : sequence of str, optional
        Classes whose IoU is shown; by default those of pole, sign-symbol, fence, pedestrian and
        bicyclist that the data have. If the data have at most one of them, the five classes with
        the lowest IoU in the last round.
    full : float, optional
        mIoU with all labels, as a fraction, for seeds without a training under full supervision.
    scene_length : str
        Length of a scene, a stretch of a drive, in frames, such as ``300f``.

    Raises
    ------
    UsageError
        A method or class is unknown.
    ResultsError
        A folder is not one of `deal loop`, or has no finished round.
    """
    if full is not None and not 0 < full <= 1:
        raise UsageError(f"full must be a fraction such as 0.55, not {full:g}")
    baselines, classes = tuple(dict.fromkeys(baselines)), tuple(dict.fromkeys(classes))
    length = parse_length(scene_length, times=False)
    experiments = []
    for folder in folders:
        experiment = read_experiment(Path(folder))
        if not experiment.runs:
            raise ResultsError(f"{folder} has no finished round yet: continue it with `deal loop`")
        write_table(experiment)
        experiments.append(experiment)
    reports = []
    for experiment in merge_experiments(experiments):
        methods, known = experiment.methods(), experiment.shared["classes"]
        for name, names in (*((b, methods) for b in baselines), *((c, known) for c in classes)):
            if name not in names:
                raise UsageError(
                    f"{experiment.folder} has no {name!r}: there are {', '.join(names)}"
                )
        chosen = baselines or tuple(n for n in ("random", "entropy") if n in methods)
        usual = tuple(name for name in _HARD if name in known)
        hard = classes or (usual if len(usual) > 1 else _hardest(experiment))
        reports.append(LoopReport(experiment, chosen, hard, full, length.size))
    return reports


def _seeds(count: int) -> str:
    return "one seed, so the spread is unknown" if count == 1 else f"{count} seeds"


def _of_one_seed(methods: Sequence[str], rows: int) -> str:
    """Say which curves of a table come from a single seed."""
    if not methods:
        return ""
    whose = "Every curve" if len(methods) == rows else f"The curve of {' and of '.join(methods)}"
    return f" {whose} rests on {_seeds(1)}."


def _hardest(experiment: Experiment, count: int = 5) -> tuple[str, ...]:
    """Classes by their mean IoU in every run's last round, lowest first."""
    means: dict[str, float] = {}
    for name in experiment.shared["classes"]:
        values = [run.rounds[-1].metrics["iou"][name] for run in experiment.runs]
        present = [value for value in values if value is not None]
        if present:
            means[name] = math.fsum(present) / len(present)
    return tuple(sorted(means, key=lambda name: (means[name], name))[:count])
