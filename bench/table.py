"""Write docs/figures.md from ``bench/results/*.json``: ``python -m deal.bench.table``.

Run it from the repository's root. ``--check`` writes nothing and fails when the table is stale.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["render", "update"]

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


def render(reports: Iterable[Mapping[str, Any]]) -> str:
    """Markdown of some reports (:meth:`deal.bench.report.Report.to_dict`), a line each.

    A line holds the figures that have a target, the first that has none, for scale, and those that
    say what the others leave open (of latency its tail); of a report without any of these its least
    and greatest figure. The others stay in the JSON. Notes say what was left out; the last column
    when, and at which commit, it was measured, as far as the report has them.
    """
    found = list(reports)
    gpus = [report for report in found if report["question"] == "gpu"]
    lines = ["| command | measured | date, commit |", "|---|---|---|"]
    machines = []
    for report in found:
        if report in gpus:
            continue
        machine = report["environment"]
        machines.append(f"{machine['processor']}, {machine['cores']} cores")
        chosen = _chosen(report["rows"], _BESIDE.get(report["question"], ()))
        figures = "; ".join([*map(_figure, chosen), *report["notes"]]).replace("|", "\\|")
        lines.append(f"| `{report['command']}` | {figures} | {_when(machine)} |")
    where = "; ".join(sorted(set(machines)))
    lines += [
        "",
        "Medians, quartiles in brackets; after a comma the target, ✓ reached or ✗ not. A ratio is "
        f"taken round by round. Measured on: {where}.",
        "",
        *_on_gpus(gpus),
    ]
    return "\n".join(lines).rstrip()


def _on_gpus(reports: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A table of each run of ``deal bench gpu``; one line where there is none."""
    if not reports:
        yield "Nothing has been measured on a GPU yet: `make gpu` on a machine with one does."
    for report in reports:
        if report["rehearsal"]:
            raise ValueError("a rehearsal of deal bench gpu has no figures: take it out of results")
        gpu = report["environment"]["gpu"]
        when = _when(report["environment"])
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


def _when(environment: Mapping[str, Any]) -> str:
    """Day and commit of a measurement; empty for those older than both were recorded."""
    day, commit = environment.get("date") or "", environment.get("commit")
    return ", ".join([day[:10]] * bool(day) + [f"`{commit}`"] * bool(commit))


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


def update(page: str, table: str) -> str:
    """Replace what stands between the markers; ValueError without them."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page of figures needs the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def main(arguments: list[str]) -> int:
    """Entry point; exit code 1 when ``--check`` finds the table stale."""
    paths = sorted(Path("bench/results").glob("*.json"))
    table = render(json.loads(path.read_text(encoding="utf-8")) for path in paths)
    page = Path("docs/figures.md")
    old = page.read_text(encoding="utf-8")
    new = update(old, table)
    if "--check" in arguments:
        return int(old != new)
    page.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
