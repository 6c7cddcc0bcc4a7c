"""TensorRT's engine on the emulated device, with a TensorRT that runs on ONNX Runtime's CPU."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest

import deal
from deal._install import pip_install
from deal.engines import open_engine, tensorrt, tensorrt_library
from deal.engines.tensorrt_cache import EngineCache
from deal.errors import EngineUnavailableError, ModelError
from deal.export.tensorrt import InputProfile, build_engine, precisions_used
from deal.export.tensorrt_graph import parsable
from deal.machine.driver import Driver
from deal.model.dropout import draw_masks
from deal.results.reading import read_regions, read_results
from tests.helpers import fake_tensorrt
from tests.helpers.devices import EMULATED, assert_output_on_device
from tests.helpers.models import MEAN, STD, metadata, save_model, scenes
from tests.helpers.runs import write_pool

pytestmark = pytest.mark.skipif(not EMULATED, reason="the extension does not emulate CUDA")

SIZE = (48, 64)
IMAGES = np.stack(scenes(5, SIZE))
FOREIGN = {"classes": 5, "mean": list(MEAN), "std": list(STD)}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path, caplog) -> EngineCache:
    """``--engine trt`` on the emulated device; where its engines are kept."""
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt)
    monkeypatch.setattr(tensorrt_library, "find_driver", lambda: Driver((13, 0), ("emulated",)))
    monkeypatch.setenv("DEAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fake_tensorrt.Builder, "_builds", 0)
    monkeypatch.setattr(fake_tensorrt.Builder, "_as_precision", None)
    caplog.set_level(logging.INFO, "deal.tensorrt")
    return EngineCache()


def save(tmp_path: Path, **changes) -> Path:
    return save_model(tmp_path / "m.onnx", **{"size": SIZE, "props": metadata()} | changes)


def open_trt(path, options=None, batch_size=2):
    return open_engine(path, "trt", options=options, batch_size=batch_size)


def builds() -> int:
    return fake_tensorrt.Builder._builds


# ---- outputs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ({"size": None}, {"classes": 5, "input_size": [48, 64]}),
        ({}, {"classes": 5}),
        ({"batch": 2}, {"classes": 5}),
        ({"bgr": True}, {"classes": 5, "input_format": "bgr8"}),
        ({"floating": True}, FOREIGN),
        ({"floating": True, "half": True}, FOREIGN),
        ({"difficulty": True, "embedding": True}, {"classes": 5}),
    ],
    ids=["any size", "one size", "one batch", "bgr", "float", "half", "more outputs"],
)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_outputs_are_the_bits_of_the_cpu(tmp_path, model, options, count):
    path = save_model(tmp_path / "m.onnx", exact=True, **{"size": SIZE} | model)
    cpu, device = open_engine(path, device="cpu", options=options), open_trt(path, options)
    assert (device.name, device.device) == ("trt", "cuda:0")
    expected, output = cpu.infer(IMAGES[:count]), device.infer(IMAGES[:count])
    assert_output_on_device(output, expected)


def test_dropout_masks_go_up_with_every_batch(tmp_path):
    layer = {"input": "mask", "channels": 5, "rate": 0.5}
    path = save(tmp_path, dropout=True, props=metadata(dropout=[layer]))
    cpu, device = open_engine(path, device="cpu"), open_trt(path)
    for index in range(3):
        masks = draw_masks(cpu.spec.dropout, seed=1, index=index) if index else None
        found = device.infer(IMAGES[:2], masks).logits.to_host()
        assert found.tobytes() == cpu.infer(IMAGES[:2], masks).logits.tobytes()


def test_lanes_share_one_engine_and_have_contexts_of_their_own(tmp_path, monkeypatch):
    contexts = []
    make = fake_tensorrt.ICudaEngine.create_execution_context

    def counted(engine):
        contexts.append(make(engine))
        return contexts[-1]

    monkeypatch.setattr(fake_tensorrt.ICudaEngine, "create_execution_context", counted)
    path = save(tmp_path)
    cpu, device = open_engine(path, device="cpu"), open_trt(path)
    lanes = [device, device.lane(), device.lane()]
    outputs = [lane.infer(IMAGES[i : i + 2]).logits for i, lane in enumerate(lanes)]
    for i, output in enumerate(outputs):
        assert output.to_host().tobytes() == cpu.infer(IMAGES[i : i + 2]).logits.tobytes()
    assert builds() == 1
    (_, *own) = contexts  # the first was to inspect the engine
    assert len(own) == 3
    assert len({context._addresses["logits"] for context in own}) == 3


def test_runs_are_launched_as_one_graph(tmp_path, monkeypatch):
    enqueued = []
    execute = fake_tensorrt.IExecutionContext.execute_async_v3

    def counted(context, stream_handle):
        enqueued.append(context)
        return execute(context, stream_handle)

    monkeypatch.setattr(fake_tensorrt.IExecutionContext, "execute_async_v3", counted)
    path = save(tmp_path)
    cpu, device = open_engine(path, device="cpu"), open_trt(path)
    for start in range(4):
        found = device.infer(IMAGES[start : start + 2]).logits.to_host()
        assert found.tobytes() == cpu.infer(IMAGES[start : start + 2]).logits.tobytes()
    assert len(enqueued) == 2  # once as it is, once to be captured
    assert enqueued[0]._runs == 1 + 6  # as it is; the probe, twice, and the four batches


def test_what_cannot_be_captured_is_launched_as_it_is_and_said(tmp_path, monkeypatch, caplog):
    def refused(stream):
        raise OSError("operation not permitted when stream is capturing")

    path = save(tmp_path)
    expected = open_engine(path, device="cpu").infer(IMAGES[:2]).logits
    monkeypatch.setattr(tensorrt._native.Stream, "end_capture", refused)
    monkeypatch.setattr(tensorrt._native.Stream, "begin_capture", lambda stream: None)
    device = open_trt(path)
    assert device.infer(IMAGES[:2]).logits.to_host().tobytes() == expected.tobytes()
    assert "without a CUDA graph: operation not permitted" in caplog.text


def test_an_engine_that_does_not_run_says_why(tmp_path, monkeypatch):
    def failing(context, stream_handle):
        return False

    monkeypatch.setattr(fake_tensorrt.IExecutionContext, "execute_async_v3", failing)
    with pytest.raises(ModelError, match=r"m.onnx does not run.*--engine ort"):
        open_trt(save(tmp_path))


def test_outputs_of_a_type_that_nobody_can_read_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(
        fake_tensorrt.ICudaEngine, "get_tensor_dtype", lambda *_: fake_tensorrt.DataType.BF16
    )
    with pytest.raises(ModelError, match="must be uint8, float32 or float16"):
        open_trt(save(tmp_path))


@pytest.mark.slow
def test_a_pool_is_scored_as_on_the_cpu_and_the_engine_built_once(tmp_path, deal, cache):
    path, pool = save(tmp_path), write_pool(tmp_path / "pool", 7)
    tables = []
    for engine, device in (("ort", "cpu"), ("trt", "cuda"), ("trt", "auto")):
        options = ["--engine", engine, "--regions", "grid:16", "--batch-size", 2]
        # The stand-in computes in Python while it holds the emulated device: one lane alone, or
        # another could hold the interpreter and wait for the device.
        options += ["--sessions", 1]
        output = ["--device", device, "--output", tmp_path / device, "--model", path, "--quiet"]
        code, _, told = deal("score", pool, *output, *options)
        assert code == 0, told
        found = [read([tmp_path / device]) for read in (read_results, read_regions)]
        keys = (["id"], ["id", "region"])
        tables.append(
            [t.sort_by([(k, "ascending") for k in by]) for t, by in zip(found, keys, strict=True)]
        )
    assert tables[0][0].num_rows == 7
    assert tables[1] == tables[0]
    assert tables[2] == tables[0]
    assert builds() == 1
    record = json.loads(next((tmp_path / "cuda/runs").glob("*.json")).read_text())
    assert record["device"] == "cuda:0"


# ---- what is built when -----------------------------------------------------------------------


def test_an_engine_is_built_once_and_again_for_another_batch_or_model(tmp_path, cache):
    path = save(tmp_path)
    for _ in range(2):
        open_trt(path)
    assert builds() == 1
    open_trt(path, batch_size=3)
    assert builds() == 2
    changed = onnx.load(path)
    weights = next(t for t in changed.graph.initializer if t.data_type == onnx.TensorProto.FLOAT)
    values = onnx.numpy_helper.to_array(weights).copy()
    values.flat[0] += 1
    weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
    onnx.save(changed, path)
    open_trt(path)
    assert builds() == 3
    assert len(cache.entries()) == 3


def test_what_an_engine_depends_on_is_told_beside_it(tmp_path, cache):
    device = open_trt(save(tmp_path))
    (entry,) = cache.entries()
    assert entry.facts["model"] == device.spec.digest()
    assert entry.facts["tensorrt"] == fake_tensorrt.__version__
    assert entry.facts["gpu"] == "emulated"
    assert entry.facts["inputs"] == {"image": [[1, 48, 64, 3], [2, 48, 64, 3], [2, 48, 64, 3]]}
    assert entry.facts["settings"]["tf32"] is False
    assert {"compute_capability", "driver", "machine"} <= entry.facts.keys()


def test_an_engine_that_does_not_deserialise_is_built_again_and_the_reason_logged(
    tmp_path, cache, monkeypatch, caplog
):
    path = save(tmp_path)
    open_trt(path)
    monkeypatch.setattr(fake_tensorrt, "_MAGIC", b"of another version\n")
    open_trt(path)
    assert builds() == 2
    assert "stdVersionRead failed" in caplog.text


@pytest.mark.parametrize("suffix", [".engine", ".plan", ".trt"])
def test_engines_that_others_built_are_refused(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"code")
    with pytest.raises(ModelError, match="executable code: give the ONNX model"):
        open_trt(path)


def test_a_model_for_images_of_any_size_needs_one(tmp_path):
    with pytest.raises(ModelError, match=r"--model-option input_size=\[360,480\]"):
        open_trt(save(tmp_path, size=None))


# ---- building ---------------------------------------------------------------------------------


def profiles(batch=2):
    shape = (batch, *SIZE, 3)
    return {"image": InputProfile((1, *SIZE, 3), shape, shape)}


def test_layers_are_held_to_the_precision_of_the_model(tmp_path, monkeypatch):
    path = save(tmp_path)
    assert precisions_used(build_engine(path, profiles(), precision="fp32").layers) == {"fp32"}
    build_engine(path, profiles(), precision=None)
    for precision in ("fp16", "bf16", "int8"):
        with pytest.raises(ModelError, match=rf"reads it as fp32: .*--precision {precision}"):
            build_engine(path, profiles(), precision=precision)
    assert builds() == 2  # the others are refused before
    monkeypatch.setattr(fake_tensorrt.Builder, "_as_precision", onnx.TensorProto.FLOAT16)
    with pytest.raises(ModelError, match=r"says fp32.* built it as fp16"):
        build_engine(path, profiles(), precision="fp32")


@pytest.mark.parametrize(
    ("told", "precision"),
    [
        ("Float", "fp32"),
        ("Half", "fp16"),
        ("BFloat16", "bf16"),
        ("Int8", "int8"),
        ("Row major linear FP16 format", "fp16"),
        ("Thirty-two wide channel vectorized row major Int8 format.", "int8"),
        ("Row major linear FP32", "fp32"),
    ],
)
def test_the_inspectors_words_of_all_versions_are_understood(told, precision):
    uint8 = {"Name": "image", "Format/Datatype": "UInt8"}
    layer = {"Name": "a", "Inputs": [uint8], "Outputs": [{"Format/Datatype": told}]}
    assert precisions_used(json.dumps({"Layers": [layer, "b"]})) == {precision}


def test_formats_are_asked_for_with_shapes_which_not_fixed_ones_need(tmp_path, monkeypatch):
    monkeypatch.setattr(fake_tensorrt.IExecutionContext, "set_input_shape", lambda *_: True)
    built = build_engine(save(tmp_path), profiles(), precision=None)
    assert precisions_used(built.layers) == set()
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt)
    built = build_engine(save(tmp_path), profiles(), precision="fp32")
    assert precisions_used(built.layers) == {"fp32"}


def test_weights_tell_the_precision_where_formats_do_not():
    unknown = [{"Name": "x", "Format/Datatype": "N/A due to dynamic shapes"}]
    weights = {"Type": "Half", "Count": 9408}
    layer = {"Name": "a", "Inputs": unknown, "Outputs": unknown, "Weights": weights}
    assert precisions_used(json.dumps({"Layers": [layer]})) == {"fp16"}


def test_measured_kernels_are_kept_and_those_of_another_gpu_replaced(tmp_path, caplog):
    path, file = save(tmp_path), tmp_path / "timing.bin"
    build_engine(path, profiles(), precision=None, timing_cache=file)
    assert file.read_bytes() == b"measured"
    build_engine(path, profiles(), precision=None, timing_cache=file)
    assert file.read_bytes() == b"measuredmeasured"
    file.write_bytes(b"of another GPU")
    build_engine(path, profiles(), precision=None, timing_cache=file)
    assert file.read_bytes() == b"measured"
    assert "of another GPU or TensorRT" in caplog.text
    file.write_bytes(b"damaged")
    build_engine(path, profiles(), precision=None, timing_cache=file)
    assert file.read_bytes() == b"measured"


def test_what_cannot_be_parsed_is_named_with_every_node(tmp_path):
    path = save(tmp_path)
    model = onnx.load(path)
    for name in ("q1", "q2"):
        model.graph.node.append(onnx.helper.make_node("QuantizeLinear", [], [name], name=name))
    onnx.save(model, path)
    with pytest.raises(ModelError) as error:
        build_engine(path, profiles(), precision="int8")
    text = str(error.value)
    assert "QuantizeLinear 'q1': Non-zero zero point; QuantizeLinear 'q2'" in text
    assert "deal export --precision int8 --target gpu" in text


def test_the_bundled_model_whose_image_is_transposed_first_is_built(tmp_path):
    path = Path(deal.__file__).parent / "demo/model.onnx"
    shape = (1, *SIZE, 3)
    built = build_engine(path, {"image": InputProfile(shape, shape, shape)}, precision="fp32")
    cast_first = onnx.load_from_string(parsable(path)).SerializeToString()
    assert built.plan.endswith(cast_first)
    assert cast_first != path.read_bytes()


def test_building_without_the_package_onnx_says_what_to_install(tmp_path, monkeypatch):
    path = save(tmp_path)
    monkeypatch.delitem(sys.modules, "deal.export.tensorrt_graph")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(EngineUnavailableError, match=re.escape(pip_install("trt"))):
        build_engine(path, profiles(), precision=None)


def test_shapes_that_do_not_fit_are_named(tmp_path):
    wrong = {"image": InputProfile((2, 1, 1, 3), (1, 1, 1, 3), (1, 1, 1, 3))}
    with pytest.raises(ModelError, match="does not take inputs of"):
        build_engine(save(tmp_path), wrong, precision=None)


def test_progress_is_shown_on_stderr(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    seen = []
    monkeypatch.setattr(
        "deal.export.tensorrt.Progress.add_task",
        lambda self, text, total: seen.append((text, total)) or len(seen),
    )
    monkeypatch.setattr("deal.export.tensorrt.Progress.update", lambda *_, **__: None)
    monkeypatch.setattr("deal.export.tensorrt.Progress.remove_task", lambda *_: None)
    build_engine(save(tmp_path), profiles(), precision=None)
    assert seen == [("TensorRT: Building", 3), ("TensorRT:   Timing", 2)]
    assert capsys.readouterr().out == ""


def test_a_build_can_be_interrupted_and_leaves_nothing(tmp_path, cache, monkeypatch):
    join = threading.Thread.join
    build = fake_tensorrt.Builder.build_serialized_network
    waited = threading.Event()

    def slow(builder, network, config):
        waited.wait(60)
        return build(builder, network, config)

    def interrupted(thread, timeout=None):
        if thread.name == "deal-tensorrt-build" and not waited.is_set():
            waited.set()
            raise KeyboardInterrupt
        return join(thread, timeout)

    path = save(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(fake_tensorrt.Builder, "build_serialized_network", slow)
        patch.setattr(threading.Thread, "join", interrupted)
        with pytest.raises(KeyboardInterrupt):
            open_trt(path)
    assert cache.entries() == []
    open_trt(path)
    assert len(cache.entries()) == 1
