"""What ``make gpu`` calls beside PyTorch: the C ABI in graphs, and the cases of the sanitizer."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import deal
from deal import _native
from tests.helpers import cuda_cases
from tests.helpers.devices import EMULATED, on_device

torch = pytest.importorskip("torch")

HEAD = deal.DifficultyHead(0.8, np.linspace(-1, 1, 5), -0.4, (4, 5))


def tensor(values):
    """A tensor on the device; on the emulated one what :class:`Call` reads of a tensor."""
    if not EMULATED:
        return torch.from_numpy(values.copy()).cuda()
    held = torch.from_numpy(values.copy())
    return SimpleNamespace(
        data_ptr=held.data_ptr,
        stride=held.stride,
        shape=held.shape,
        dtype=held.dtype,
        device=SimpleNamespace(type="cuda"),
        copy_=held.copy_,
    )


@on_device
def test_a_captured_call_is_replayed_on_what_the_logits_hold_then():
    from deal.bench.gpu.abi import Call

    first, second = np.random.default_rng(0).normal(size=(2, 2, 5, 6, 7)).astype(np.float32) * 3
    z = tensor(first)
    size = (20, 24)
    call = Call(z, size, head=HEAD, cell=8, lines=True)
    stream = _native.Stream(0)
    call.run(stream.cuda_stream)
    stream.begin_capture()
    call.enqueue(stream.cuda_stream)
    graph = stream.end_capture()
    for values in (second, first, second):
        z.copy_(torch.from_numpy(values))
        if not EMULATED:
            torch.cuda.synchronize()
        graph.launch(stream)
        call.finish()
        expected = deal.score_logits(values, size=size, head=HEAD, regions=deal.Grid(8))
        for found, wanted in ((call.images, expected.images), (call.regions, expected.regions)):
            for name in found.keys() - {"nonfinite"}:
                np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)
    call.close()


@pytest.mark.slow
@on_device
def test_the_cases_of_the_sanitizer_have_the_bits_of_the_cpu(monkeypatch, capsys):
    if EMULATED:  # fibers are slow
        monkeypatch.setattr(cuda_cases, "_LARGEST", 2000)
    assert cuda_cases.main("cuda") == 0
    assert "bits of the CPU" in capsys.readouterr().out


def test_the_cases_of_the_sanitizer_tell_which_bits_differ(monkeypatch, capsys):
    monkeypatch.setattr(cuda_cases, "_LARGEST", 100)
    plain, calls = deal.score_logits, []

    def wrong_at_first(**arguments):
        found = plain(**arguments)
        calls.append(found)
        found.images["n_pixels"][0] += len(calls) == 1
        return found

    monkeypatch.setattr(deal, "score_logits", wrong_at_first)
    assert cuda_cases.main("cpu") == 1
    assert capsys.readouterr().out.strip().endswith("float32: n_pixels")
