"""The machine and the software that figures were measured with, and when."""

from __future__ import annotations

import datetime
import os
import platform
import sys
from pathlib import Path
from typing import Any

from deal.bench.checkout import commit
from deal.machine.packages import versions_of

__all__ = ["environment", "processor_value"]

_PACKAGES = (
    *("deal-score", "numpy", "pyarrow", "torch"),
    *("onnxruntime", "onnxruntime-gpu", "openvino"),
)


def environment() -> dict[str, Any]:
    """Date (UTC), commit, processor, cores this process may use, load, and versions."""
    from deal import _native

    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "processor": processor_value("model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "system": platform.platform(),
        "python": sys.version.split()[0],
        "kernel": _native.build_info(),
        "versions": versions_of(_PACKAGES),
    }


def processor_value(key: str) -> str | None:
    """What ``/proc/cpuinfo`` says of the first core, such as ``model name``; None if nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), None)
