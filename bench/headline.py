"""The four figures of the front page: measured in ten minutes, held to those that are stored."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deal.bench.place import machine
from deal.bench.report import Report, Row
from deal.bench.timing import Spread

__all__ = ["FIGURES", "Figure", "compared", "headline_table", "run", "stored", "when_measured"]

# What differs by less is the machine's mood, even where the quartiles lie apart.
_NOISE = 0.05


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of the front page.

    Parameters
    ----------
    title : str
    question : str
        The benchmark that measures it.
    row : str
        Its row.
    measure : callable
        Runs the benchmark.
    beside : str, optional
        A row that is shown behind it.
    said : str
        What the row ``beside`` is, where its unit does not say so.
    settings : mapping
        By which stored reports of that benchmark are the right ones.
    """

    title: str
    question: str
    row: str
    measure: Callable[[], Report]
    beside: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    said: str = ""

    def rows(self, report: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Its rows in a report of the benchmark, as JSON values; empty if that is another."""
        settings = report["settings"]
        if report["question"] != self.question:
            return []
        if any(settings.get(name) != value for name, value in self.settings.items()):
            return []
        rows = {row["name"]: row for row in reversed(report["rows"])}  # the first of a name
        names = [name for name in (self.row, self.beside) if name is not None]
        return [rows[name] for name in names] if set(names) <= rows.keys() else []


def _pipeline(**options: Any) -> Report:
    from deal.bench.pipeline import run as measure

    return measure(peer_images=12, rounds=3, **options)  # the released loop takes most of the time


def _kernel() -> Report:
    from deal.bench.kernel import run as measure

    return measure(rounds=3)


def _startup() -> Report:
    from deal.bench.startup import run as measure

    return measure(rounds=9)


_RELEASED = "deal-score / released loop"

FIGURES = (
    Figure(
        "`deal-score` with the light network in 8 bits / the released loop",
        "pipeline",
        _RELEASED,
        lambda: _pipeline(network="light", precision="int8"),
        "deal-score",
        {"network": "light", "quantised": True, "model": None},
    ),
    Figure(
        "`deal-score` with the paper's network / the released loop",
        "pipeline",
        _RELEASED,
        lambda: _pipeline(network="paper", images=60),
        "deal-score",
        {"network": "paper", "quantised": False, "model": None},
    ),
    Figure(
        "statistics of an image, 11 classes, one thread: PyTorch / kernel",
        "kernel",
        "eager PyTorch / native kernel",
        _kernel,
        "native kernel",
        {"shape": "camvid", "threads": 1, "batch": 1},
    ),
    Figure(
        "`deal-score` of 24 images, the whole process",
        "startup",
        "deal-score of 24 images",
        _startup,
        "of these, until the first image is scored",
        said="the first image scored after ",
    ),
)


def run(say: Callable[[str], object] = print) -> Report:
    """Measure the figures, about ten minutes on two cores; ``say`` gets their titles."""
    rows = []
    for figure in FIGURES:
        say(f"measuring: {figure.title}")
        for row in figure.rows(figure.measure().to_dict()):
            name = _name(figure, row["name"])
            rows.append(Row(name, _spread(row["value"]), row["unit"], row["target"]))
    return Report(question="headline", settings={}, rows=tuple(rows))


def stored(path: Path) -> dict[str, Any] | None:
    """A stored report; None where there is none."""
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def compared(new: Report, old: Mapping[str, Any]) -> list[str]:
    """A line per row: both medians, their ratio, and whether that is more than noise.

    A figure moved if the quartiles lie apart, and the medians by more than a twentieth.
    """
    before = {row["name"]: row["value"] for row in old["rows"]}
    lines = []
    for row in new.rows:
        if row.name not in before:
            lines.append(f"{row.name}: {row.value.median:.3g}, nothing stored")
            continue
        then, now = _spread(before[row.name]), row.value
        ratio = now.median / then.median
        apart = now.low > then.high or now.high < then.low
        verdict = "as before"
        if apart and abs(ratio - 1) > _NOISE:
            more_is_better = row.unit in ("ratio", "images/s")
            verdict = "better" if (ratio > 1) == more_is_better else "WORSE"
        lines.append(
            f"{row.name}: {then.median:.3g} ({then.low:.3g} – {then.high:.3g}) → {now.median:.3g} "
            f"({now.low:.3g} – {now.high:.3g}), {ratio:.3f} of it: {verdict}"
        )
    return lines


def headline_table(reports: Iterable[Mapping[str, Any]]) -> str:
    """The figures of one machine as lines of Markdown, each of at most 120 characters.

    Of the machine whose headline was measured last; where none was, of the one with most of them.
    """
    machines: dict[str, list[Mapping[str, Any]]] = {}
    for report in reports:
        if report["question"] != "gpu":
            machines.setdefault(machine(report["environment"]), []).append(report)
    if not machines:
        return "Nothing has been measured yet: `make bench` does."

    def rank(name: str) -> tuple[str, int, str]:
        days = [r["environment"]["date"] for r in machines[name] if r["question"] == "headline"]
        return max(days, default=""), len(_cells(machines[name])), name

    name = max(machines, key=rank)
    cells = _cells(machines[name])
    times = sorted({when for _, when in cells.values() if when})
    lines = [f"| {', '.join([name, *times])} | |", "|---|---|"]
    return "\n".join([*lines, *(f"| {title} | {cell} |" for title, (cell, _) in cells.items())])


def when_measured(environment: Mapping[str, Any]) -> str:
    """Day and commit of a measurement; empty for those older than both were recorded."""
    day, commit = environment.get("date") or "", environment.get("commit")
    return ", ".join([day[:10]] * bool(day) + [f"`{commit}`"] * bool(commit))


def _cells(reports: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, str]]:
    """Figure and time by title, from the headline or else from the benchmark's own report."""
    found = {}
    for figure in FIGURES:
        for report in sorted(reports, key=lambda r: r["question"] != "headline"):
            rows = figure.rows(report)
            if report["question"] == "headline":
                own = (_name(figure, name) for name in (figure.row, figure.beside))
                named = {row["name"]: row for row in report["rows"]}
                rows = [named[name] for name in own if name in named]
            if rows:
                said = (f"{figure.said}{_value(row)}" for row in rows[1:])
                cell = ", ".join([f"**{_value(rows[0])}**", *said])
                found[figure.title] = cell, when_measured(report["environment"])
                break
    return found


def _value(row: Mapping[str, Any]) -> str:
    median = f"{row['value']['median']:.3g}"
    return f"{median} ×" if row["unit"] == "ratio" else f"{median} {row['unit']}"


def _name(figure: Figure, row: str | None) -> str:
    return f"{figure.title}: {row}"


def _spread(value: Mapping[str, Any]) -> Spread:
    return Spread(**value)
