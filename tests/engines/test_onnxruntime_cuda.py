"""ONNX Runtime on CUDA: on the emulated device with the CPU's session, and what may be missing."""

import importlib.metadata
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto

from deal.engines import onnxruntime_cuda, open_engine
from deal.engines.base import on_host
from deal.errors import EngineUnavailableError, ModelError, UsageError
from deal.machine.driver import Driver
from deal.model.dropout import draw_masks
from tests.helpers.devices import assert_output_on_device
from tests.helpers.models import MEAN, STD, metadata, redressed, save_model, scenes
from tests.helpers.sessions import no_cuda_provider, ort_on_device

__all__ = ["ort_on_device"]

IMAGES = np.stack(scenes(5))
FOREIGN = {"classes": 5, "mean": list(MEAN), "std": list(STD)}


def pair(path, options=None, **device):
    """The engine on the CPU, the oracle, and the one on the device."""
    cpu = open_engine(path, device="cpu", options=options)
    return cpu, open_engine(path, device="cuda", options=options, **{"batch_size": 2} | device)


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ({}, {"classes": 5}),
        ({"size": (48, 64)}, {"classes": 5}),
        ({"batch": 2, "size": (48, 64)}, {"classes": 5}),
        ({"bgr": True}, {"classes": 5, "input_format": "bgr8"}),
        ({"floating": True}, FOREIGN),
        ({"floating": True, "half": True}, FOREIGN),
        ({"difficulty": True, "embedding": True}, {"classes": 5}),
        ({"size": (48, 64), "difficulty": True, "embedding": True}, {"classes": 5}),
    ],
    ids=["any size", "one size", "one batch", "bgr", "float", "half", "more outputs", "all fixed"],
)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_outputs_are_the_bits_of_the_cpu(ort_on_device, tmp_path, model, options, count):
    cpu, device = pair(save_model(tmp_path / "m.onnx", **model), options)
    assert (device.device, device.captured) == ("cuda:0", "size" in model)
    expected = cpu.infer(IMAGES[:count])
    output = device.infer(IMAGES[:count])
    assert_output_on_device(output, expected)


@pytest.mark.parametrize(
    ("dress", "options"),
    [
        ({"input_nhwc": True}, {}),
        ({"output_nhwc": True}, {"output_layout": "nhwc"}),
        ({"output_type": TensorProto.DOUBLE}, {}),
    ],
)
def test_layouts_and_types_of_other_frameworks_are_those_of_the_cpu(
    ort_on_device, tmp_path, dress, options
):
    path = redressed(save_model(tmp_path / "m.onnx", floating=True), **dress)
    cpu, device = pair(path, FOREIGN | options)
    found = on_host(device.infer(IMAGES)).logits
    assert device.on_device == ("input_nhwc" in dress)  # what is rearranged passes the host
    np.testing.assert_array_equal(found, cpu.infer(IMAGES).logits)


@pytest.mark.parametrize("size", [None, (48, 64)])
def test_dropout_masks_go_up_with_every_batch(ort_on_device, tmp_path, size):
    layer = {"input": "mask", "channels": 5, "rate": 0.5}
    props = metadata(dropout=[layer])
    path = save_model(tmp_path / "m.onnx", dropout=True, size=size, props=props)
    cpu, device = pair(path)
    for index in range(3):
        masks = draw_masks(cpu.spec.dropout, seed=1, index=index) if index else None
        found = device.infer(IMAGES[:2], masks).logits.to_host()
        assert found.tobytes() == cpu.infer(IMAGES[:2], masks).logits.tobytes()


def test_images_of_several_sizes_take_turns(ort_on_device, tmp_path):
    cpu, device = pair(save_model(tmp_path / "m.onnx", props=metadata()))
    for size in ((48, 64), (32, 40), (48, 64), (64, 64)):
        images = np.stack(scenes(2, size))
        found = device.infer(images).logits.to_host()
        assert found.tobytes() == cpu.infer(images).logits.tobytes()


def test_lanes_share_one_session_and_one_captured_graph(ort_on_device, tmp_path):
    cpu, device = pair(save_model(tmp_path / "m.onnx", size=(48, 64), props=metadata()))
    lanes = [device, device.lane(), device.lane()]
    outputs = [lane.infer(IMAGES[i : i + 2]).logits for i, lane in enumerate(lanes)]
    for i, output in enumerate(outputs):
        assert output.to_host().tobytes() == cpu.infer(IMAGES[i : i + 2]).logits.tobytes()
    assert len(ort_on_device) == 1
    shapes, *bound = ort_on_device[0].runs
    assert shapes is not bound[0]
    assert len({id(binding) for binding in bound}) == 1


