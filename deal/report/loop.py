"""Experiments of ``deal loop``: what each acquisition function gains, and how sure that is."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from deal.errors import ResultsError, UsageError
from deal.loop.statistics import (
    Curves,
    Interval,
    area_under_curve,
    labels_needed,
    mean_interval,
    paired_differences,
    significant_wins,
    wins,
)
from deal.loop.table import Experiment, read_experiment, write_table
from deal.report.markdown import table

__all__ = ["LoopReport", "report_loop"]

Source: TypeAlias = "str | os.PathLike[str]"

_SHARES = (0.90, 0.95)


@dataclass(frozen=True)
class LoopReport:
    """One experiment; metrics are fractions, the text shows per cent.

    Attributes
    ----------
    experiment : Experiment
    baselines : tuple of str
        Methods that all others are compared with.
    hard : tuple of str
        Classes whose IoU is shown.
    full : float or None
        mIoU with every label, to count the labels needed for 90 and 95 % of it.
    """

    experiment: Experiment
    baselines: tuple[str, ...]
    hard: tuple[str, ...]
    full: float | None

    def to_markdown(self) -> str:
        """Every table, each under a heading."""
        experiment = self.experiment
        curves = experiment.curves()
        last = max(len(curve) for of in curves.values() for curve in of.values())
        return "\n".join(
            [
                f"# {experiment.folder.name}: {', '.join(experiment.methods())}",
                "",
                *self._settings(),
                "## mIoU by round",
                "",
                "Per cent; mean ± half of the 95 % interval over seeds (Student's t), which is not "
                "that of a difference: see below for pairs. ∅: average from the second round on. "
                "AUC: area under the curve over its span.",
                "",
                *self._miou(curves),
                *(line for base in self.baselines for line in self._paired(curves, base)),
                *self._wins(curves),
                *self._needed(curves),
                *self._classes(last),
                *self._picks(),
            ]
        )

    def _settings(self) -> list[str]:
        shared = self.experiment.shared
        data, training = shared["data"], shared["training"]
        length = (
            f"{training['epochs']} epochs" if training["epochs"] else f"{training['steps']} steps"
        )
        size = data["size"] and f"{data['size'][0]}×{data['size'][1]}"
        finished = {
            name: sum(
                len(run.rounds) == len(self.experiment.counts)
                for run in self.experiment.runs
                if run.method == name
            )
            for name in self.experiment.methods()
        }
        runs = ", ".join(f"{name} {count}" for name, count in finished.items())
        unfinished = [
            f"{run.method}-seed{run.seed}"
            for run in self.experiment.runs
            if len(run.rounds) < len(self.experiment.counts)
        ]
        lines = [
            f"- Data: {data['dataset']}, {shared['images']} training images"
            f"{f' at {size}' if size else ''}; measured on {data['evaluate']}.",
            f"- Training: {training['network']} network, width {training['width']:g}, from "
            f"{'ImageNet weights' if training['weights'] else 'scratch'} in every round, {length}, "
            f"batches of {training['batch_size']}, lr {training['lr']:g}, {training['precision']}.",
            f"- Rounds at {', '.join(map(str, self.experiment.counts))} labeled images; the first "
            "is one random set a seed, with one model that all methods share."
            + (
                f" Picks from a random {p} of the rest."
                if (p := shared["rounds"]["pool_subset"])
                else ""
            ),
            f"- Finished runs: {runs}.",
        ]
        if unfinished:
            lines.append(f"- Not finished, counted as far as they are: {', '.join(unfinished)}.")
        if max(finished.values()) < 5:
            lines.append(
                "- Few seeds: with three, an interval is 2.5 standard deviations wide each way."
            )
        return [*lines, ""]

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
            rows.append([method, *map(_interval, (*rounds, average, area))])
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
                verdict = "above" if average.low > 0 else "below" if average.high < 0 else "open"
                if average.count < 2:
                    verdict = "-"
                rows.append([method, *map(_signed, (*cells, average)), str(average.count), verdict])
        if not rows:
            return []
        heads = ["method", *map(str, self.experiment.counts[1:]), "∅", "seeds", "∅ is"]
        return [
            f"## Difference to {base}",
            "",
            f"mIoU minus that of {base} with the same seed, points; mean ± half of the paired 95 % "
            "interval. *Open*: the interval holds 0; with one seed there is none. No "
            "correction for looking at several methods.",
            "",
            *table(heads, rows),
        ]

    def _wins(self, curves: Curves) -> list[str]:
        if len(curves) < 2:
            return []
        any_win, sure = wins(curves), significant_wins(curves)
        rows = [
            [
                row,
                *(
                    ""
                    if row == column
                    else f"{_share(any_win[row][column])} ({_share(sure[row][column])})"
                    for column in curves
                ),
            ]
            for row in curves
        ]
        return [
            "## Wins",
            "",
            "Share of (seed, round) pairs in which the row's method is above the column's; in "
            "brackets the share of rounds in which its paired 95 % interval lies above 0.",
            "",
            *table(["", *curves], rows),
        ]

    def _needed(self, curves: Curves) -> list[str]:
        if self.full is None:
            return []
        counts = self.experiment.counts
        rows = []
        for method, of in curves.items():
            whole = [curve for curve in of.values() if curve]
            mean = [
                math.fsum(c[i] for c in whole) / len(whole)
                for i in range(min(len(curve) for curve in whole))
            ]
            needed = [labels_needed(counts[: len(mean)], mean, s * self.full) for s in _SHARES]
            rows.append([method, *("not reached" if n is None else f"{n:.0f}" for n in needed)])
        heads = ["method", *(f"{share:.0%}" for share in _SHARES)]
        return [
            "## Labels needed",
            "",
            f"Images until the mean curve reaches a share of full supervision "
            f"({100 * self.full:.1f} % mIoU), between rounds by a straight line.",
            "",
            *table(heads, rows),
        ]

    def _classes(self, last: int) -> list[str]:
        if not self.hard:
            return []
        rows = []
        for method in self.experiment.methods():
            cells = [method]
            for name in self.hard:
                of = self.experiment.curves(name)[method].values()
                values = [c[last - 1] for c in of if len(c) >= last]
                cells.append(_interval(mean_interval([v for v in values if not math.isnan(v)])))
            rows.append(cells)
        return [
            f"## IoU by class with {self.experiment.counts[last - 1]} labels",
            "",
            *table(["method", *self.hard], rows),
        ]

    def _picks(self) -> list[str]:
        by_method: dict[str, dict[int, frozenset[str]]] = {}
        for run in self.experiment.runs:
            if len(run.rounds) == len(self.experiment.counts):
                by_method.setdefault(run.method, {})[run.seed] = frozenset(run.picks())
        if not by_method:
            return []
        overlap = [
            [
                row,
                *(
                    "" if row == column else _share(_overlap(mine, theirs))
                    for column, theirs in by_method.items()
                ),
            ]
            for row, mine in by_method.items()
        ]
        lines = [
            "## Overlap of picks",
            "",
            "Share of the images picked in all rounds that two methods share, by seed and then "
            "averaged.",
            "",
            *table(["", *by_method], overlap),
        ]
        drives: Mapping[str, str | None] = self.experiment.shared["drives"]
        if all(drives.values()) and drives:
            names = sorted({str(name) for name in drives.values()})
            rows = [[method, *_by_drive(of, drives, names)] for method, of in by_method.items()]
            everything = [sum(d == name for d in drives.values()) / len(drives) for name in names]
            rows.append(["(whole pool)", "", *map(_share, everything)])
            lines += [
                "## Drives among the picks",
                "",
                "How many drives a seed's picks come from, on average; then each drive's share.",
                "",
                *table(["method", "drives", *names], rows),
            ]
        return lines


def report_loop(
    folders: Sequence[Source],
    *,
    baselines: Sequence[str] = (),
    classes: Sequence[str] = (),
    full: float | None = None,
) -> list[LoopReport]:
    """Read experiments, write each one's ``results.csv`` anew, and report.

    Parameters
    ----------
    folders : sequence of path
        Each ``OUTPUT/EXPERIMENT`` of `deal loop`.
    baselines : sequence of str, optional
        Methods to compare with; ``random`` and ``entropy`` by default, where they are.
    classes : sequence of str, optional
        Classes whose IoU is shown; by default the five lowest in the last round.
    full : float, optional
        mIoU with every label, as a fraction.

    Raises
    ------
    UsageError
        An unknown method or class.
    ResultsError
        A folder is none of `deal loop`, or has no finished round.
    """
    if full is not None and not 0 < full <= 1:
        raise UsageError(f"full is a fraction such as 0.55, not {full:g}")
    reports = []
    for folder in folders:
        experiment = read_experiment(Path(folder))
        if not experiment.runs:
            raise ResultsError(f"{folder} has no finished round yet: let `deal loop` go on")
        write_table(experiment)
        methods, known = experiment.methods(), experiment.shared["classes"]
        for name, names in (*((b, methods) for b in baselines), *((c, known) for c in classes)):
            if name not in names:
                raise UsageError(f"{folder} has no {name!r}: there are {', '.join(names)}")
        chosen = tuple(baselines) or tuple(n for n in ("random", "entropy") if n in methods)
        hard = tuple(classes) or _hardest(experiment)
        reports.append(LoopReport(experiment, chosen, hard, full))
    return reports


def _hardest(experiment: Experiment, count: int = 5) -> tuple[str, ...]:
    """Classes by their mean IoU in every run's last round, lowest first."""
    means: dict[str, float] = {}
    for name in experiment.shared["classes"]:
        values = [run.rounds[-1].metrics["iou"][name] for run in experiment.runs]
        present = [value for value in values if value is not None]
        if present:
            means[name] = math.fsum(present) / len(present)
    return tuple(sorted(means, key=lambda name: (means[name], name))[:count])


def _overlap(
    mine: Mapping[int, frozenset[str]], theirs: Mapping[int, frozenset[str]]
) -> float | None:
    seeds = sorted(mine.keys() & theirs.keys())
    shares = [len(mine[s] & theirs[s]) / max(1, len(mine[s])) for s in seeds]
    return math.fsum(shares) / len(shares) if shares else None


def _by_drive(
    picks: Mapping[int, frozenset[str]], drives: Mapping[str, str | None], names: Sequence[str]
) -> list[str]:
    distinct = [len({drives[item] for item in items}) for items in picks.values()]
    every = [drives[item] for items in picks.values() for item in items]
    shares = [every.count(name) / max(1, len(every)) for name in names]
    return [f"{math.fsum(distinct) / len(distinct):.1f}", *map(_share, shares)]


def _interval(value: Interval) -> str:
    if not value.count:
        return "-"
    mean = f"{100 * value.mean:.1f}"
    return mean if math.isnan(value.half) else f"{mean} ± {100 * value.half:.1f}"


def _signed(value: Interval) -> str:
    if not value.count:
        return "-"
    mean = f"{100 * value.mean:+.1f}"
    return mean if math.isnan(value.half) else f"{mean} ± {100 * value.half:.1f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"
