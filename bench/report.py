"""What a benchmark found: rows with units, ratios with targets, and the machine it ran on."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from deal.bench.timing import Spread

__all__ = ["Report", "Row", "environment"]

_PACKAGES = ("deal-score", "numpy", "onnxruntime", "onnxruntime-gpu", "torch", "pyarrow")


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
            return self.value.median >= float(bound)
        return self.value.median <= float(bound)


@dataclass(frozen=True, slots=True)
class Report:
    """Rows of one question, with its settings and the environment."""

    question: str
    command: str
    settings: Mapping[str, Any]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=lambda: environment())

    def to_dict(self) -> dict[str, Any]:
        """JSON values; each row with ``reached``."""
        rows = [asdict(row) | {"reached": row.reached} for row in self.rows]
        return asdict(self) | {"rows": rows}

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write as JSON."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")


def environment() -> dict[str, Any]:
    """Processor, cores this process may use, load, and versions of what was measured."""
    from deal import _native

    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "system": platform.platform(),
        "python": sys.version.split()[0],
        "kernel": _native.build_info(),
        "versions": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
