"""What campaigns have counted: one JSON line per run and kind, so that runs add up."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from deal.bench.environment import environment
from tests.torture.cases import Tally

__all__ = ["RECORD", "append", "totals"]

RECORD = Path(__file__).parents[2] / "bench" / "results" / "reliability.jsonl"
"""The record of this repository."""


def append(path: Path, kind: str, seed: int, tally: Tally) -> None:
    """Add a line: where and when, the kind, the seed, counts and findings."""
    machine = environment()
    line = {
        **{name: machine[name] for name in ("date", "commit", "processor", "python")},
        "kind": kind,
        "seed": seed,
        "cases": tally.cases,
        "seconds": round(tally.seconds, 1),
        "counts": dict(sorted(tally.counts.items())),
        "findings": tally.findings,
    }
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


def totals(path: Path) -> dict[str, dict[str, Any]]:
    """By kind: ``cases``, ``seconds``, ``counts``, ``findings``, ``commits``, ``seeds``."""
    found: dict[str, dict[str, Any]] = {}
    for text in path.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        kind = found.setdefault(
            line["kind"],
            {"cases": 0, "seconds": 0.0, "counts": Counter(), "findings": []}
            | {"commits": [], "seeds": [], "processors": []},
        )
        kind["cases"] += line["cases"]
        kind["seconds"] += line["seconds"]
        kind["counts"].update(line["counts"])
        kind["findings"] += line["findings"]
        for name in ("commit", "seed", "processor"):
            if line[name] not in kind[f"{name}s"]:
                kind[f"{name}s"].append(line[name])
    return found
