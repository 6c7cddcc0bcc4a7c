"""The small cases on the GPU for compute-sanitizer: ``python -m tests.helpers.cuda_cases``.

It needs no PyTorch and loads nothing that brings kernels of its own, so that the sanitizer watches
these alone, and holds every table to the CPU's bits. Argument ``cpu`` rehearses it on host memory.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

import deal
from deal import _native
from deal.engines.device import DeviceArray
from tests.helpers.cases import CASES, flatten

_LARGEST = 20_000  # raster pixels of a batch; racecheck takes hundreds of times as long
_HALVES = ("odd sizes", "two classes")
_COMMITTEES = ("half pixel, smaller", "segments and mask")
_MEMBERS = 3


def on_device(values: NDArray[Any] | None) -> DeviceArray | None:
    """A copy on the first GPU; None stays None."""
    if values is None:
        return None
    stream = _native.Stream(0)
    array = DeviceArray.empty(values.shape, values.dtype, stream)
    values = np.ascontiguousarray(values)
    stream.copy(array.address, values.ctypes.data, values.nbytes)
    stream.synchronize()
    return array


def _cases() -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and arguments of `deal.score_logits`, on the host."""
    for case in CASES:
        if case.shape[0] * case.size[0] * case.size[1] > _LARGEST:
            continue
        for dtype in (np.float32, *([np.float16] if case.name in _HALVES else [])):
            arguments = case.make()
            arguments["logits"] = arguments["logits"].astype(dtype)
            yield f"{case.name}, {np.dtype(dtype)}", arguments
        if case.name in _COMMITTEES:
            arguments = case.make()
            shape = (_MEMBERS, *arguments["logits"].shape)
            logits = 3 * np.random.default_rng(3).normal(size=shape)
            arguments["logits"] = logits.astype(np.float32)
            yield f"{case.name}, committee of {_MEMBERS}", arguments


def main(device: str) -> int:
    """Print the cases whose bits differ; 1 if any does."""
    move = on_device if device == "cuda" else lambda values: values
    wrong = []
    for label, arguments in _cases():
        where = arguments["regions"]
        if isinstance(where, deal.Segments):
            where = deal.Segments(move(where.map), where.count)
        moved = {name: move(arguments[name]) for name in ("logits", "difficulty", "mask")}
        found = deal.score_logits(**arguments | moved | {"regions": where})
        expected = flatten(deal.score_logits(**arguments))
        for name, value in flatten(found).items():
            if value != expected[name]:
                wrong.append(f"{label}: {name}")
    print("\n".join(wrong) if wrong else "every table has the bits of the CPU")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if sys.argv[1:] else "cuda"))
