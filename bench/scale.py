"""Does ranking a scored pool of millions stay a matter of seconds, within little memory?"""

from __future__ import annotations

import filecmp
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyarrow import csv

from deal.bench.child import Child, deal_program, run_child
from deal.bench.duck import peer
from deal.bench.failed import FailedCheckError
from deal.bench.made_up import CLASSES, PART_ROWS, write_narrow, write_results
from deal.bench.report import Report, Row
from deal.bench.timing import interleave, ratios, spread
from deal.selection.budget import parse_budget

__all__ = ["FUNCTIONS", "run"]

FUNCTIONS = {"ds": 20, "entropy": 20, "de": 90}
"""Acquisition function → seconds it may take."""
_COLUMNS = {"ds": "difficulty_mean", "entropy": "entropy_mean"}
_DRAWN = ("--stochastic", "power")
_MEMORY, _MOST_ROWS = 1.0, 10_000_000  # GB, for so many rows
_TIMES_DUCKDB = 1.5
_TOLERANCE = 1e-12  # of scores
# Standard deviations that the mean of drawn scores may be off what NumPy expects.
_DEVIATIONS = 5


def run(
    *,
    rows: int = 10_000_000,
    part_rows: int = PART_ROWS,
    acquisition: tuple[str, ...] = ("ds", "de"),
    budget: str = "1%",
    rounds: int = 2,
    narrow: bool = False,
    keep: str | None = None,
) -> Report:
    """Time ``deal select`` as a process over made-up results, in parts as ``deal-score`` writes.

    Rows are taken by each function, drawn by the first (``--stochastic power``), and taken by the
    first and spread, as is the default. If DuckDB is installed and the first function is a column,
    DuckDB finds the same rows beside: once their ids and scores, as ``deal select`` without
    ``--output`` does, and once with the columns that ``selection.csv`` is made of.

    Parameters
    ----------
    rows, part_rows : int
        Images in all, and in the first Parquet files; later ones have more, as `deal-score` writes.
    acquisition : tuple of str
        Of `FUNCTIONS`.
    budget : str
    rounds : int
        Of all functions in turn.
    narrow : bool
        Rows have the columns that ``ds`` needs alone, parts have all ``part_rows``, and only ``ds``
        is timed: for pools that do not fit on the disk otherwise.
    keep : str, optional
        Folder for the results, used again if it holds them; a temporary one by default.

    Raises
    ------
    FailedCheckError
        A selection is not the one that NumPy sorts out of the same scores, or not DuckDB's; a drawn
        one repeats a row, has another score for it, has a mean score that no such draw has, or
        comes out otherwise when it is drawn again.
    """
    acquisition = ("ds",) if narrow else acquisition
    first = acquisition[0]
    with _folder(keep) as folder:
        results = folder / f"{'narrow' if narrow else 'scored'}-{rows}-{part_rows}"
        if not (results / "done").exists():
            (write_narrow if narrow else write_results)(results, rows, part_rows)
            (results / "done").touch()
        every = [deal_program("deal"), "select", str(results), "--budget", budget, "--top", "1"]
        select = [*every, "--spread", "off"]
        commands = {f"{first}, only printed": [*select, "--acquisition", first]}
        for name in acquisition:
            written = ["--output", str(folder / f"selection-{name}")]
            commands[name] = [*select, "--acquisition", name, *written]
        drawn, again, wide = (folder / f"selection-{name}" for name in ("drawn", "again", "spread"))
        draw = [*select, "--acquisition", first, *_DRAWN, "--output"]
        if not narrow:
            commands[" ".join([first, *_DRAWN])] = [*draw, str(drawn)]
            spread_out = ["--acquisition", first, "--output", str(wide)]
            commands[f"{first} --spread auto"] = [*every, *spread_out]
        duck = {}
        if first in _COLUMNS and find_spec("duckdb"):
            picks = int(parse_budget(budget).resolve(rows))
            for label, columns in {
                "ids": (),
                "as written": ("uri", "class_difficulty_sum"),
            }.items():
                if not (narrow and columns):
                    output = folder / f"duckdb-{len(columns)}.csv"
                    duck[label] = peer(results, _COLUMNS[first], columns, picks, output)
        every_command = commands | {f"DuckDB, {label}": call for label, call in duck.items()}
        found: dict[str, list[Child]] = {label: [] for label in every_command}
        calls = {
            label: lambda label=label, command=command: found[label].append(run_child(command))
            for label, command in every_command.items()
        }
        interleave(calls, rounds=rounds, warmup=0)
        for name in acquisition:
            _check(folder / f"selection-{name}", name, results)
        if duck:
            _check_same(folder / f"selection-{first}" / "selection.csv", folder / "duckdb-0.csv")
        if not narrow:
            _check_spread(wide, folder / f"selection-{first}", first, results)
            run_child([*draw, str(again)])
            _check_drawn(drawn, again, first, results)
    report: list[Row] = []
    for label in commands:
        seconds = spread([child.seconds for child in found[label]])
        target = f"<= {FUNCTIONS[label]}" if label in FUNCTIONS and not narrow else None
        report.append(Row(f"deal select {label}", seconds, "s", target))
        cpu = spread([child.cpu for child in found[label]])
        report.append(Row(f"deal select {label}, CPU", cpu, "s"))
        peaks = spread([child.peak / 1e9 for child in found[label]])
        target = f"<= {_MEMORY:g}" if rows <= _MOST_ROWS else None
        report.append(Row(f"deal select {label}, peak memory", peaks, "GB", target))
    for (label, ours), target in zip(
        {"ids": f"{first}, only printed", "as written": first}.items(),
        (f"<= {_TIMES_DUCKDB}", None),
        strict=True,
    ):
        if label in duck:
            theirs = [child.cpu for child in found[f"DuckDB, {label}"]]
            times = ratios([child.cpu for child in found[ours]], theirs)
            report.append(Row(f"DuckDB, {label}, CPU", spread(theirs), "s"))
            report.append(Row(f"deal select {ours} / DuckDB, CPU", times, "ratio", target))
    notes = () if duck else ("DuckDB was not timed: pip install duckdb, and let ds be the first",)
    return Report(
        question="scale",
        settings={
            "rows": rows,
            "part_rows": part_rows,
            "budget": budget,
            "classes": CLASSES,
            "narrow": narrow,
            "rounds": rounds,
        },
        rows=tuple(report),
        notes=notes,
    )


