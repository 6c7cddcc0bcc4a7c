"""OpenVINO beside ONNX Runtime: the same numbers, and the precision that was asked for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from deal import acquisition_scores
from deal._install import pip_install
from deal.engines import open_engine
from deal.engines.base import Engine
from deal.errors import EngineUnavailableError, ModelError
from deal.export.parity import top_k_overlap
from deal.kernel.statistics import score_logits
from deal.machine.processor import has_bfloat16
from deal.metrics import spearman
from deal.synthetic.scenes import scene
from tests.helpers.models import MEAN, STD, metadata, redressed, save_model, scenes
from tests.helpers.openvino import skip_without_openvino

MODELS = Path(__file__).parents[2] / "models"
FOREIGN = {"classes": 5, "mean": list(MEAN), "std": list(STD)}
IMAGES = np.stack(scenes(3))
SMALL = {"input_size": [120, 160]}
FUNCTIONS = ("ds", "ds:entropy", "de", "entropy")


@pytest.fixture(autouse=True)
def openvino() -> None:
    skip_without_openvino()


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What OpenVINO is told, as it was told last."""
    from deal.engines import openvino as module

    told: dict[str, Any] = {}
    real = module._core()

    class Core:
        def compile_model(self, graph: Any, device: str, given: dict[str, Any]) -> Any:
            told.update(given)
            return real.compile_model(graph, device, given)

    monkeypatch.setattr(module, "_core", Core)
    return told


def opened(path: Path, engine: str = "openvino", **options: Any) -> Engine:
    return open_engine(path, engine, "cpu", threads=1, **options)


def both(path: Path, options: dict[str, Any]) -> tuple[Engine, Engine]:
    return opened(path, options=options), opened(path, "ort", options=options)


@pytest.mark.parametrize(
    ("model", "options", "tolerance"),
    [
        ({"floating": True}, FOREIGN, 1e-4),
        ({"floating": True, "half": True}, FOREIGN, 0.01),
        ({"bgr": True}, {"classes": 5, "input_format": "bgr8"}, 1e-4),
        ({"kind": "softmax"}, {"classes": 5, "output_kind": "probabilities"}, 1e-4),
        ({"num_classes": 1}, {"classes": ["no", "road"], "activation": "sigmoid"}, 1e-4),
        ({"batch": 2, "difficulty": True, "embedding": True}, {"classes": 5}, 1e-4),
    ],
)
def test_logits_are_those_of_onnx_runtime(
    tmp_path: Path, model: dict[str, Any], options: dict[str, Any], tolerance: float
) -> None:
    ours, theirs = both(save_model(tmp_path / "m.onnx", **model), options)
    found, expected = ours.infer(IMAGES), theirs.infer(IMAGES)
    assert found.logits.dtype == expected.logits.dtype
    np.testing.assert_allclose(found.logits, expected.logits, rtol=0, atol=tolerance)
    for name in ("difficulty", "embedding"):
        one, other = getattr(found, name), getattr(expected, name)
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)
    assert (ours.dtype, ours.embedding_size) == (theirs.dtype, theirs.embedding_size)


@pytest.mark.parametrize(
    ("dress", "options", "tolerance"),
    [
        ({"input_nhwc": True, "output_nhwc": True}, {"output_layout": "nhwc"}, 2e-5),
        ({"output_type": TensorProto.DOUBLE}, {}, 2e-5),
        ({"output_type": TensorProto.BFLOAT16}, {}, 0.1),
    ],
)
def test_layouts_and_types_of_other_frameworks_are_taken(
    tmp_path: Path, dress: dict[str, Any], options: dict[str, Any], tolerance: float
) -> None:
    path = redressed(save_model(tmp_path / "foreign.onnx", floating=True), **dress)
    ours, theirs = both(path, FOREIGN | options)
    found = ours.infer(IMAGES).logits
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, theirs.infer(IMAGES).logits, rtol=0, atol=tolerance)


def test_masks_of_dropout_passes_reach_the_network(tmp_path: Path) -> None:
    layers = [{"input": "mask", "channels": 5, "rate": 0.5}]
    path = save_model(tmp_path / "m.onnx", dropout=True, props=metadata(dropout=layers))
    mask = np.array([0, 2, 0, 2, 0], np.float32).reshape(1, 5, 1, 1)
    found, expected = (engine.infer(IMAGES, (mask,)).logits for engine in both(path, {}))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    assert not found[:, 0].any()


