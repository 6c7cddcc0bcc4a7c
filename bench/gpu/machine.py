"""Which GPU is here, or why none; also a program that needs nothing but Python: ``machine.py``.

It prints the compute capability as ``DEAL_CUDA_ARCHS`` takes it (``90``), or one line of why there
is nothing to measure, with exit code 2.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping

__all__ = ["clocks", "describe", "find_capability", "max_gigahertz", "why_not"]

_FIELDS = (
    "name",
    "driver_version",
    "memory.total",
    "clocks.max.sm",
    "clocks.max.mem",
    "power.limit",
)
_CLOCKS = ("clocks.sm", "clocks.mem", "temperature.gpu", "power.draw")
_PACKAGES = (
    "torch",
    "triton",
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorrt",
    "tensorrt-cu12",
    "tensorrt-cu13",
    "numpy",
    "simplejpeg",
)


def _ask(fields: tuple[str, ...]) -> dict[str, str]:
    """What nvidia-smi says of the first GPU, with its units; empty without nvidia-smi."""
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader", "--id=0"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    values = told.stdout.strip().split("\n")[0].split(", ")
    return dict(zip(fields, values, strict=False))


def clocks() -> dict[str, str]:
    """Clocks, temperature and power now."""
    return _ask(_CLOCKS)


def find_capability() -> str | None:
    """Compute capability of the first GPU without its dot, or None."""
    found = _ask(("compute_cap",)).get("compute_cap", "")
    return found.replace(".", "") if re.fullmatch(r"\d+\.\d+", found) else None


def max_gigahertz() -> float | None:
    """The highest clock of the first GPU's multiprocessors, or None."""
    found = re.match(r"(\d+) MHz", _ask(("clocks.max.sm",)).get("clocks.max.sm", ""))
    return int(found[1]) / 1000 if found else None


def why_not() -> str | None:
    """Why nothing can be measured on a GPU here, in one line, or None."""
    if find_capability() is None:
        return "no GPU: nvidia-smi names none (is the NVIDIA driver installed?)"
    try:
        import torch
    except ImportError:
        return "no PyTorch: install a CUDA build of torch; the peers and the timing need it"
    if not torch.cuda.is_available():
        return (
            f"PyTorch {torch.__version__} sees no GPU: a CUDA build that fits the driver is needed"
        )
    return None


def describe() -> Mapping[str, object]:
    """GPU, driver, tools and versions."""
    from deal.machine.packages import versions_of  # the program does without deal

    told = _ask(_FIELDS)
    return {
        "name": told.get("name", "none"),
        **told,
        "compute_capability": find_capability(),
        "nvcc": _nvcc_version(),
        "versions": versions_of(_PACKAGES),
        "clocks": clocks(),
    }


def _nvcc_version() -> str | None:
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        return None
    told = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"release (\S+?),", told)
    return found[1] if found else None


def main() -> int:
    """Entry point."""
    reason = why_not()
    if reason is not None:
        print(reason, file=sys.stderr)
        return 2
    print(find_capability())
    return 0


if __name__ == "__main__":
    sys.exit(main())
