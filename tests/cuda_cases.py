"""The small cases on the GPU for compute-sanitizer: ``python -m tests.cuda_cases``.

It needs no PyTorch and loads nothing that brings kernels of its own, so that the sanitizer watches
these alone, and holds every table to the CPU's bits. Argument ``cpu`` rehearses it on host memory.
"""

from __future__ import annotations

import ctypes
import sys
from ctypes import byref, c_int, c_size_t, c_uint64, c_void_p
from typing import Any

import numpy as np
from numpy.typing import NDArray

import deal
from tests.cases import CASES, LINES, flatten

_LARGEST = 20_000  # raster pixels of a batch; racecheck takes hundreds of times as long
_HALVES = ("odd sizes", "two classes")


class Memory:
    """Device memory by the driver alone."""

    def __init__(self) -> None:
        self._driver = ctypes.CDLL("libcuda.so.1")
        device, context = c_int(), c_void_p()
        self._call("cuInit", 0)
        self._call("cuDeviceGet", byref(device), 0)
        self._call("cuDevicePrimaryCtxRetain", byref(context), device)
        self._call("cuCtxSetCurrent", context)

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._driver, name)(*arguments)
        if code != 0:
            raise OSError(f"{name}: CUDA error {code}")

    def array(self, values: NDArray[Any] | None) -> Any:
        """A copy on the device, C-contiguous."""
        if values is None:
            return None
        values = np.ascontiguousarray(values)
        address = c_uint64()
        self._call("cuMemAlloc_v2", byref(address), c_size_t(values.nbytes))
        source = c_void_p(values.ctypes.data)
        self._call("cuMemcpyHtoD_v2", address, source, c_size_t(values.nbytes))
        return DeviceArray(values, address.value or 0)


class DeviceArray:
    """What ``score_logits`` reads of an array on a device."""

    def __init__(self, values: NDArray[Any], address: int) -> None:
        self.__cuda_array_interface__ = {
            "shape": values.shape,
            "typestr": values.dtype.str,
            "data": (address, False),
            "version": 3,
        }


def main(device: str) -> int:
    """Print the cases whose bits differ; 1 if any does."""
    move = Memory().array if device == "cuda" else lambda values: values
    wrong = []
    for case in CASES:
        if case.shape[0] * case.size[0] * case.size[1] > _LARGEST:
            continue
        for dtype in (np.float32, *([np.float16] if case.name in _HALVES else [])):
            arguments = case.make()
            arguments["logits"] = arguments["logits"].astype(dtype)
            where = arguments["regions"]
            if isinstance(where, deal.Segments):
                where = deal.Segments(move(where.map), where.count)
            moved = {name: move(arguments[name]) for name in ("logits", "difficulty", "mask")}
            found = deal.score_logits(**arguments | moved | {"regions": where})
            expected = flatten(deal.score_logits(**arguments))
            for name, value in flatten(found).items():
                if not name.endswith(LINES) and value != expected[name]:
                    wrong.append(f"{case.name}, {np.dtype(dtype)}: {name}")
    print("\n".join(wrong) if wrong else "every table has the bits of the CPU")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if sys.argv[1:] else "cuda"))