def test_one_thread_runs_what_is_captured_for_all_lanes(ort_on_device, tmp_path):
    """ONNX Runtime would capture a graph for each thread, while others take memory."""
    cpu, device = pair(save_model(tmp_path / "m.onnx", size=(48, 64), props=metadata()))
    lanes = [device, device.lane()]
    expected = cpu.infer(IMAGES[:2]).logits.tobytes()
    together = Barrier(len(lanes))

    def infer(lane):
        together.wait()
        return [lane.infer(IMAGES[:2]).logits.to_host().tobytes() for _ in range(3)]

    with ThreadPoolExecutor(len(lanes)) as executor:
        assert list(executor.map(infer, lanes)) == [[expected] * 3] * len(lanes)
    assert len(ort_on_device[0].threads) == 1


def test_probabilities_are_converted_on_the_host(ort_on_device, tmp_path):
    options = {"classes": 5, "output_kind": "probabilities"}
    path = save_model(tmp_path / "m.onnx", kind="softmax", difficulty=True)
    cpu, device = pair(path, options)
    found, expected = device.infer(IMAGES), cpu.infer(IMAGES)
    assert found.logits.tobytes() == expected.logits.tobytes()
    assert found.difficulty.tobytes() == expected.difficulty.tobytes()


@pytest.mark.parametrize("kind", ["argmax", "argmax3", "softmax"])
def test_outputs_that_cannot_be_scored_are_refused_as_on_the_cpu(ort_on_device, tmp_path, kind):
    path = save_model(tmp_path / "m.onnx", kind=kind)
    messages = []
    for device in ("cpu", "cuda"):
        with pytest.raises(ModelError) as error:
            open_engine(path, device=device, options={"classes": 5}, batch_size=2)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


def test_a_gpu_that_the_build_has_no_code_for_is_named_with_the_remedy(
    ort_on_device, tmp_path, monkeypatch
):
    path = save_model(tmp_path / "m.onnx", size=(48, 64), props=metadata())
    monkeypatch.setenv("EMULATED_NO_CODE", "1")
    expected = "cuda:0: .*no code for emulated: install .* from source with DEAL_CUDA_ARCHS=90"
    with pytest.raises(EngineUnavailableError, match=expected):
        open_engine(path, device="cuda")


REASON = no_cuda_provider()


@pytest.mark.skipif(REASON is not None, reason=str(REASON))
@pytest.mark.parametrize("size", [None, (48, 64)], ids=["any size", "captured"])
def test_a_gpu_gives_what_the_cpu_gives(tmp_path, size):
    path = save_model(tmp_path / "m.onnx", size=size, difficulty=True, props=metadata())
    cpu, device = pair(path)
    expected = cpu.infer(IMAGES)
    lanes = [device, device.lane()]
    for _ in range(3):
        for lane in lanes:
            found = on_host(lane.infer(IMAGES))
            np.testing.assert_allclose(found.logits, expected.logits, rtol=0, atol=1e-4)
            np.testing.assert_allclose(found.difficulty, expected.difficulty, rtol=0, atol=1e-4)
    assert device.captured == (size is not None)
    repeated = [on_host(lane.infer(IMAGES)).logits.tobytes() for lane in lanes]
    assert repeated[0] == repeated[1]


# ---- what may be missing ----------------------------------------------------------------------

GPU_WHEEL = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]


@pytest.fixture
def machine(monkeypatch):
    """A machine with everything there, for tests to take something away."""

    def change(providers=GPU_WHEEL, cuda=(13, 2), devices=("NVIDIA H200",), built="13.0", own=True):
        def find_driver():
            if not devices:
                raise EngineUnavailableError("no CUDA driver: install NVIDIA's driver")
            return Driver(cuda, devices)

        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
        monkeypatch.setattr(onnxruntime, "cuda_version", built, raising=False)
        monkeypatch.setattr(onnxruntime_cuda, "find_driver", find_driver)
        info = f"isa=portable cuda={'yes' if own else 'no'}"
        monkeypatch.setattr(onnxruntime_cuda._native, "build_info", lambda: info)

    change()
    return change


