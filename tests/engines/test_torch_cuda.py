"""PyTorch on a CUDA device, which the emulated one plays in the CPU's memory."""

import contextlib
import ctypes

import numpy as np
import pytest
import torch

from deal import _native
from deal.bench.networks import random_module
from deal.engines import open_engine, torch_cuda
from deal.engines.base import on_host
from deal.engines.torch import RgbNetwork
from deal.errors import EngineUnavailableError, ModelError
from deal.model.dropout import draw_masks
from deal.training.checkpoint import save_checkpoint
from tests.helpers.devices import BUILT, EMULATED, on_device
from tests.helpers.models import scenes

PLACES = ("logits", "embedding")
TOLERANCE = 1e-3  # of logits that deviate by 3


@pytest.fixture
def cuda(monkeypatch):
    """A device for PyTorch: the GPU, or on the emulated one what its functions do there."""
    if not EMULATED:
        return
    current = []

    def tensor_of(array, device):
        assert device == "cuda:0"
        raw = (ctypes.c_char * array.nbytes).from_address(array.address)
        return torch.from_numpy(np.frombuffer(raw, array.dtype).reshape(array.shape))

    @contextlib.contextmanager
    def work_on(handle):
        """What runs at once does not queue up, so what was queued comes first."""
        (stream,) = (s for s in current if s.cuda_stream == handle)
        stream.synchronize()
        yield

    plain = _native.Stream

    def stream_of(index):
        current.append(plain(index))
        return current[-1]

    monkeypatch.setattr(_native, "Stream", stream_of)
    monkeypatch.setattr(torch, "as_tensor", tensor_of)
    monkeypatch.setattr(torch.cuda, "ExternalStream", lambda handle, device: handle)
    monkeypatch.setattr(torch.cuda, "stream", work_on)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(RgbNetwork, "to", lambda self, device: self)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "model.pt"
    save_checkpoint(path, *random_module("light", classes=5, size=(48, 64)))
    return path


@pytest.fixture
def engines(cuda, path):
    """On the device, in batches of four, and on the CPU."""
    on_gpu = open_engine(path, "torch", device="cuda", batch_size=4)
    return on_gpu, open_engine(path, "torch", device="cpu", threads=1)


@on_device
@pytest.mark.parametrize("count", [1, 4, 6])
def test_outputs_are_those_of_the_cpu_in_batches_of_any_size(engines, count):
    on_gpu, on_cpu = engines
    images = np.stack(scenes(count))
    found = on_gpu.infer(images)
    assert found.logits.__cuda_array_interface__["shape"] == (count, 5, 12, 16)
    found, expected = on_host(found), on_cpu.infer(images)
    for place in PLACES:
        value = getattr(expected, place)
        np.testing.assert_allclose(getattr(found, place), value, rtol=0, atol=TOLERANCE)


@on_device
def test_masks_drop_on_the_device_what_they_drop_on_the_cpu(engines):
    on_gpu, on_cpu = engines
    images = np.stack(scenes(2))
    masks = draw_masks(on_cpu.spec.dropout, seed=3, index=0)
    found = on_host(on_gpu.infer(images, masks)).logits
    expected = on_cpu.infer(images, masks).logits
    assert not np.allclose(expected, on_cpu.infer(images).logits, rtol=0, atol=0.1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


@on_device
def test_lanes_share_the_network_and_nothing_else(engines):
    on_gpu, on_cpu = engines
    images = scenes(8)
    twin = on_gpu.lane()
    first, second = on_gpu.infer(np.stack(images[:4])), twin.infer(np.stack(images[4:]))
    for found, given in ((first, images[:4]), (second, images[4:])):
        expected = on_cpu.infer(np.stack(given)).logits
        np.testing.assert_allclose(on_host(found).logits, expected, rtol=0, atol=TOLERANCE)


@on_device
def test_what_pytorch_does_not_run_is_told(engines, monkeypatch):
    def fail(self, image, masks=()):
        raise RuntimeError("out of memory\nat some place")

    monkeypatch.setattr(RgbNetwork, "forward", fail)
    with pytest.raises(ModelError, match=r"on 4 images of 48×64 \(H×W\): out of memory\. .*small"):
        engines[0].lane().infer(np.zeros((1, 48, 64, 3), np.uint8))


def test_a_device_that_is_not_there_is_refused(path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(EngineUnavailableError, match="sees 1 CUDA devices"):
        open_engine(path, "torch", device="cuda:1")
    assert torch_cuda.cuda_index("cpu") is None


@pytest.mark.skipif(BUILT, reason="this build has the CUDA kernels")
def test_a_build_without_kernels_is_refused(path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(EngineUnavailableError, match="no CUDA kernels"):
        open_engine(path, "torch", device="cuda")
