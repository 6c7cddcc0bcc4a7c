"""Arrays on a CUDA device for tests: PyTorch's on a GPU, NumPy's on the emulated device."""

from __future__ import annotations

import ctypes
import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from deal import _native
from deal.engines import onnxruntime_cuda
from deal.engines.base import parse_device
from deal.engines.onnxruntime import open_session
from deal.errors import EngineUnavailableError

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


def stream() -> Any:
    """A stream of its own."""
    if EMULATED:
        return _native.Stream(0)
    import torch

    return torch.cuda.Stream()


# ---- ONNX Runtime ------------------------------------------------------


def no_cuda_provider():
    """Why ONNX Runtime cannot run on a GPU here, or None."""
    if EMULATED:
        return "the extension emulates CUDA"
    try:
        onnxruntime_cuda.cuda_index("cuda")
    except EngineUnavailableError as error:
        return str(error)
    return None


class CpuSession:
    """A session on the CPU that takes the emulated device's addresses, as one on CUDA takes them.

    It computes at once, what a session on CUDA does when its stream gets there.
    """

    def __init__(self, path: Any, stream: _native.Stream) -> None:
        self._real = open_session(path, 1)
        self._stream = stream
        self.io_binding = self._real.io_binding
        self.runs: list[Any] = []

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        self._stream.synchronize()
        self.runs.append(binding)
        self._real.run_with_iobinding(binding, options)


@pytest.fixture
def ort_on_device(monkeypatch: pytest.MonkeyPatch) -> list[CpuSession]:
    """``--engine ort --device cuda`` on the emulated device; its sessions, as they are opened."""
    if not EMULATED:
        pytest.skip("the extension does not emulate CUDA")
    opened: list[CpuSession] = []

    def open_cuda_session(path, stream, threads, *, captured):
        opened.append(CpuSession(path, stream))
        return opened[-1], captured

    def cuda_index(device):
        return None if device == "cpu" else parse_device(device)[1]

    monkeypatch.setattr(onnxruntime_cuda, "open_cuda_session", open_cuda_session)
    monkeypatch.setattr(onnxruntime_cuda, "cuda_index", cuda_index)
    monkeypatch.setattr(onnxruntime_cuda, "_PLACE", "cpu")
    return opened