@contextmanager
def _folder(keep: str | None) -> Iterator[Path]:
    if keep is not None:
        Path(keep).mkdir(parents=True, exist_ok=True)
        yield Path(keep)
        return
    with tempfile.TemporaryDirectory(prefix="deal-bench-") as name:
        yield Path(name)


def _check(folder: Path, name: str, results: Path) -> None:
    """Hold a written selection to the scores that NumPy sorts."""
    rows, found, expected = _selected(folder, name, results)
    best = np.sort(expected)[::-1][: len(rows)]
    if not (np.allclose(found, best, atol=_TOLERANCE, rtol=0) and _right(rows, found, expected)):
        raise FailedCheckError(
            f"{folder / 'selection.csv'} is not what the scores of {name} select"
        )


def _check_same(ours: Path, theirs: Path) -> None:
    """Hold a written selection to the rows that DuckDB finds, in their order."""
    names = [csv.read_csv(path).column("id") for path in (ours, theirs)]
    if not names[0].equals(names[1]):
        raise FailedCheckError(f"{ours} and {theirs} hold other rows")


def _check_spread(folder: Path, plain: Path, name: str, results: Path) -> None:
    """Hold a spread selection to as many rows as the plain one, in the order of their scores."""
    rows, found, scores = _selected(folder, name, results)
    as_many = len(rows) == len(_selected(plain, name, results)[0])
    if not (as_many and _right(rows, found, scores) and (np.diff(found) <= 0).all()):
        raise FailedCheckError(f"{folder / 'selection.csv'} is no selection by {name}")


def _check_drawn(drawn: Path, again: Path, name: str, results: Path) -> None:
    """Hold a drawn selection to its own repetition, and its mean score to what NumPy expects."""
    rows, found, scores = _selected(drawn, name, results)
    if not _right(rows, found, scores):
        raise FailedCheckError(
            f"{drawn / 'selection.csv'} repeats a row or has another score for it"
        )
    mean, deviation = _expected_mean(scores, len(rows))
    if not abs(found.mean() - mean) <= _DEVIATIONS * deviation:
        raise FailedCheckError(
            f"the mean score of {drawn / 'selection.csv'} is {found.mean():.4f}, that of draws by "
            f"the scores of {name} {mean:.4f} ± {deviation:.4f}"
        )
    if not filecmp.cmp(drawn / "selection.csv", again / "selection.csv", shallow=False):
        raise FailedCheckError(f"{drawn / 'selection.csv'} comes out otherwise when drawn again")


def _expected_mean(scores: NDArray[np.float64], count: int) -> tuple[float, float]:
    """Mean score of so many rows drawn with chances as their scores, and its standard deviation.

    Such a draw takes the first ``count`` arrivals of events with the scores as rates: a row is
    among them with the chance 1 − exp(−score · t), and t makes the chances add up to the count.
    """
    t = 0.0
    for _ in range(20):  # Newton; from below, since the sum of chances is concave
        absent = np.exp(-scores * t)
        t += (count - (1 - absent).sum()) / (scores * absent).sum()
    chances = 1 - np.exp(-scores * t)
    variance = chances * (1 - chances)
    centre = (variance * scores).sum() / variance.sum()  # the count is fixed
    deviation = np.sqrt((variance * (scores - centre) ** 2).sum()) / count
    return float((chances * scores).sum() / count), float(deviation)


def _selected(
    folder: Path, name: str, results: Path
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Rows of a written selection and their scores in it, and NumPy's scores of all rows."""
    table = csv.read_csv(folder / "selection.csv")
    rows = np.array([int(text[-13:-4]) for text in table.column("id").to_pylist()])
    found = np.asarray(table.column("score").to_numpy(), dtype=np.float64)
    return rows, found, np.load(results / f"scores-{name}.npy")


def _right(
    rows: NDArray[np.int64], found: NDArray[np.float64], expected: NDArray[np.float64]
) -> bool:
    """Whether rows are distinct and have their scores."""
    distinct = len(np.unique(rows)) == len(rows)
    return distinct and np.allclose(found, expected[rows], atol=_TOLERANCE, rtol=0)
