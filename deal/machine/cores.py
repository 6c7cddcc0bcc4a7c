"""Count the cores this process may use, by its affinity and the CPU limit of its container."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

__all__ = ["available_cores", "cpu_quota"]


def available_cores() -> int:
    """Number of cores this process may use, at least 1.

    It is the number that the affinity allows, limited by the CPU time that the control groups
    grant. A fraction of a core counts as one core, since a thread can use its time.
    """
    cores = len(os.sched_getaffinity(0))
    quota = _own_quota()
    return cores if quota is None else max(min(cores, math.ceil(quota)), 1)


@cache
def _own_quota() -> float | None:
    return cpu_quota(Path("/proc/self"))


def cpu_quota(process: Path) -> float | None:
    """CPU time a process may take, in cores; None without a limit.

    It is the least limit of the process's control group and of all visible groups above:
    ``cpu.max`` in version 2, ``cpu.cfs_quota_us`` divided by ``cpu.cfs_period_us`` in version 1
    (Linux, cgroups(7)).

    Parameters
    ----------
    process : Path
        Folder of the process in ``/proc``, in which ``cgroup`` and ``mountinfo`` are read.
    """
    try:
        groups = (process / "cgroup").read_text(encoding="utf-8", errors="surrogateescape")
        mounts = (process / "mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:  # no control groups on this system
        return None
    quotas = [
        quota
        for folder in _folders(_own_groups(groups), mounts)
        for quota in (_quota_v2(folder), _quota_v1(folder))
        if quota is not None
    ]
    return min(quotas, default=None)


def _own_groups(text: str) -> dict[str, str]:
    """Path of the process's group by file system: ``cgroup2``, and ``cgroup`` for version 1."""
    found = {}
    for line in text.splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            found["cgroup2"] = path
        elif "cpu" in controllers.split(","):
            found["cgroup"] = path
    return found


def _folders(groups: dict[str, str], mounts: str) -> Iterator[Path]:
    """Folders of the groups, and of all groups above them."""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(" "), after.split(" ", 2)
        if kind not in groups or (kind == "cgroup" and "cpu" not in options.split(",")):
            continue
        root, point = map(_unescaped, fields[3:5])
        # A container may see its own group as the root, although the path differs outside.
        inside = groups[kind].removeprefix(root if root != "/" else "")
        yield Path(point)
        parts = [part for part in inside.split("/") if part]
        if ".." not in parts:
            for depth in range(1, len(parts) + 1):
                yield Path(point, *parts[:depth])


def _unescaped(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)


def _quota_v2(folder: Path) -> float | None:
    numbers = _numbers(folder / "cpu.max")
    return numbers[0] / numbers[1] if len(numbers) == 2 else None


def _quota_v1(folder: Path) -> float | None:
    quota, period = (_numbers(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    return quota[0] / period[0] if quota and period else None


def _numbers(path: Path) -> list[int]:
    """The positive numbers in a file: ``max`` and -1 mean no limit."""
    try:
        words = path.read_text(encoding="ascii").split()
    except OSError:
        return []
    return [int(word) for word in words if word.isdigit() and int(word) > 0]
