"""Write the README's figures from ``bench/results/*.json``: ``python -m deal.bench.table``.

Run it from the repository's root. ``--check`` writes nothing and fails when the table is stale.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["render", "update"]

BEGIN = "<!-- figures: python -m deal.bench.table -->"
END = "<!-- end of figures -->"


def render(reports: Iterable[Mapping[str, Any]]) -> str:
    """Markdown of some reports (:meth:`deal.bench.report.Report.to_dict`)."""
    lines = ["| what | measured | target | command |", "|---|---|---|---|"]
    machines = []
    for report in reports:
        machine = report["environment"]
        machines.append(f"{machine['processor']}, {machine['cores']} cores")
        for row in report["rows"]:
            value, unit = row["value"], row["unit"]
            text = f"{value['median']:.4g}"
            if value["count"] > 1:
                text += f" ({value['low']:.4g} – {value['high']:.4g})"
            target = {None: "", True: "reached", False: "**not reached**"}[row["reached"]]
            target = f"{row['target']}: {target}" if row["target"] else ""
            suffix = "" if unit == "ratio" else f" {unit}"
            lines.append(f"| {row['name']} | {text}{suffix} | {target} | `{report['command']}` |")
    where = "; ".join(sorted(set(machines)))
    lines += ["", f"Medians, quartiles in brackets. Measured on: {where}."]
    return "\n".join(lines)


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
