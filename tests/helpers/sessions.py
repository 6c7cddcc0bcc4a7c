"""ONNX Runtime on a device: why there is none, and how the emulated one plays it."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from deal import _native
from deal.engines import onnxruntime_cuda
from deal.engines.base import parse_device
from deal.engines.onnxruntime import open_session
from deal.errors import EngineUnavailableError
from tests.helpers.devices import EMULATED


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
        self.threads: set[int] = set()

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        self._stream.synchronize()
        self.runs.append(binding)
        self.threads.add(threading.get_ident())
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
