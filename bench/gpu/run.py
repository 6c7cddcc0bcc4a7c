"""Run the sections in turn, within a time budget, and keep what each of them found."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from deal.bench.environment import environment
from deal.bench.gpu import machine
from deal.bench.gpu.record import read_lines
from deal.bench.gpu.section import SECTIONS
from deal.errors import UsageError
from deal.machine.files import write_text

__all__ = ["BUDGET", "failed", "run"]

BUDGET = 420.0
"""Seconds of all sections together; a minute of the eight is for the build."""

_LEAST = 5.0


def run(
    *,
    device: str = "cuda",
    output: str | None = None,
    budget: float = BUDGET,
    sections: Sequence[str] = (),
    command: str = "",
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Prove and measure the GPU path; JSON values, also written to ``output`` after each section.

    Parameters
    ----------
    device : ``cuda`` or ``cpu``
        ``cpu`` rehearses: every section runs on small shapes, and its figures mean nothing.
    output : str, optional
        File of the JSON.
    budget : float
        Seconds; a section that would exceed them is cut, those after it are left out.
    sections : sequence of str
        Of :data:`~deal.bench.gpu.section.SECTIONS`, all by default.
    command : str
        Measures it again.
    say : callable
        Is told of each section as it begins and ends.

    Raises
    ------
    UsageError
        There is no GPU to measure; nothing has run.
    """
    reason = machine.why_not() if device == "cuda" else None
    if reason is not None:
        raise UsageError(reason)
    found: dict[str, Any] = {
        "question": "gpu",
        "command": command,
        "rehearsal": device == "cpu",
        "environment": dict(environment()) | {"gpu": machine.describe()},
        "sections": [],
    }
    start = time.monotonic()
    earlier: dict[str, float] = {}
    for name in [name for name in SECTIONS if not sections or name in sections]:
        left = budget - (time.monotonic() - start)
        say(f"{name} …")
        one = _run_section(name, device, min(SECTIONS[name].seconds, left), earlier)
        say(f"{name}: {one['status']} after {one['seconds']:.0f} s")
        found["sections"].append(one)
        earlier |= {row["name"]: row["value"]["median"] for row in one["rows"]}
        found["seconds"] = time.monotonic() - start
        if output is not None:
            _write(Path(output), found)
    return found


def failed(found: dict[str, Any]) -> list[str]:
    """Sections that disprove something, or did not get to prove it."""
    return [
        one["name"]
        for one in found["sections"]
        if one["status"] in ("failed", "crashed")
        or (one["status"] in ("cut", "left out") and SECTIONS[one["name"]].proves)
    ]


def _run_section(
    name: str, device: str, seconds: float, earlier: dict[str, float]
) -> dict[str, Any]:
    one: dict[str, Any] = {"name": name, "limit": round(seconds, 1), "seconds": 0.0}
    if seconds < _LEAST:
        return one | {
            "status": "left out",
            "rows": [],
            "checks": [],
            "notes": ["the budget was spent before it"],
        }
    with tempfile.TemporaryDirectory(prefix="deal-bench-") as folder:
        lines, log = Path(folder) / "lines.jsonl", Path(folder) / "log.txt"
        command = [sys.executable, "-m", "deal.bench.gpu.section", name, device]
        start = time.monotonic()
        with log.open("wb") as file:
            child = subprocess.Popen(
                [*command, str(lines), str(seconds), json.dumps(earlier)],
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code: int | None = child.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                _end(child)
        one["seconds"] = round(time.monotonic() - start, 1)
        found = read_lines(lines)
        if code not in (0, None):
            text = log.read_text(encoding="utf-8", errors="replace").strip()
            found.notes.append(text[-1500:])
    if code is None:
        found.notes.append(f"cut after {one['seconds']:.0f} s")
    bad = any(not check["passed"] for check in found.checks)
    return one | {
        "status": _status(code, bad, found.other),
        "rows": found.rows,
        "checks": found.checks,
        "notes": found.notes,
        "skipped": found.other.get("skipped"),
        "clocks": found.other.get("clocks"),
    }


def _status(code: int | None, bad: bool, other: dict[str, Any]) -> str:
    if bad:
        return "failed"
    if code is None:
        return "cut"
    if code != 0:
        return "crashed"
    return "skipped" if "skipped" in other else "done"


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill the section with everything that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _write(path: Path, found: dict[str, Any]) -> None:
    write_text(path, json.dumps(found, indent=2) + "\n")
