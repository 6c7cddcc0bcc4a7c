"""What ``deal bench gpu`` found, as plain lines: they are read in logs too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["lines"]


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Each section's figures, its checks, and what was left out and why."""
    gpu = found["environment"]["gpu"]
    of = "rehearsal: figures mean nothing" if found["rehearsal"] else gpu["name"]
    yield f"{found['command']}: {of}"
    rows = [row for section in found["sections"] for row in section["rows"]]
    width = max((len(row["name"]) for row in rows), default=0)
    for section in found["sections"]:
        yield ""
        checks = section["checks"]
        passed = sum(check["passed"] for check in checks)
        verdict = f", {passed} of {len(checks)} checks passed" if checks else ""
        yield f"{section['name']}: {section['status']} in {section['seconds']:.0f} s{verdict}"
        for row in section["rows"]:
            yield "  " + _line(row, width)
        if section.get("skipped"):
            yield f"  skipped: {section['skipped']}"
        for check in checks:
            if not check["passed"]:
                yield f"  FAILED: {check['name']}: {check['detail']}"
        for note in section["notes"]:
            yield f"  {note}"


def _line(row: Mapping[str, Any], width: int) -> str:
    value = row["value"]
    text = f"{row['name']:{width}}  {value['median']:>9.4g} {row['unit']}"
    if value["count"] > 1:
        text += f" ({value['low']:.4g} – {value['high']:.4g})"
    if row["target"] is None:
        return text
    return f"{text}, {row['target']}: {'reached' if row['reached'] else 'not reached'}"
