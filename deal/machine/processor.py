"""What the processor of this machine can do."""

from __future__ import annotations

import platform
from pathlib import Path

__all__ = ["emulates_bfloat16", "has_bfloat16", "has_int8_dot_product"]

_X86 = ("x86_64", "AMD64", "i686")
_INT8 = frozenset(("avx512_vnni", "avx_vnni", "amx_int8"))
_BFLOAT16 = frozenset(("avx512_bf16", "amx_bf16"))


def has_int8_dot_product(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether products of uint8 and int8 are summed without overflow.

    x86 does so with VNNI or AMX; without them, pairs of products are added in 16 bits with
    saturation. Other processors widen first. False if unknown, which is always safe and costs no
    speed.
    """
    if platform.machine() not in _X86:
        return True
    return not _INT8.isdisjoint(_flags(cpuinfo))


def has_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this is an x86 processor that multiplies bfloat16; False if unknown."""
    return platform.machine() in _X86 and not _BFLOAT16.isdisjoint(_flags(cpuinfo))


def emulates_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether PyTorch computes bfloat16 number by number here; False if unknown.

    It does on x86 without AVX-512: a step of training takes many times one in float32.
    """
    flags = _flags(cpuinfo)
    return platform.machine() in _X86 and bool(flags) and "avx512f" not in flags


def _flags(cpuinfo: Path) -> list[str]:
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return []
    return next((line for line in lines if line.startswith("flags")), "").split()