def test_devices_are_chosen_by_what_is_there(machine):
    index = onnxruntime_cuda.cuda_index
    assert (index("cpu"), index("auto"), index("cuda"), index("cuda:0")) == (None, 0, 0, 0)
    machine(devices=("one", "two"))
    assert index("cuda:1") == 1
    machine(devices=())
    assert index("auto") is None
    machine(providers=["CPUExecutionProvider"])
    assert index("auto") is None
    with pytest.raises(UsageError, match="unknown"):
        index("gpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"providers": ["CPUExecutionProvider"]}, r"without CUDA: pip uninstall onnxruntime, then"),
        ({"devices": ()}, r"device cuda:1: no CUDA driver: install NVIDIA's driver"),
        ({}, r"device cuda:1: there are 1 devices .*NVIDIA H200"),
        ({"devices": ("a", "b"), "cuda": (12, 4)}, r"supports CUDA 12\.4.* for CUDA 13: update"),
        ({"devices": ("a", "b"), "own": False}, r"no CUDA kernels.* DEAL_CUDA=1 .*or use --device"),
    ],
    ids=["wheel", "no driver", "no such device", "old driver", "own build"],
)
def test_what_is_missing_is_named_with_its_remedy(machine, change, message):
    machine(**change)
    with pytest.raises(EngineUnavailableError, match=message):
        onnxruntime_cuda.cuda_index("cuda:1")


def test_two_wheels_in_one_place_are_told_apart_from_a_cpu_wheel(machine, monkeypatch):
    machine(providers=["CPUExecutionProvider"])
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.31.1")
    with pytest.raises(EngineUnavailableError, match=r"both installed .* pip uninstall"):
        onnxruntime_cuda.cuda_index("cuda")


class SilentlyCpu:
    """What ONNX Runtime opens for CUDA where its libraries are missing."""

    def __init__(self, path, options, *, providers, enable_fallback):
        assert providers[0][0] == "CUDAExecutionProvider"
        assert not enable_fallback

    def get_providers(self):
        return ["CPUExecutionProvider"]


class Stream:
    device, cuda_stream = 1, 4096


def test_libraries_that_are_missing_are_named(machine, monkeypatch):
    there = {"libcudart.so.13", "libcublas.so.13", "libcurand.so.10"}

    def load(name):
        if name not in there:
            raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(onnxruntime, "InferenceSession", SilentlyCpu)
    monkeypatch.setattr(onnxruntime_cuda.ctypes, "CDLL", load)
    expected = r"cuda:1: .*libcublasLt\.so\.13, libcudnn\.so\.9 cannot be loaded: pip install 'onnx"
    with pytest.raises(EngineUnavailableError, match=expected):
        onnxruntime_cuda.open_cuda_session("m.onnx", Stream(), 1, captured=False)
    there.update({"libcublasLt.so.13", "libcudnn.so.9"})
    with pytest.raises(EngineUnavailableError, match=r"providers_cuda\.so: cannot open shared"):
        onnxruntime_cuda.open_cuda_session("m.onnx", Stream(), 1, captured=False)


def test_sessions_compute_on_our_stream_and_capture_where_they_can(machine, monkeypatch):
    asked = []

    class Session:
        def __init__(self, path, options, *, providers, enable_fallback):
            asked.append(providers[0])
            if providers[0][1]["enable_cuda_graph"] == "1":
                raise RuntimeError("This session cannot use the graph capture feature")

        def get_providers(self):
            return GPU_WHEEL

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    stream = Stream()
    session, captured = onnxruntime_cuda.open_cuda_session("m.onnx", stream, 1, captured=True)
    assert not captured
    assert session.compute_stream is stream
    common = {"device_id": 1, "user_compute_stream": "4096", "use_tf32": "0"}
    assert asked == [
        ("CUDAExecutionProvider", common | {"enable_cuda_graph": "1"}),
        ("CUDAExecutionProvider", common | {"enable_cuda_graph": "0"}),
    ]


def test_what_ort_says_of_missing_libraries_does_not_reach_stdout(machine, monkeypatch, capsys):
    def preload_dlls():
        print("Failed to load libcudart.so.13")

    monkeypatch.setattr(onnxruntime, "preload_dlls", preload_dlls, raising=False)
    monkeypatch.setattr(onnxruntime, "InferenceSession", SilentlyCpu)
    with pytest.raises(EngineUnavailableError):
        onnxruntime_cuda.open_cuda_session("m.onnx", Stream(), 1, captured=False)
    assert capsys.readouterr().out == ""
