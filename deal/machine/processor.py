"""What the processor of this machine can do."""

from __future__ import annotations

import platform
from pathlib import Path

__all__ = ["has_int8_dot_product"]

_X86 = ("x86_64", "AMD64", "i686")
_FLAGS = frozenset(("avx512_vnni", "avx_vnni", "amx_int8"))


def has_int8_dot_product(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether products of uint8 and int8 are summed without overflow.

    x86 does so with VNNI or AMX; without them, pairs of products are added in 16 bits with
    saturation. Other processors widen first. False if unknown, which is always safe and costs no
    speed.
    """
    if platform.machine() not in _X86:
        return True
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "")
    return not _FLAGS.isdisjoint(flags.split())
