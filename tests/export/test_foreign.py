"""A network that PyTorch's default exporter wrote goes through every form of the commands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import numpy as np
import onnx
import pytest
from PIL import Image

import deal.export.fidelity
from deal.engines import open_engine
from deal.model.spec import read_spec
from tests.helpers.labeled import predictions, with_errors, write_labeled
from tests.helpers.models import scenes

pytest.importorskip("torch")
pytestmark = pytest.mark.slow

SIZE = (24, 32)


@pytest.fixture(scope="module", params=["fixed", "dynamic"])
def foreign(request, tmp_path_factory):
    from tests.helpers.foreign import save_foreign

    folder = tmp_path_factory.mktemp("foreign")
    path = save_foreign(folder / "u.onnx", SIZE, dynamic=request.param == "dynamic")
    assert (folder / "u.onnx.data").exists()
    return path


@pytest.fixture(scope="module")
def pools(tmp_path_factory):
    root = tmp_path_factory.mktemp("pools")
    for name, count, seed in (("calibration", 4, 1), ("held-out", 300, 2)):
        (root / name).mkdir()
        for index, image in enumerate(scenes(count, SIZE, seed=seed)):
            Image.fromarray(image).save(root / name / f"{index:03}.png", compress_level=0)
    return ["--images", str(root / "calibration"), "--held-out", str(root / "held-out")]


@pytest.fixture
def any_selection(monkeypatch):
    """Weights are random, and what such a network selects in another precision is no matter."""
    for name in deal.export.fidelity.LIMITS:
        monkeypatch.setitem(deal.export.fidelity.LIMITS, name, -2)


def names(folder):
    """Of files and folders but for ``.ses``, where ONNX Runtime keeps an id of its own."""
    return sorted(path.name for path in folder.iterdir() if path.name != ".ses")


def logits(path):
    options = None if read_spec(path).input_size else {"input_size": list(SIZE)}
    return open_engine(path, options=options, probe=False).infer(np.stack(scenes(2, SIZE))).logits


def test_it_is_arranged_for_one_size(deal, foreign, tmp_path):
    output = tmp_path / "static.onnx"
    code, told, _ = deal("export", foreign, "-o", output, "--static", "24x32", "--json")
    assert code == 0
    assert list(json.loads(told)["static"]["scores"]) == ["entropy", "margin"]
    assert names(tmp_path) == ["static.onnx"]
    np.testing.assert_allclose(logits(output), logits(foreign), atol=1e-3)


@pytest.mark.usefixtures("any_selection")
@pytest.mark.parametrize(("precision", "share"), [("int8", 0.3), ("fp16", 0.01), ("bf16", 0.1)])
def test_it_is_converted(deal, foreign, pools, tmp_path, precision, share):
    output = tmp_path / "made.onnx"
    code, told, error = deal("export", foreign, "-o", output, "--precision", precision, *pools)
    assert code == 0, error
    assert told.splitlines()[1].startswith("score")
    assert names(tmp_path) == ["made.onnx"]
    assert read_spec(output).precision == precision
    kinds = {
        onnx.TensorProto.DataType.Name(t.data_type) for t in onnx.load(output).graph.initializer
    }
    assert {"int8": "INT8", "fp16": "FLOAT16", "bf16": "BFLOAT16"}[precision] in kinds
    if precision != "bf16":  # which ONNX Runtime has no kernels for on CPUs
        expected = logits(foreign)
        difference = np.sqrt(np.mean((logits(output) - expected) ** 2))
        assert 0 < difference < share * expected.std()


def test_weights_that_fit_no_single_file_lie_beside_what_is_made(
    deal, foreign, pools, tmp_path, monkeypatch, any_selection
):
    monkeypatch.setattr("deal.export.files.LARGEST", 1000)
    for name, arguments in {
        "static": ["--static", "24x32"],
        "fp16": ["--precision", "fp16", *pools],
        "int8": ["--precision", "int8", *pools],
    }.items():
        output = tmp_path / name / "m.onnx"
        output.parent.mkdir()
        code, _, error = deal("export", foreign, "-o", output, *arguments)
        assert code == 0, error
        assert names(output.parent) == ["m.onnx", "m.onnx.data"]
        assert read_spec(output).external == ("m.onnx.data",)
        assert np.isfinite(logits(output)).all()


def test_a_head_is_fitted_and_put_in(deal, foreign, tmp_path):
    images = scenes(5, SIZE)
    labels = [with_errors(p, p % 2 == 0, 5) for p in predictions(foreign, images)]
    write_labeled(tmp_path / "data", "", zip(images, labels, strict=True))
    head, output = tmp_path / "head.json", tmp_path / "headed.onnx"
    told = deal(
        "fit-head", "--model", foreign, "--data", tmp_path / "data", "-o", head, "--pixels", 1000
    )
    assert told[0] == 0, told
    assert deal("export", foreign, "-o", output, "--difficulty-head", head)[0] == 0
    assert read_spec(output).external == ()
    assert read_spec(output).difficulty_head is not None


def test_its_argmax_is_cut_off(deal, foreign, tmp_path):
    network = onnx.load(foreign)
    network.graph.node.append(
        onnx.helper.make_node("ArgMax", ["logits"], ["labels"], axis=1, keepdims=0)
    )
    labels = onnx.helper.make_tensor_value_info("labels", onnx.TensorProto.INT64, [None] * 3)
    network.graph.output[0].CopyFrom(labels)
    given, output = tmp_path / "given" / "labels.onnx", tmp_path / "cut" / "m.onnx"
    for path in (given, output):
        path.parent.mkdir()
    onnx.save(network, given, save_as_external_data=True, location="w.bin", size_threshold=0)
    code, _, error = deal("export", given, "-o", output, "--cut")
    assert code == 0, error
    assert names(output.parent) == ["m.onnx"]
    output.with_suffix(".json").write_bytes(foreign.with_suffix(".json").read_bytes())
    np.testing.assert_array_equal(logits(output), logits(foreign))


def test_it_is_checked(deal, foreign, tmp_path):
    Image.fromarray(scenes(1, SIZE)[0]).save(tmp_path / "a.png")
    code, told, error = deal("check", foreign, tmp_path / "a.png", "--json")
    assert code == 0, (told, error)


def test_it_is_timed(deal, foreign, light, monkeypatch):
    from deal.bench import engine
    from deal.training.checkpoint import load_checkpoint

    told = deal("bench", "model", foreign, "--size", "24x32", "--frames", 2, "--json")
    assert told[0] == 0, told
    assert json.loads(told[1])["variants"][0]["input_size"] == list(SIZE)
    trained, meta = load_checkpoint(light.checkpoint)
    monkeypatch.setattr(engine, "_SIZE", meta.input_size)
    monkeypatch.setattr(engine, "random_network", lambda *_: (trained.eval(), light.model))
    words = ["--no-int8", "--no-compiled", "--images", 2, "--rounds", 1, "--json"]
    told = deal("bench", "engine", "--model", foreign, *words)
    assert told[0] == 0, told
    names = [row["name"] for row in json.loads(told[1])["rows"]]
    assert any(name.startswith("u.onnx, a session a core") for name in names)


def test_time_that_runs_out_is_said_with_the_stage(deal, foreign, pools, tmp_path):
    arguments = ["--precision", "int8", "--search-minutes", "1e-6", *pools]
    code, _, error = deal("export", foreign, "-o", tmp_path / "m.onnx", *arguments)
    assert code == 1
    assert "--search-minutes 1e-06 is too short: " in error
    assert names(tmp_path) == []


WAITING = """
import sys, time
import deal.export.precision
from deal.cli import main

