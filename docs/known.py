"""Write what experiments have shown into docs/results: ``python docs/known.py``.

The rows of ``docs/results/index.md`` and the tables of its pages are made of the CSV files in
``docs/results/data``, by what ``docs/results/known.toml`` asks. Nobody copies a number by hand::

    python docs/known.py --from runs    # first take over the results of finished experiments
    python docs/known.py --check        # exit with 1 if a page is stale
"""

from __future__ import annotations

import argparse
import csv
import math
import re
import shutil
import statistics
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deal.loop.files import write_csv
from deal.loop.statistics import labels_needed, mean_interval, paired_differences
from deal.loop.table import read_experiment, write_table
from deal.report.loop_text import interval_text, signed_text

RESULTS = Path(__file__).parent / "results"
DATA = RESULTS / "data"
HARD = ("pole", "sign-symbol", "fence", "pedestrian", "bicyclist", "nucleus", "border")
PENDING = "Not run yet."


class Data:
    """The rounds of an experiment, from its CSV file."""

    def __init__(self, name: str) -> None:
        with open(csv_of(name), newline="", encoding="utf-8") as file:
            self.rows = list(csv.DictReader(file))
        self.counts = sorted({int(row["labeled"]) for row in self.rows})
        self.classes = [key.removeprefix("iou:") for key in self.rows[0] if key.startswith("iou:")]
        self.full = every_label(name)

    def curves(self, column: str = "miou") -> dict[str, dict[int, list[float]]]:
        """Method → seed → the column, round by round; NaN where it is empty."""
        found: dict[str, dict[int, list[float]]] = {}
        for row in sorted(self.rows, key=lambda row: int(row["round"])):
            of = found.setdefault(row["method"], {}).setdefault(int(row["seed"]), [])
            of.append(float(row[column] or "nan"))
        return found


def csv_of(name: str) -> Path:
    """The file of an experiment; old ones lie in the archive."""
    path = DATA / f"{name}.csv"
    return path if path.exists() else RESULTS / "archive" / f"{name}.csv"


def every_label(name: str) -> dict[int, float]:
    """Seed → mIoU under full supervision; empty if it was not run."""
    path = csv_of(f"{name}-full")
    if not path.exists():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        return {int(row["seed"]): float(row["miou"]) for row in csv.DictReader(file)}


def take(runs: Path, names: Iterable[str]) -> None:
    """Copy the results of experiments that have runs."""
    DATA.mkdir(exist_ok=True)
    for name in names:
        if not (runs / name / "experiment.json").exists():
            continue
        experiment = read_experiment(runs / name)
        if experiment.runs:
            shutil.copy(write_table(experiment), DATA / f"{name}.csv")
        if experiment.full:
            rows = [[seed, of["miou"]] for seed, of in sorted(experiment.full.items())]
            write_csv(DATA / f"{name}-full.csv", ["seed", "miou"], rows)
        print(f"took {name}: {len(experiment.runs)} runs, {len(experiment.full)} of every label")


def effect(row: Mapping[str, Any]) -> tuple[str, str]:
    """Effect and seeds of a row: computed, or as written where it has no experiment."""
    if "experiment" not in row:
        return row["effect"], str(row.get("seeds", "–"))
    if not csv_of(row["experiment"]).exists():
        return PENDING.rstrip("."), "–"
    curves = Data(row["experiment"]).curves()
    average = paired_differences(curves, row["method"], row["against"])[1]
    text = signed_text(average).replace("-", "−")
    sure = not math.isnan(average.half) and abs(average.mean) > average.half
    return f"**{text}**" if sure else text, str(average.count)


