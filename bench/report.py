"""What a benchmark found: rows with units, ratios with targets, and the machine it ran on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deal.bench.environment import environment
from deal.bench.timing import Spread

__all__ = ["Report", "Row"]


@dataclass(frozen=True, slots=True)
class Row:
    """One measured figure.

    ``target`` is a bound the project set itself: ``">= 10"`` or ``"<= 0.3"``; None for none.
    """

    name: str
    value: Spread
    unit: str
    target: str | None = None

    @property
    def reached(self) -> bool | None:
        """Whether the median meets the target; None without one."""
        if self.target is None:
            return None
        relation, bound = self.target.split()
        if relation == ">=":
            return bool(self.value.median >= float(bound))
        return bool(self.value.median <= float(bound))


@dataclass(frozen=True, slots=True)
class Report:
    """Rows of one question, with its settings and the environment.

    ``command`` measures them again (:func:`deal.bench.command.recorded`); it is empty until the
    command line fills it in.
    """

    question: str
    settings: Mapping[str, Any]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    command: str = ""
    environment: Mapping[str, Any] = field(default_factory=environment)

    def to_dict(self) -> dict[str, Any]:
        """JSON values; each row with ``reached``."""
        rows = [asdict(row) | {"reached": row.reached} for row in self.rows]
        return asdict(self) | {"rows": rows}

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write as JSON."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")
