"""Write docs/figures.md from ``bench/results/*/*.json``: ``python -m deal.bench.table``.

Run it from the repository's root. README.md gets the headline (:mod:`deal.bench.headline`) between
its markers, if it has them. ``--check`` writes nothing and fails when a table is stale.
``--headline`` prints the headline instead.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deal.bench.headline import headline_table, when_measured
from deal.bench.place import machine, slug

__all__ = ["read_reports", "render", "update"]

# Figures without a target that belong beside those with one: question → parts of their names.
_BESIDE = {
    "latency": ("p99",),
    "kernel": ("with attention / ",),
    "scale": ("--stochastic",),
    "memory": ("images, once scored",),
    "dedup": ("share skipped",),
}

BEGIN = "<!-- figures: python -m deal.bench.table -->"
END = "<!-- end of figures -->"
HEADLINE_BEGIN = "<!-- headline: python -m deal.bench.table -->"
HEADLINE_END = "<!-- end of headline -->"


def render(reports: Iterable[Mapping[str, Any]]) -> str:
    """Markdown of some reports (:meth:`deal.bench.report.Report.to_dict`), a table per machine.

    A line holds the figures that have a target, the first that has none, for scale, and those that
    say what the others leave open (of latency its tail); of a report without any of these its least
    and greatest figure. The others stay in the JSON. Notes say what was left out; the last column
    when, and at which commit, it was measured, as far as the report has them.
    """
    found = list(reports)
    gpus = [report for report in found if report["question"] == "gpu"]
    by_machine: dict[str, list[str]] = {}
    for report in found:
        if report in gpus:
            continue
        chosen = _chosen(report["rows"], _BESIDE.get(report["question"], ()))
        figures = "; ".join([*map(_figure, chosen), *report["notes"]]).replace("|", "\\|")
        when = when_measured(report["environment"])
        line = f"| `{report['command']}` | {figures} | {when} |"
        by_machine.setdefault(machine(report["environment"]), []).append(line)
    lines = [
        "Medians, quartiles in brackets; after a comma the target, ✓ reached or ✗ not. A ratio is "
        "taken round by round.",
        "",
    ]
    for name, rows in sorted(by_machine.items()):
        lines += [f"## {name}", "", "| command | measured | date, commit |", "|---|---|---|", *rows]
        lines.append("")
    lines += ["## GPUs", "", *_on_gpus(gpus)]
    return "\n".join(lines).rstrip()


def _on_gpus(reports: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A table of each run of ``deal bench gpu``; one line where there is none."""
    if not reports:
        yield "Nothing has been measured on a GPU yet: `make gpu` on a machine with one does."
    for report in reports:
        if report["rehearsal"]:
            raise ValueError("a rehearsal of deal bench gpu has no figures: take it out of results")
        gpu = report["environment"]["gpu"]
        when = when_measured(report["environment"])
        by = f"by `make gpu`{f', {when}' if when else ''}"
        yield f"On {gpu['name']}, driver {gpu.get('driver_version', 'unknown')}, {by}:"
        yield from ("", "| section | measured |", "|---|---|")
        for section in report["sections"]:
            checks = section["checks"]
            passed = sum(check["passed"] for check in checks)
            state = section["status"]
            if state != "done":
                state += f": {section.get('skipped') or '; '.join(section['notes'][-1:])}"
            said = [f"**{state}**"] if state != "done" else []
            said += [f"{passed} of {len(checks)} checks passed"] if checks else []
            said += map(_figure, _chosen(section["rows"]) if section["rows"] else [])
            yield f"| {section['name']} | {'; '.join(said)} |"
        yield ""


def _chosen(
    rows: Sequence[Mapping[str, Any]], beside: Sequence[str] = ()
) -> list[Mapping[str, Any]]:
    wanted = [row for row in rows if row["target"] or any(part in row["name"] for part in beside)]
    if not wanted:
        ascending = sorted(rows, key=lambda row: row["value"]["median"])
        return ascending if len(rows) < 3 else [ascending[0], ascending[-1]]
    first = next((row for row in rows if row["target"] is None), None)
    return [row for row in rows if row in wanted or row is first]


def _figure(row: Mapping[str, Any]) -> str:
    value, unit = row["value"], row["unit"]
    text = f"{row['name']} **{value['median']:.3g}**"
    if value["count"] > 1:
        text += f" ({value['low']:.3g} – {value['high']:.3g})"
    if unit != "ratio":
        text += f" {unit}"
    if row["target"] is None:
        return text
    relation, bound = row["target"].split()
    sign = {">=": "≥", "<=": "≤"}[relation]
    return f"{text}, {sign} {bound} {'✓' if row['reached'] else '✗'}"


def update(page: str, table: str, begin: str = BEGIN, end: str = END) -> str:
    """Replace what stands between two lines; ValueError without them."""
    before, opened, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not opened or not closed:
        raise ValueError(f"the page of figures needs the lines {begin} and {end}")
    return f"{before}{begin}\n{table}\n{end}{after}"


def read_reports(folder: Path) -> list[dict[str, Any]]:
    """The reports in the folders of machines; ValueError for one in another's."""
    found = []
    for path in sorted(folder.glob("*/*.json")):
        report = json.loads(path.read_text(encoding="utf-8"))
        here = "gpu" if report["question"] == "gpu" else slug(report["environment"])
        if path.parent.name != here:
            raise ValueError(f"{path} was measured elsewhere: move it to {folder / here}")
        found.append(report)
    return found


def main(arguments: list[str]) -> int:
    """Entry point; exit code 1 when ``--check`` finds a table stale."""
    reports = read_reports(Path("bench/results"))
    headline = headline_table(reports)
    if "--headline" in arguments:
        print(headline)
        return 0
    of_headline = [report for report in reports if report["question"] == "headline"]
    others = [report for report in reports if report not in of_headline]
    pages = {Path("docs/figures.md"): (render([*of_headline, *others]), BEGIN, END)}
    readme = Path("README.md")
    if HEADLINE_BEGIN in readme.read_text(encoding="utf-8"):
        pages[readme] = (headline, HEADLINE_BEGIN, HEADLINE_END)
    stale = False
    for path, (table, begin, end) in pages.items():
        old = path.read_text(encoding="utf-8")
        new = update(old, table, begin, end)
        stale |= old != new
        if "--check" not in arguments:
            path.write_text(new, encoding="utf-8")
    return int(stale and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
