"""Write what experiments have shown into docs/results: ``python docs/known.py``.

The rows of ``docs/results/index.md`` and the tables of its pages are made of the CSV files in
``docs/results/data``, by what ``docs/results/known.toml`` asks. Nobody copies a number by hand::

    python docs/known.py --from runs    # first take over the results of finished experiments
    python docs/known.py --from runs --kinds nuclei/images.csv    # and count picks by kind
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
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deal.loop.files import write_csv
from deal.loop.labeled import image_of
from deal.loop.statistics import Interval, labels_needed, mean_interval, paired_differences
from deal.loop.table import Experiment, read_experiment, write_table
from deal.report.loop_text import interval_text, signed_text

RESULTS = Path(__file__).parent / "results"
DATA = RESULTS / "data"
HARD = ("pole", "sign-symbol", "fence", "pedestrian", "bicyclist", "nucleus", "border")
PENDING = "Not run yet."
BASELINES = ("random", "images", "random-by-drive")
LEVEL = 0.95


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

    def whole(self, column: str = "miou") -> dict[str, dict[int, list[float]]]:
        """:meth:`curves` without the runs that are not finished."""
        found = {}
        for method, of in self.curves(column).items():
            done = {seed: curve for seed, curve in of.items() if len(curve) == len(self.counts)}
            if done:
                found[method] = done
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


def take(runs: Path, names: Iterable[str], kinds: Mapping[str, str]) -> None:
    """Copy the results of experiments that have runs; count the picks of images with a kind."""
    DATA.mkdir(exist_ok=True)
    for name in names:
        if not (runs / name / "experiment.json").exists():
            continue
        experiment = read_experiment(runs / name)
        if any(len(run.rounds) == len(experiment.counts) for run in experiment.runs):
            shutil.copy(write_table(experiment), DATA / f"{name}.csv")
        if experiment.full:
            rows = [[seed, of["miou"]] for seed, of in sorted(experiment.full.items())]
            write_csv(DATA / f"{name}-full.csv", ["seed", "miou"], rows)
        if kinds.keys() & experiment.shared["drives"].keys():
            header = ["method", "seed", "kind", "picks", "pool"]
            write_csv(DATA / f"{name}-kinds.csv", header, picks_by_kind(experiment, kinds))
        print(f"took {name}: {len(experiment.runs)} runs, {len(experiment.full)} of every label")


def read_kinds(path: Path) -> dict[str, str]:
    """Image → kind, from a CSV file with the columns ``id`` and ``kind``."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if not {"id", "kind"} <= set(rows.fieldnames or ()):
            raise SystemExit(f"{path} needs the columns id and kind in its first line")
        return {row["id"]: row["kind"] for row in rows}


def picks_by_kind(experiment: Experiment, kinds: Mapping[str, str]) -> list[list[Any]]:
    """What whole runs picked after the first round, by kind, beside the images of the pool."""
    pool = experiment.shared["drives"]
    if without := sorted(pool.keys() - kinds.keys()):
        raise SystemExit(
            f"{len(without)} images of {experiment.name} have no kind, such as {without[0]}: "
            "add them to the file of --kinds"
        )
    images = Counter(kinds[each] for each in pool)
    rows: list[list[Any]] = []
    for run in experiment.runs:
        if len(run.rounds) == len(experiment.counts):
            picks = Counter(kinds[image_of(item)] for item in run.picks())
            rows += [
                [run.method, run.seed, kind, picks[kind], images[kind]] for kind in sorted(images)
            ]
    return rows


def effect(row: Mapping[str, Any]) -> tuple[str, str]:
    """Effect and seeds of a row: computed, or as written where it has no experiment."""
    if "experiment" not in row:
        return row["effect"], str(row.get("seeds", "–"))
    if not csv_of(row["experiment"]).exists():
        return PENDING.rstrip("."), "–"
    curves = Data(row["experiment"]).whole()
    if not {row["method"], row["against"]} <= curves.keys():
        return PENDING.rstrip("."), "–"
    level = level_of(row)
    average = paired_differences(curves, row["method"], row["against"], level)[1]
    text = _signed(average, level)
    sure = not math.isnan(average.half) and abs(average.mean) > average.half
    return f"**{text}**" if sure else text, str(average.count)


def level_of(row: Mapping[str, Any]) -> float:
    """Confidence of the interval of a row."""
    level = row.get("level", LEVEL)
    if not isinstance(level, float) or not 0.5 <= level < 1:
        raise SystemExit(f"known.toml: level is {level!r}; write a share such as 0.975")
    return level


