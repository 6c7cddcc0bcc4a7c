"""The table of an experiment, made from the plain files of its runs; needs no PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deal.errors import ResultsError
from deal.loop.config import FULL
from deal.loop.files import read_json, write_text
from deal.loop.labeled import Item, read_labeled
from deal.loop.shapes import EXPERIMENT, RUN, TIMING, full_metrics, round_metrics
from deal.selection.document import csv_text

__all__ = [
    "Experiment",
    "Round",
    "Run",
    "merge_experiments",
    "read_experiment",
    "write_table",
]

_LABELS = ("images", "clicks", "unlabeled", "pixels", "wrong")  # of `count_labels`


@dataclass(frozen=True, slots=True)
class Round:
    """One finished round.

    Attributes
    ----------
    number : int
        Number of the round, from 1.
    labeled : tuple of Item
        The items that the round was trained on.
    metrics : mapping
        ``miou``, ``accuracy``, ``iou`` by class, ``auroc`` by score; ``labels`` where regions get
        dominant labels (:func:`deal.loop.labeled.count_labels`).
    timing : mapping or None
        ``seconds`` of the training and, if deal trained, the part ``batch_seconds`` and the
        ``device``, which older folders lack. None for the first round, which several runs share,
        and if the file is missing. Timing may differ between runs that are otherwise equal.
    """

    number: int
    labeled: tuple[Item, ...]
    metrics: Mapping[str, Any]
    timing: Mapping[str, Any] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Run:
    """Finished rounds of one method and seed, in order; ``settings`` are the method's."""

    method: str
    seed: int
    settings: Mapping[str, Any]
    rounds: tuple[Round, ...]

    def picks(self) -> tuple[Item, ...]:
        """All items that were labeled after the first round."""
        first = set(self.rounds[0].labeled)
        return tuple(item for item in self.rounds[-1].labeled if item not in first)


@dataclass(frozen=True, slots=True)
class Experiment:
    """The content of a folder of runs.

    Attributes
    ----------
    folder : Path
    shared : mapping
        The settings that all runs share (:meth:`deal.loop.config.LoopConfig.shared`), and
        ``images``, ``counts``, ``classes`` and ``drives`` (by id) of the data set.
    runs : tuple of Run
    full : mapping of seed to metrics
        Metrics of full supervision, for seeds for which it was trained.
    """

    folder: Path
    shared: Mapping[str, Any]
    runs: tuple[Run, ...]
    full: Mapping[int, Mapping[str, Any]]

    @property
    def name(self) -> str:
        """That of its folder."""
        return self.folder.resolve().name

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of labeled images per round."""
        return tuple(self.shared["counts"])

    def methods(self) -> tuple[str, ...]:
        """Names, in byte order."""
        return tuple(sorted({run.method for run in self.runs}))

    def curves(self, class_name: str | None = None) -> dict[str, dict[int, list[float]]]:
        """Method → seed → mIoU of each round (or IoU of a class, NaN if the class has none)."""
        curves: dict[str, dict[int, list[float]]] = {}
        for run in self.runs:
            values = [
                each.metrics["miou"] if class_name is None else each.metrics["iou"][class_name]
                for each in run.rounds
            ]
            numbers = [float("nan") if value is None else value for value in values]
            curves.setdefault(run.method, {})[run.seed] = numbers
        return curves


def read_experiment(folder: Path) -> Experiment:
    """Read an experiment; runs without a finished round are left out.

    A folder counts only under the name that `deal loop` gave it, METHOD-seedSEED.

    Raises
    ------
    ResultsError
        It is not a folder of `deal loop`, or a file in it is damaged.
    """
    if not (folder / "experiment.json").is_file():
        raise ResultsError(f"{folder} holds no experiment.json: give a folder of `deal loop`")
    shared = read_json(folder / "experiment.json", EXPERIMENT)
    classes, known = shared["classes"], shared["drives"].keys()
    metrics = round_metrics(classes)
    runs = []
    for path in sorted(folder.glob("*/run.json")):
        values = read_json(path, RUN)
        if path.parent.name != f"{values['method']}-seed{values['seed']}":
            continue  # a copy that somebody keeps beside the run
        rounds = []
        for number, count in enumerate(shared["counts"], 1):
            each = path.parent / f"round-{number}"
            if not (each / "metrics.json").is_file():
                break
            labeled = read_labeled(each / "labeled.csv", known, count)
            timing = each / "timing.json"
            rounds.append(
                Round(
                    number,
                    labeled,
                    read_json(each / "metrics.json", metrics),
                    read_json(timing, TIMING) if timing.exists() else None,
                )
            )
        if rounds:
            runs.append(Run(values["method"], values["seed"], values["settings"], tuple(rounds)))
    runs.sort(key=lambda run: (run.method, run.seed))
    full = {
        int(seed): read_json(path, full_metrics(classes))
        for path in folder.glob(f"{FULL}-seed*/metrics.json")
        if (seed := path.parent.name.removeprefix(f"{FULL}-seed")).isdecimal()
    }
    return Experiment(folder, shared, tuple(runs), full)


def merge_experiments(experiments: Sequence[Experiment]) -> list[Experiment]:
    """Merge experiments that have the same shared configuration, in the order of the first of each.

    A merged experiment has the folder of the first one.

    Raises
    ------
    ResultsError
        Two folders hold the same method and seed, or full supervision of a seed, with other
        settings or other numbers.
    """
    merged: list[Experiment] = []
    for each in experiments:
        place = next((i for i, m in enumerate(merged) if m.shared == each.shared), None)
        if place is None:
            merged.append(each)
            continue
        known = merged[place]
        runs = {(run.method, run.seed): run for run in known.runs}
        for run in each.runs:
            if runs.setdefault((run.method, run.seed), run) != run:
                raise _different(known, each, run.method, run.seed)
        for seed in known.full.keys() & each.full.keys():
            if known.full[seed] != each.full[seed]:
                raise _different(known, each, FULL, seed)
        ordered = tuple(runs[key] for key in sorted(runs))
        merged[place] = Experiment(known.folder, known.shared, ordered, {**each.full, **known.full})
    return merged


def _different(one: Experiment, other: Experiment, name: str, seed: int) -> ResultsError:
    return ResultsError(
        f"{one.folder} and {other.folder} hold different runs of {name} with seed {seed}: report "
        "them separately"
    )


def write_table(experiment: Experiment) -> Path:
    """Write ``results.csv`` with one row per method, seed and round; return its path.

    A file that says the same is left alone, so that a folder that cannot be written has a report.
    """
    classes: Sequence[str] = experiment.shared["classes"]
    scores = ("difficulty", "entropy", "margin", "least-confidence")
    columns = ["method", "seed", "round", "labeled", "miou", "accuracy"]
    columns += [f"auroc:{name}" for name in scores] + [f"iou:{name}" for name in classes]
    counted = any("labels" in each.metrics for run in experiment.runs for each in run.rounds)
    columns += _LABELS if counted else ()
    rows = [
        [
            *(run.method, run.seed, each.number, experiment.counts[each.number - 1]),
            *(each.metrics["miou"], each.metrics["accuracy"]),
            *(each.metrics["auroc"][name] for name in scores),
            *(each.metrics["iou"][name] for name in classes),
            *(each.metrics.get("labels", {}).get(name) for name in (_LABELS if counted else ())),
        ]
        for run in experiment.runs
        for each in run.rounds
    ]
    path, text = experiment.folder / "results.csv", csv_text(columns, rows)
    try:
        if path.read_bytes() == text.encode():
            return path
    except OSError:  # missing, or what writing will name
        pass
    write_text(path, text)
    return path
