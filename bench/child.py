"""A command in a process of its own: how long it takes and how much memory at its peak."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Child", "deal_program", "run_child", "user_environment"]

# Between the benchmark and the command, since a process inherits the peak of what started it.
_LAUNCHER = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
seconds = time.perf_counter() - start
used = resource.getrusage(resource.RUSAGE_CHILDREN)
peak, cpu = used.ru_maxrss * 1024, used.ru_utime + used.ru_stime
text = done.stderr.decode(errors="replace")[-2000:]
print(json.dumps([done.returncode, seconds, cpu, peak, text]))
"""


@dataclass(frozen=True, slots=True)
class Child:
    """Wall and CPU seconds of a whole process, start to exit, and its peak resident bytes."""

    seconds: float
    cpu: float
    peak: int


def deal_program(name: str) -> str:
    """Path of ``deal`` or ``deal-score`` as installed beside this interpreter."""
    return str(Path(sys.executable).with_name(name))


def user_environment() -> dict[str, str]:
    """The environment of this process without PYTHONDONTWRITEBYTECODE.

    Containers often set it, and then every process compiles all modules that it imports.
    """
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def run_child(arguments: Sequence[str]) -> Child:
    """Run a command to its end; RuntimeError, with what it wrote to stderr, unless it exits 0."""
    launched = subprocess.run(
        [sys.executable, "-S", "-E", "-c", _LAUNCHER, *arguments],
        check=True,
        env=user_environment(),
        stdout=subprocess.PIPE,
    )
    status, seconds, cpu, peak, text = json.loads(launched.stdout)
    if status != 0:
        raise RuntimeError(f"{' '.join(arguments)} ended with status {status}: {text}")
    return Child(seconds, cpu, peak)
