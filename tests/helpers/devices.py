"""Arrays on a CUDA device for tests: PyTorch's on a GPU, NumPy's on the emulated device."""

from __future__ import annotations

import ctypes
import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from deal import _native
from deal.engines.base import on_host
from deal.engines.device import DeviceArray
from deal.types import EngineOutput

BUILT = "cuda=yes" in _native.build_info()


def _no_gpu() -> str | None:
    """Why nothing can be scored on a GPU here, or None."""
    if not BUILT:
        return "this build has no CUDA kernels"
    try:
        if ctypes.CDLL("libcuda.so.1").cuInit(0) != 0:
            return "the CUDA driver does not start"
    except OSError:
        return "no CUDA driver"
    try:
        import torch
    except ImportError:
        return "the arrays of these tests are PyTorch's, which is not installed"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return None if torch.cuda.is_available() else "this PyTorch has no CUDA"


def _emulated() -> bool:
    try:
        return _native.device_properties(0)["name"] == "emulated"
    except OSError:  # no CUDA, or no driver
        return False


EMULATED = _emulated()
NO_GPU = _no_gpu()
on_gpu = pytest.mark.skipif(NO_GPU is not None, reason=str(NO_GPU))
on_device = pytest.mark.skipif(NO_GPU is not None and not EMULATED, reason=str(NO_GPU))
on_emulation = pytest.mark.skipif(not EMULATED, reason="the extension does not emulate CUDA")


class HostArray:
    """A NumPy array that says it lies on a device: the emulated one's addresses are the host's."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {**self.array.__array_interface__, "version": 3, "stream": None}


def to_device(array: Any) -> Any:
    """A copy on the device; None stays None."""
    if array is None:
        return None
    if EMULATED:
        return HostArray(np.array(array))
    import torch

    return torch.from_numpy(np.array(array)).cuda()


def to_host(array: Any) -> NDArray[Any]:
    """What an array of :func:`to_device` holds."""
    return array.array if EMULATED else array.cpu().numpy()


def assert_output_on_device(output: EngineOutput, expected: EngineOutput) -> None:
    """Hold an engine's output, left on the device, to the bits of the one on the host."""
    assert isinstance(output.logits, DeviceArray)
    found = on_host(output)
    for name in ("logits", "difficulty", "embedding"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        if theirs is None:
            assert ours is None
        else:
            ours = ours.astype(theirs.dtype)
            np.testing.assert_array_equal(ours, theirs, name)  # says how far they are apart
            assert ours.tobytes() == theirs.tobytes(), name


def stream() -> Any:
    """A stream of its own."""
    if EMULATED:
        return _native.Stream(0)
    import torch

    return torch.cuda.Stream()