def index_rows(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The table of what is known."""
    lines = ["| setting | claim | effect ± interval | seeds | page |", "|---|---|---|---:|---|"]
    for row in rows:
        text, seeds = effect(row)
        page = f"[{row['title']}]({row['page']})"
        lines.append(f"| {row['setting']} | {row['claim']} | {text} | {seeds} | {page} |")
    return lines


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows)]


def round_table(name: str) -> list[str]:
    """Mean IoU of every method and round, in percent."""
    data = Data(name)
    rows = []
    for method, of in data.curves().items():
        whole = [curve for curve in of.values() if len(curve) == len(data.counts)]
        if whole:
            means = [mean_interval(column) for column in zip(*whole, strict=True)]
            rows.append([f"`{method}`", *map(interval_text, means)])
    if data.full:
        full = interval_text(mean_interval(list(data.full.values())))
        rows.append(["every label", *[""] * (len(data.counts) - 1), full])
    return _table(["mIoU %", *map(str, data.counts)], rows)


def class_table(name: str) -> list[str]:
    """Mean IoU of hard classes in the last round, in percent."""
    data = Data(name)
    hard = [each for each in data.classes if each in HARD]
    rows = []
    for method in data.curves():
        found = [data.curves(f"iou:{each}")[method] for each in hard]
        means = [statistics.fmean(curve[-1] for curve in of.values()) for of in found]
        rows.append([f"`{method}`", *(f"{100 * mean:.1f}" for mean in means)])
    return _table([f"IoU % at {data.counts[-1]}", *hard], rows)


def needed_table(name: str, full: str) -> list[str]:
    """Labels needed for 95 % of converged full supervision, and the ratio to baselines.

    A baseline that does not get there counts with the last number of labels: ratios are upper ends.
    """
    data, reference = Data(name), every_label(full)
    curves = data.curves()
    needed = {
        method: {
            seed: labels_needed(data.counts, curve, 0.95 * reference[seed]) or math.inf
            for seed, curve in of.items()
            if seed in reference
        }
        for method, of in curves.items()
    }
    baselines = [each for each in ("random", "images") if each in needed]
    rows = []
    for method, of in needed.items():
        ratios = [
            [
                _ratio(of[seed], needed[base][seed], data.counts[-1])
                for seed in of
                if seed in needed[base]
            ]
            for base in baselines
        ]
        rows.append([f"`{method}`", _median(list(of.values())), *map(_median, ratios)])
    mean = interval_text(mean_interval(list(reference.values())))
    head = [
        f"labels for 95 % of {mean}",
        "median",
        *(f"ratio to `{base}`, at most" for base in baselines),
    ]
    return _table(head, rows)


def _ratio(one: float, other: float, last: float) -> float:
    return 1.0 if math.isinf(one) and math.isinf(other) else one / min(other, last)


def _median(values: Sequence[float]) -> str:
    """Median and its 95 % interval by order statistics; infinite where it is not reached."""
    if not values:
        return "–"
    ordered, count, below, cut = sorted(values), len(values), 0.0, 0
    while (below := below + math.comb(count, cut) / 2**count) <= 0.025:
        cut += 1
    ends = f" ({_number(ordered[cut - 1])} to {_number(ordered[-cut])})" if cut else ""
    return _number(statistics.median(ordered)) + ends


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "not reached"


MAKERS = {"rounds": round_table, "classes": class_table, "needed": needed_table}


def filled(text: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """A page with what stands between its markers made anew.

    Markers are ``<!-- known -->`` for the rows, ``<!-- known rounds NAME -->`` and so on for the
    tables of an experiment; each ends with ``<!-- /known -->``.
    """

    def made(match: re.Match[str]) -> str:
        given = match[1] or ""
        asked = given.split()
        if not asked:
            lines = index_rows(rows)
        else:
            maker, *names = asked
            files = [names[0], *(f"{name}-full" for name in names[1:])]
            ready = all(csv_of(file).exists() for file in files)
            lines = MAKERS[maker](*names) if ready else [PENDING]
        return "\n".join([f"<!-- known{given} -->", "", *lines, "", "<!-- /known -->"])

    return re.sub(r"<!-- known( [^>]*?)? -->.*?<!-- /known -->", made, text, flags=re.DOTALL)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pages; return 1 if ``--check`` finds a stale one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--from", dest="runs", type=Path, metavar="RUNS", help="take over results")
    parser.add_argument("--check", action="store_true", help="write nothing, tell what is stale")
    given = parser.parse_args(arguments)
    rows = tomllib.loads((RESULTS / "known.toml").read_text(encoding="utf-8"))["rows"]
    if given.runs is not None:
        names = [path.stem for path in (RESULTS / "pretrained").glob("*.toml")]
        take(given.runs, sorted(names))
    stale = []
    for page in sorted(RESULTS.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        if (new := filled(text, rows)) != text:
            stale.append(page.name)
            if not given.check:
                page.write_text(new, encoding="utf-8")
    if given.check and stale:
        print(f"stale: {', '.join(stale)}; run python docs/known.py")
    return int(given.check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
