"""Write the README's figures from ``bench/results/*.json``: ``python -m deal.bench.table``.

Run it from the repository's root. ``--check`` writes nothing and fails when the table is stale.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["render", "update"]

BEGIN = "<!-- figures: python -m deal.bench.table -->"
END = "<!-- end of figures -->"


def render(reports: Iterable[Mapping[str, Any]]) -> str:
    """Markdown of some reports (:meth:`deal.bench.report.Report.to_dict`), a line each.

    A line holds the figures that have a target and the first that has none, for scale; of a report
    without targets its least and greatest figure. The others stay in the JSON.
    """
    found = list(reports)
    gpus = [report for report in found if report["question"] == "gpu"]
    lines = ["| command | measured |", "|---|---|"]
    machines = []
    for report in found:
        if report in gpus:
            continue
        machine = report["environment"]
        machines.append(f"{machine['processor']}, {machine['cores']} cores")
        figures = "; ".join(map(_figure, _chosen(report["rows"])))
        lines.append(f"| `{report['command']}` | {figures} |")
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
        yield f"On {gpu['name']}, driver {gpu.get('driver_version', 'unknown')}, by `make gpu`:"
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


def _chosen(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    if all(row["target"] is None for row in rows):
        ascending = sorted(rows, key=lambda row: row["value"]["median"])
        return ascending if len(rows) < 3 else [ascending[0], ascending[-1]]
    first = next((row for row in rows if row["target"] is None), None)
    return [row for row in rows if row["target"] is not None or row is first]


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


def update(readme: str, table: str) -> str:
    """Replace what stands between the markers; ValueError without them."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the README needs the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def main(arguments: list[str]) -> int:
    """Entry point; exit code 1 when ``--check`` finds the table stale."""
    paths = sorted(Path("bench/results").glob("*.json"))
    table = render(json.loads(path.read_text(encoding="utf-8")) for path in paths)
    readme = Path("README.md")
    old = readme.read_text(encoding="utf-8")
    new = update(old, table)
    if "--check" in arguments:
        return int(old != new)
    readme.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
