"""Cycles of the core: a chain of dependent additions takes one each, whatever the clock is."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from deal.bench.checkout import build
from deal.bench.environment import processor_value

__all__ = ["CYCLES", "chain", "nominal_clock"]

_ADDITIONS = 64  # of a round of clock.c
_ROUNDS = 2**17
CYCLES = _ADDITIONS * _ROUNDS
"""Cycles of one turn of a :func:`chain`: some milliseconds."""


def chain(turns: int = 1) -> Callable[[], int]:
    """Something to time beside what is measured; a call returns its sum, `turns` · `CYCLES`.

    Raises
    ------
    UsageError
        It cannot be built here (:func:`deal.bench.checkout.build`).
    """
    function = ctypes.CDLL(str(build("build/bench_clock.so"))).additions
    function.argtypes, function.restype = (ctypes.c_int64, ctypes.c_uint64), ctypes.c_uint64
    return lambda: int(function(turns * _ROUNDS, 1))


def nominal_clock() -> float | None:
    """Hz that ``/proc/cpuinfo`` names, not what the core runs at; None if it names none."""
    megahertz = processor_value("cpu MHz")
    return None if megahertz is None else float(megahertz) * 1e6