def judge(*arguments):
    print("judging", flush=True)
    while True:  # one long sleep would outlast a signal that comes just before it
        time.sleep(0.05)

deal.export.precision.FidelityGate.judge = judge
main()
"""


def start(model, output, temporary, pools):
    """A conversion in a process of its own that waits in its middle when this returns."""
    output.parent.mkdir()
    temporary.mkdir()
    words = ["export", model, "-o", output, "--precision", "int8", *pools]
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, *words],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "judging\n"
    assert len(names(output.parent)) == 1
    return process


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_leaves_nothing_behind(foreign, pools, tmp_path, number, status):
    output, temporary = tmp_path / "out" / "m.onnx", tmp_path / "temporary"
    process = start(foreign, output, temporary, pools)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == status, error
    assert "Traceback" not in error
    assert names(output.parent) == []
    assert names(temporary) == []


def test_what_a_kill_leaves_goes_with_the_next_start(deal, foreign, pools, tmp_path):
    output, temporary = tmp_path / "out" / "m.onnx", tmp_path / "temporary"
    process = start(foreign, output, temporary, pools)
    process.kill()
    process.communicate(timeout=60)
    left = names(output.parent)
    assert len(left) == 1
    assert left[0].startswith("_m.onnx.")
    other = output.with_name("other.onnx")
    code, _, error = deal("export", foreign, "-o", other, "--static", "24x32")
    assert code == 0, error
    assert names(output.parent) == ["other.onnx"]
