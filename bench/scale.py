"""Does ranking a scored pool of millions stay a matter of seconds, within little memory?"""

from __future__ import annotations

import filecmp
import tempfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from deal.bench.child import Child, deal_program, run_child
from deal.bench.failed import FailedCheckError
from deal.bench.report import Report, Row
from deal.bench.timing import interleave, spread
from deal.pool.ids import Shard
from deal.pool.signature import BYTES
from deal.results.partfile import write_part
from deal.results.parts import part_name, part_size
from deal.results.schema import images_schema, part_metadata, to_table

__all__ = ["FUNCTIONS", "ids", "run", "write_results"]

_CLASSES = 19
_PIXELS = 360 * 480
_PART_ROWS = 512  # as Output.open has it
FUNCTIONS = {"ds": 20, "entropy": 20, "de": 90}
"""Acquisition function → seconds it may take."""
_DRAWN = ("--stochastic", "power")
_MEMORY = 2.0
_TOLERANCE = 1e-12  # of scores
# Standard deviations that the mean of drawn scores may be off what NumPy expects.
_DEVIATIONS = 5


def run(
    *,
    rows: int = 10_000_000,
    part_rows: int = _PART_ROWS,
    acquisition: tuple[str, ...] = ("ds", "de"),
    budget: str = "1%",
    rounds: int = 2,
    keep: str | None = None,
) -> Report:
    """Time ``deal select`` as a process over made-up results, in parts as ``deal-score`` writes.

    Rows are taken by each function, drawn by the first (``--stochastic power``), and taken by the
    first and spread, as is the default.

    Parameters
    ----------
    rows, part_rows : int
        Images in all, and in the first Parquet files; later ones have more, as `deal-score` writes.
    acquisition : tuple of str
        Of `FUNCTIONS`.
    budget : str
    rounds : int
        Of all functions in turn.
    keep : str, optional
        Folder for the results, used again if it holds them; a temporary one by default.

    Raises
    ------
    FailedCheckError
        A selection is not the one that NumPy sorts out of the same scores; a drawn one repeats a
        row, has another score for it, has a mean score that no such draw has, or comes out
        otherwise when it is drawn again.
    """
    with _folder(keep) as folder:
        results = folder / f"scored-{rows}-{part_rows}"
        if not (results / "done").exists():
            write_results(results, rows, part_rows)
            (results / "done").touch()
        every = [deal_program("deal"), "select", str(results), "--budget", budget, "--top", "1"]
        select = [*every, "--spread", "off"]
        drawn, again = folder / "selection-drawn", folder / "selection-again"
        draw = [*select, "--acquisition", acquisition[0], *_DRAWN, "--output"]
        commands = {
            name: [*select, "--acquisition", name, "--output", str(folder / f"selection-{name}")]
            for name in acquisition
        }
        commands[" ".join([acquisition[0], *_DRAWN])] = [*draw, str(drawn)]
        wide = folder / "selection-spread"
        by = ["--acquisition", acquisition[0], "--output", str(wide)]
        commands[f"{acquisition[0]} --spread auto"] = [*every, *by]
        found: dict[str, list[Child]] = {label: [] for label in commands}
        calls = {
            label: lambda label=label, command=command: found[label].append(run_child(command))
            for label, command in commands.items()
        }
        interleave(calls, rounds=rounds, warmup=0)
        for name in acquisition:
            _check(folder / f"selection-{name}", name, results)
        _check_spread(wide, folder / f"selection-{acquisition[0]}", acquisition[0], results)
        run_child([*draw, str(again)])
        _check_drawn(drawn, again, acquisition[0], results)
    report: list[Row] = []
    for label, children in found.items():
        seconds = spread([child.seconds for child in children])
        peaks = spread([child.peak / 1e9 for child in children])
        target = f"<= {FUNCTIONS[label]}" if label in FUNCTIONS else None
        report.append(Row(f"deal select {label}", seconds, "s", target))
        report.append(Row(f"deal select {label}, peak memory", peaks, "GB", f"<= {_MEMORY:g}"))
    return Report(
        question="scale",
        settings={
            "rows": rows,
            "part_rows": part_rows,
            "budget": budget,
            "classes": _CLASSES,
            "rounds": rounds,
        },
        rows=tuple(report),
    )


@contextmanager
def _folder(keep: str | None) -> Iterator[Path]:
    if keep is not None:
        Path(keep).mkdir(parents=True, exist_ok=True)
        yield Path(keep)
        return
    with tempfile.TemporaryDirectory(prefix="deal-bench-") as name:
        yield Path(name)


