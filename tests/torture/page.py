"""Write the table of docs/reliability.md: ``python -m tests.torture.page``.

Run it from the repository's root. ``--check`` writes nothing and fails when the table is stale.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.torture.kinds import KINDS
from tests.torture.record import RECORD, totals

__all__ = ["rendered", "update"]

BEGIN = "<!-- counts: python -m tests.torture.page -->"
END = "<!-- end of counts -->"
_PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


def rendered(counted: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: a row per kind, the images by format, and where all that ran."""
    lines = ["| kind | what | cases | goal | findings | outcomes |", "|---|---|---|---|---|---|"]
    for name, kind in KINDS.items():
        found = counted.get(name)
        if found is None:
            lines.append(f"| `{name}` | {kind.what} | not run yet | {kind.goal:,} | | |")
            continue
        outcomes = "by format below" if name == "images" else _outcomes(found["counts"])
        cases = f"{found['cases']:,}"
        findings = len(found["findings"])
        lines.append(
            f"| `{name}` | {kind.what} | {cases} | {kind.goal:,} | {findings} | {outcomes} |"
        )
    if "images" in counted:
        lines += ["", *_formats(counted["images"]["counts"])]
    lines += ["", *_where(counted)]
    return "\n".join(lines)


def _outcomes(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))


def _formats(counts: Counter[str]) -> Iterator[str]:
    yield "| damaged images | refused | the same pixels | other pixels | refused or the same |"
    yield "|---|---|---|---|---|"
    outcomes = ("refused", "the same pixels", "other pixels")
    names = {name.removesuffix(f" {end}") for name in counts for end in outcomes if end in name}
    for name in sorted(names):
        refused, same, other = (counts[f"{name} {outcome}"] for outcome in outcomes)
        share = (refused + same) / (refused + same + other)
        yield f"| {name} | {refused:,} | {same:,} | {other:,} | {share:.1%} |"


def _where(counted: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    def all_of(name: str) -> str:
        values = {str(value) for found in counted.values() for value in found[name]}
        return ", ".join(sorted(values)) or "none"

    seconds = sum(found["seconds"] for found in counted.values())
    yield f"{seconds / 3600:.1f} hours, on: {all_of('processors')}. Commits: {all_of('commits')}."


def update(text: str, counted: Mapping[str, Mapping[str, Any]]) -> str:
    """The page with the table between its marks anew."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    table = f"{BEGIN}\n\n{rendered(counted)}\n\n{END}"
    return pattern.sub(lambda match: table, text)


def main() -> int:
    counted = totals(RECORD) if RECORD.exists() else {}
    before = _PAGE.read_text(encoding="utf-8")
    after = update(before, counted)
    if "--check" in sys.argv:
        return int(before != after)
    _PAGE.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