def _signed(value: Interval, level: float = LEVEL) -> str:
    """A difference; its confidence too, unless it is the usual one."""
    text = signed_text(value).replace("-", "−")
    return text if level == LEVEL else f"{text} ({100 * level:g} %)"


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
    for method, of in data.whole().items():
        means = [mean_interval(column) for column in zip(*of.values(), strict=True)]
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
    for method in data.whole():
        found = [data.whole(f"iou:{each}")[method] for each in hard]
        means = [statistics.fmean(curve[-1] for curve in of.values()) for of in found]
        rows.append([f"`{method}`", *(f"{100 * mean:.1f}" for mean in means)])
    return _table([f"IoU % at {data.counts[-1]}", *hard], rows)


def effect_table(name: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every method minus every baseline, in points of mIoU: mean over the rounds, and each round.

    The mean has the interval of the row that asks for the same difference, if there is one.
    """
    data = Data(name)
    curves = data.whole()
    levels = {
        (row["method"], row["against"]): level_of(row)
        for row in rows
        if row.get("experiment") == name
    }
    lines = []
    baselines = [each for each in BASELINES if each in curves]
    for number, baseline in enumerate(baselines):
        for method in (each for each in curves if each not in baselines[: number + 1]):
            level = levels.get((method, baseline), LEVEL)
            rounds, _ = paired_differences(curves, method, baseline)
            _, mean = paired_differences(curves, method, baseline, level)
            values = [_signed(mean, level), *map(_signed, rounds)]
            lines.append([f"`{method}` − `{baseline}`", *values, str(mean.count)])
    return _table(["points of mIoU", "mean", *map(str, data.counts[1:]), "seeds"], lines)


def kind_table(name: str) -> list[str]:
    """The share of each kind among the picks of a method, and in the pool, in percent."""
    with open(csv_of(f"{name}-kinds"), newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    pool = {row["kind"]: int(row["pool"]) for row in rows}
    picks: dict[str, dict[str, dict[str, int]]] = {}
    for row in rows:
        of = picks.setdefault(row["method"], {}).setdefault(row["seed"], {})
        of[row["kind"]] = int(row["picks"])
    shares = [f"{100 * count / sum(pool.values()):.1f}" for count in pool.values()]
    lines = [["pool", *shares, "–"]]
    for method, by_seed in picks.items():
        values = [
            mean_interval([of[kind] / sum(of.values()) for of in by_seed.values()]) for kind in pool
        ]
        lines.append([f"`{method}`", *map(interval_text, values), str(len(by_seed))])
    return _table(["% of the picks", *pool, "seeds"], lines)


def needed_table(name: str, full: str) -> list[str]:
    """Labels needed for 95 % of converged full supervision, and the ratio to baselines.

    A baseline that does not get there counts with the last number of labels: ratios are upper ends.
    """
    data, reference = Data(name), every_label(full)
    curves = data.whole()
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


MAKERS: dict[str, Callable[..., list[str]]] = {
    "rounds": round_table,
    "classes": class_table,
    "needed": needed_table,
    "kinds": kind_table,
}


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
            maker, name, *others = asked
            files = [f"{name}-kinds" if maker == "kinds" else name]
            if not all(csv_of(file).exists() for file in [*files, *(f"{o}-full" for o in others)]):
                lines = [PENDING]
            elif maker == "effects":
                lines = effect_table(name, rows)
            else:
                lines = MAKERS[maker](name, *others)
        return "\n".join([f"<!-- known{given} -->", "", *lines, "", "<!-- /known -->"])

    return re.sub(r"<!-- known( [^>]*?)? -->.*?<!-- /known -->", made, text, flags=re.DOTALL)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pages; return 1 if ``--check`` finds a stale one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--from", dest="runs", type=Path, metavar="RUNS", help="take over results")
    parser.add_argument(
        "--kinds", type=Path, metavar="CSV", help="with --from: the kind of each image, by its id"
    )
    parser.add_argument("--check", action="store_true", help="write nothing, tell what is stale")
    given = parser.parse_args(arguments)
    if given.kinds is not None and given.runs is None:
        parser.error("--kinds counts the picks of runs: give their folder with --from")
    rows = tomllib.loads((RESULTS / "known.toml").read_text(encoding="utf-8"))["rows"]
    if given.runs is not None:
        names = [path.stem for path in (RESULTS / "pretrained").glob("*.toml")]
        kinds = {} if given.kinds is None else read_kinds(given.kinds)
        take(given.runs, sorted(names), kinds)
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