def write_results(folder: Path, rows: int, part_rows: int = _PART_ROWS) -> None:
    """Write an output folder of made-up rows, and beside its tables ``scores-*.npy``.

    Only columns that ``ds``, ``entropy``, ``de`` and a selection's own read have values; ids are as
    long as those of a fleet. ``scores-*.npy`` hold the scores in the order of the rows, from NumPy.
    """
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    names = [f"class {number}" for number in range(_CLASSES)]
    schema = images_schema().with_metadata(part_metadata({"model": "made up"}, names))
    starts = [0]
    while starts[-1] < rows:
        starts.append(min(starts[-1] + part_size(part_rows, starts[-1]), rows))
    source = _Rows(int(np.diff(starts).max()), schema)
    scores = {name: np.empty(rows) for name in ("ds", "entropy", "de")}

    def write(part: int) -> None:
        start, stop = starts[part : part + 2]
        table, columns = source.part(part, start, stop)
        for name, values in columns.items():
            scores[name][start:stop] = values
        with open(images / part_name(Shard(), part), "wb") as file:
            write_part(table, file)

    with ThreadPoolExecutor(2) as executor:
        deque(executor.map(write, range(len(starts) - 1)), maxlen=0)
    for name, values in scores.items():
        np.save(folder / f"scores-{name}.npy", values)


class _Rows:
    """Made-up rows, a part at a time; scores of hardly any two rows are equal."""

    def __init__(self, rows: int, schema: pa.Schema) -> None:
        rng = np.random.default_rng(0)
        self._own = _histograms(rng, rows)
        self._shared = _histograms(rng, 30_011)  # prime: parts pair with it in turn
        counts = rng.multinomial(_PIXELS, rng.dirichlet(np.full(_CLASSES, 0.4)), rows)
        columns: dict[str, Any] = {
            "id": ids(0, rows),
            "uri": ids(0, rows),
            "source_version": ["183204-1700000000000000000"] * rows,
            "status": ["ok"] * rows,
            "sequence": [f"drive_{row // 600:05}" for row in range(rows)],
            "width": np.full(rows, 480),
            "height": np.full(rows, 360),
            "n_pixels": np.full(rows, _PIXELS),
            "class_pixels": counts,
            "class_difficulty_sum": counts * rng.random(counts.shape),
            "class_entropy_sum": counts * rng.random(counts.shape),
        }
        self._table = to_table(columns, schema, _CLASSES)

    def part(
        self, part: int, start: int, stop: int
    ) -> tuple[pa.Table, dict[str, NDArray[np.float64]]]:
        rows = stop - start
        rng = np.random.default_rng([1, part])
        pairs = (part + 37 * np.arange(rows)) % len(self._shared)
        histograms = self._own[:rows] + self._shared[pairs]
        ds, entropy = rng.random(rows), rng.random(rows)
        named = pa.array(ids(start, stop))
        flat = pa.array(histograms.ravel())
        # Pictures of 3×4 fields with some noise: few of them look alike.
        fields = rng.integers(10, 246, (rows, 3, 4)).repeat(4, axis=1).repeat(4, axis=2)
        pictures = (fields + rng.integers(-9, 10, fields.shape)).astype(np.uint8)
        fresh = {
            "thumbnail": pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(BYTES), rows, [None, pa.py_buffer(pictures.tobytes())]
            ),
            "id": named,
            "uri": named,
            "difficulty_mean": pa.array(ds),
            "entropy_mean": pa.array(entropy),
            "difficulty_hist_image": pa.ListArray.from_arrays(
                np.arange(rows + 1, dtype=np.int32) * histograms.shape[1], flat
            ),
        }
        table = self._table.slice(0, rows)
        for name, values in fresh.items():
            table = table.set_column(table.schema.get_field_index(name), table.field(name), values)
        share = histograms.reshape(rows, 8, -1).sum(axis=2) / histograms.sum(axis=1, keepdims=True)
        de = np.abs((share * np.log(np.maximum(share, 1e-300))).sum(axis=1))
        return table, {"ds": ds, "entropy": entropy, "de": de}


def _histograms(rng: np.random.Generator, rows: int) -> NDArray[np.int32]:
    """Pixels by difficulty [rows, 240], with the long tail of a trained network's."""
    shape, scale = rng.uniform(1, 6, (rows, 1)), rng.uniform(2, 12, (rows, 1))
    levels = np.minimum(rng.gamma(shape, scale, (rows, 400)).astype(np.int64), 239)
    levels += 240 * np.arange(rows)[:, None]
    counts = np.bincount(levels.ravel(), minlength=240 * rows).reshape(rows, 240)
    noise = rng.integers(0, 200, counts.shape)
    return (counts * 200 + noise * (counts > 0)).astype(np.int32)


def ids(start: int, stop: int) -> list[str]:
    """Ids of rows, as long as those of a fleet."""
    return [
        f"2026-{1 + i % 12:02}/drive_{i // 600:05}/frame_{i:09}.jpg" for i in range(start, stop)
    ]


def _check(folder: Path, name: str, results: Path) -> None:
    """Hold a written selection to the scores that NumPy sorts."""
    rows, found, expected = _selected(folder, name, results)
    best = np.sort(expected)[::-1][: len(rows)]
    if not (np.allclose(found, best, atol=_TOLERANCE, rtol=0) and _right(rows, found, expected)):
        raise FailedCheckError(
            f"{folder / 'selection.csv'} is not what the scores of {name} select"
        )


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