def test_a_result_stays_when_the_next_image_runs(tmp_path: Path) -> None:
    engine = opened(save_model(tmp_path / "m.onnx", props=metadata()))
    first = engine.infer(IMAGES[:1]).logits
    kept = first.copy()
    engine.infer(IMAGES[1:2])
    np.testing.assert_array_equal(first, kept)


def test_a_model_is_read_whatever_its_file_is_called(tmp_path: Path) -> None:
    path = save_model(tmp_path / "m.onnx", props=metadata())
    named = path.rename(tmp_path / "wägen 7.bin")
    assert opened(named).infer(IMAGES).logits.shape == (3, 5, 12, 16)


def test_a_graph_that_openvino_does_not_know_says_so_quietly(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import onnx
    from onnx import helper

    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", "H", "W", 3])
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5, "H", "W"])
    node = helper.make_node("Argument", ["image"], ["y"], domain="elsewhere")
    graph = helper.make_graph([node], "g", [image], [output])
    onnx.save(helper.make_model(graph, ir_version=8), tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=r"cannot be loaded by OpenVINO .*: use --engine ort") as e:
        opened(tmp_path / "m.onnx", options={"classes": 5})
    assert "\n" not in str(e.value)
    assert capfd.readouterr() == ("", "")


def test_float32_is_demanded_even_where_the_processor_would_rather_use_less(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    opened(save_model(tmp_path / "m.onnx", props=metadata()))
    assert settings["INFERENCE_PRECISION_HINT"] == "f32"
    assert settings["INFERENCE_NUM_THREADS"] == 1
    assert settings["NUM_STREAMS"] == 1


def test_another_precision_than_was_demanded_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    openvino = pytest.importorskip("openvino")
    read = openvino.CompiledModel.get_property

    def get_property(model: Any, name: str) -> Any:
        other = name == "INFERENCE_PRECISION_HINT"
        return openvino.Type.f16 if other else read(model, name)

    monkeypatch.setattr(openvino.CompiledModel, "get_property", get_property)
    with pytest.raises(EngineUnavailableError, match="not in fp32: use --engine ort"):
        opened(save_model(tmp_path / "m.onnx", props=metadata()))


def test_threads_are_those_of_the_container(
    tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deal.engines.openvino.available_cores", lambda: 3)
    open_engine(save_model(tmp_path / "m.onnx", props=metadata()), "openvino")
    assert settings["INFERENCE_NUM_THREADS"] == 3


def test_no_thread_is_pinned_to_a_core(tmp_path: Path) -> None:
    allowed = os.sched_getaffinity(0)
    path = save_model(tmp_path / "m.onnx", props=metadata())
    open_engine(path, "openvino", threads=2).infer(IMAGES)
    tasks = Path("/proc/self/task").iterdir()
    assert all(os.sched_getaffinity(int(task.name)) == allowed for task in tasks)


def test_bf16_is_refused_where_the_processor_lacks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deal.engines.openvino.has_bfloat16", lambda: False)
    for precision, of_file in (("bf16", "fp32"), ("bf16", None), (None, "bf16")):
        path = save_model(tmp_path / "m.onnx", props=metadata(precision=of_file))
        with pytest.raises(EngineUnavailableError, match=r"avx512_bf16 nor amx_bf16; leave out"):
            opened(path, precision=precision)
    assert opened(save_model(tmp_path / "m.onnx", props=metadata())).precision is None


@pytest.mark.parametrize(
    ("flags", "machine", "expected"),
    [
        ("fpu avx2 avx512_bf16", "x86_64", True),
        ("fpu amx_bf16 amx_tile", "x86_64", True),
        ("fpu avx512f avx512_vnni", "x86_64", False),
        ("fpu avx512_bf16", "aarch64", False),
    ],
)
def test_the_processor_is_asked_for_bf16(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, machine: str, expected: bool
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: {flags}\n")
    assert has_bfloat16(tmp_path / "cpuinfo") is expected
    assert has_bfloat16(tmp_path / "none") is False


def test_int8_is_a_file_and_not_an_order(tmp_path: Path) -> None:
    path = save_model(tmp_path / "m.onnx", props=metadata(precision="fp32"))
    with pytest.raises(ModelError, match="make another with deal export --precision int8"):
        opened(path, precision="int8")


def test_int8_for_gpus_is_left_to_onnx_runtime(tmp_path: Path) -> None:
    facts = {"conversion": {"target": "gpu"}}
    path = save_model(tmp_path / "m.onnx", props=metadata(precision="int8", provenance=facts))
    with pytest.raises(ModelError, match="is int8 for GPUs: use --engine ort"):
        opened(path)


def test_a_missing_package_names_the_extra_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_model(tmp_path / "m.onnx", props=metadata())
    monkeypatch.delitem(sys.modules, "deal.engines.openvino", raising=False)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(EngineUnavailableError, match=re.escape(pip_install("openvino"))):
        open_engine(path, "openvino")


@pytest.mark.slow
def test_nothing_is_sent_when_openvino_is_imported() -> None:
    code = "import sys, deal.engines.openvino; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = found.stdout.split()
    assert "openvino" in modules
    assert not [name for name in modules if name.startswith("openvino_telemetry")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "precision"),
    [("camvid-light.onnx", None), ("camvid-light.onnx", "bf16"), ("camvid-light-int8.onnx", None)],
)
def test_bits_do_not_depend_on_threads_sessions_or_batches(
    name: str, precision: str | None
) -> None:
    if precision == "bf16" and not has_bfloat16():
        pytest.skip("this processor does not compute bf16")
    images = np.stack([scene(seed, (120, 160))[0] for seed in range(4)])
    given: dict[str, Any] = {"precision": precision, "options": SMALL, "probe": False}
    first, second = (opened(MODELS / name, **given) for _ in range(2))
    expected = first.infer(images).logits
    wide = open_engine(MODELS / name, "openvino", threads=3, **given)
    np.testing.assert_array_equal(wide.infer(images).logits, expected)
    with ThreadPoolExecutor(2) as executor:
        halves = executor.map(
            lambda engine, half: np.concatenate([engine.infer(i[None]).logits for i in half]),
            (first, second),
            (images[:2], images[2:]),
        )
        np.testing.assert_array_equal(np.concatenate(list(halves)), expected)


def scored(engine: Engine, images: list[NDArray[np.uint8]]) -> dict[str, NDArray[np.float64]]:
    rows = []
    for image in images:
        logits = engine.infer(image[None]).logits
        head, size = engine.spec.difficulty_head, image.shape[:2]
        rows.append(score_logits(logits, size=size, head=head, threads=1).images)
    table = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    return {name: acquisition_scores(table, name) for name in FUNCTIONS}


@pytest.fixture(scope="module")
def street() -> list[NDArray[np.uint8]]:
    return [scene(seed, (120, 160))[0] for seed in range(24)]


@pytest.fixture(scope="module")
def reference() -> Engine:
    return opened(MODELS / "camvid-light.onnx", "ort", options=SMALL)


@pytest.fixture(scope="module")
def expected(reference: Engine, street: list[NDArray[np.uint8]]) -> dict[str, NDArray[np.float64]]:
    return scored(reference, street)


def agreement(
    engine: Engine, street: list[NDArray[np.uint8]], expected: dict[str, NDArray[np.float64]]
) -> dict[str, float]:
    found = scored(engine, street)
    return {name: spearman(found[name], expected[name]) for name in FUNCTIONS}


@pytest.mark.slow
def test_float32_ranks_and_selects_as_onnx_runtime(
    reference: Engine, street: list[NDArray[np.uint8]], expected: dict[str, NDArray[np.float64]]
) -> None:
    engine = opened(MODELS / "camvid-light.onnx", options=SMALL)
    assert engine.own_numbers() == {}
    ours = scored(engine, street)
    for name in FUNCTIONS:
        assert spearman(ours[name], expected[name]) >= 0.999, name
        assert top_k_overlap(expected[name], ours[name], 3) == 1, name
    logits = [one.infer(np.stack(street[:2])).logits for one in (engine, reference)]
    np.testing.assert_allclose(*logits, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_bf16_ranks_as_onnx_runtime_in_float32(
    street: list[NDArray[np.uint8]], expected: dict[str, NDArray[np.float64]]
) -> None:
    if not has_bfloat16():
        pytest.skip("this processor does not compute bf16")
    engine = opened(MODELS / "camvid-light.onnx", precision="bf16", options=SMALL)
    assert engine.own_numbers() == {"precision": "bf16"}
    assert min(agreement(engine, street, expected).values()) >= 0.99


@pytest.mark.slow
def test_int8_is_as_faithful_to_float32_as_onnx_runtimes(
    street: list[NDArray[np.uint8]], expected: dict[str, NDArray[np.float64]]
) -> None:
    file = MODELS / "camvid-light-int8.onnx"
    engines = [opened(file, name, precision="int8", options=SMALL) for name in ("openvino", "ort")]
    ours, theirs = (agreement(engine, street, expected) for engine in engines)
    assert all(ours[name] >= theirs[name] - 0.05 for name in FUNCTIONS), (ours, theirs)
    assert [engine.own_numbers() for engine in engines] == [{"int8_by": "openvino"}, {}]
