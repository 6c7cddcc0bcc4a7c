"""What a section of ``deal bench gpu`` finds, written line by line so that nothing is lost."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deal.bench.report import Row
from deal.bench.timing import Spread, spread

__all__ = ["CheckError", "Found", "Record", "SkipError", "read_lines"]


class SkipError(Exception):
    """A section, or a part of it, cannot run here; the message says why."""


class CheckError(Exception):
    """Something is not right, so that nothing further of it is worth timing."""


@dataclass
class Record:
    """Where a section writes, and what it may use.

    Parameters
    ----------
    path : Path
        JSON lines: rows, checks and notes, in their order.
    device : ``cuda`` or ``cpu``
        ``cpu`` is a rehearsal: the same code on shapes that are too small to time.
    seconds : float
        What the section has before it is cut.
    earlier : mapping of str to float
        Medians of the rows of sections before this one.
    """

    path: Path
    device: str
    seconds: float
    earlier: Mapping[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    @property
    def rehearsal(self) -> bool:
        """Whether figures mean nothing."""
        return self.device == "cpu"

    @property
    def left(self) -> float:
        """Seconds until the section is cut."""
        return self.seconds - (time.monotonic() - self.started)

    def row(
        self, name: str, values: Sequence[float] | Spread, unit: str, target: str | None = None
    ) -> None:
        """Write a figure: the spread of some values."""
        row = Row(name, values if isinstance(values, Spread) else spread(values), unit, target)
        self._write({"row": asdict(row) | {"reached": row.reached}})

    def check(self, name: str, passed: bool, detail: str = "") -> None:
        """Write a verdict; CheckError unless it passed."""
        self._write({"check": {"name": name, "passed": bool(passed), "detail": detail}})
        if not passed:
            raise CheckError(f"{name}: {detail}")

    def note(self, text: str) -> None:
        """Write a remark, for instance what is left out and why."""
        self._write({"note": text})

    def write(self, key: str, value: Any) -> None:
        """Write a JSON value that is no figure."""
        self._write({key: value})

    def _write(self, entry: Mapping[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


@dataclass
class Found:
    """What a section wrote."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    other: dict[str, Any] = field(default_factory=dict)


def read_lines(path: Path) -> Found:
    """Read what a section wrote, also one that was killed within a line."""
    found = Found()
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        for key, value in entry.items():
            match key:
                case "row":
                    found.rows.append(value)
                case "check":
                    found.checks.append(value)
                case "note":
                    found.notes.append(value)
                case _:
                    found.other[key] = value
    return found
