import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import deal.export.onnx
from deal.cli.export import command
from deal.engines import open_engine
from deal.errors import ModelError, OutputError, PoolError, UsageError
from deal.export.onnx import export_checkpoint
from deal.export.parity import compare, top_k_overlap
from deal.model.head import DifficultyHead
from deal.model.spec import METADATA_KEY, read_spec
from deal.scoring.inputs import Inputs
from deal.scoring.scorer import Scorer
from deal.training.checkpoint import load_checkpoint, save_checkpoint
from tests.helpers.checkpoints import LIGHT
from tests.helpers.models import CLASSES, scenes


@pytest.fixture
def checkpoint(light):
    return light.checkpoint


@pytest.fixture
def exported(light):
    """The checkpoint as exported, and what the check found."""
    return light.model, light.parity


@pytest.fixture
def instant(exported, monkeypatch):
    """Let exports take the graph that was traced already."""
    model = onnx.load(exported[0])
    monkeypatch.setattr(deal.export.onnx, "to_onnx", lambda *_, **__: model)
    return model


def test_the_contract_travels_with_the_network(checkpoint, exported):
    spec = read_spec(exported[0])
    assert spec.classes == CLASSES
    assert spec.palette == LIGHT.palette
    assert (spec.ignore_index, spec.input_size, spec.align_corners) == (255, (48, 64), True)
    assert (spec.input_format, spec.input_name, spec.output_name) == ("rgb8", "image", "logits")
    assert (spec.batch, spec.difficulty_name) == (None, None)
    assert spec.provenance == {"data": "none"}
    head = spec.difficulty_head
    assert (head.gamma, head.grid) == (0.5, (6, 8))
    assert head == open_engine(checkpoint, "torch", "cpu").spec.difficulty_head


def test_networks_of_small_patches_are_checked_without_images_of_their_own(
    checkpoint, instant, tmp_path
):
    """Generated scenes have 32 pixels or more; they are resized as images of a pool are."""
    (contract,) = (each for each in instant.metadata_props if each.key == METADATA_KEY)
    contract.value = json.dumps({**json.loads(contract.value), "input_size": [16, 20]})
    module, meta = load_checkpoint(checkpoint)
    save_checkpoint(tmp_path / "small.pt", module, replace(meta, input_size=(16, 20)))
    export_checkpoint(tmp_path / "small.pt", tmp_path / "small.onnx", tolerance=0.1)
    assert read_spec(tmp_path / "small.onnx").input_size == (16, 20)


def test_the_graph_stops_at_the_logits_grid(exported):
    graph = onnx.load(exported[0]).graph
    operators = [node.op_type for node in graph.node]
    assert not {"Softmax", "MatMul", "ArgMax", "BatchNormalization"} & set(operators)
    assert operators.count("Resize") == 1  # inside the decoder
    dims = graph.output[0].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in dims] == ["N", 5, "h", "w"]


def test_nothing_of_the_machine_is_written_into_the_file(exported):
    content = exported[0].read_bytes()
    for secret in (str(Path.cwd()), str(exported[0].parent), "stack_trace", ".py"):
        assert secret.encode() not in content


@pytest.mark.parametrize("shape", [(1, 48, 64), (3, 33, 47), (2, 130, 97), (5, 32, 32)])
def test_logits_equal_pytorchs_at_any_size_and_batch(checkpoint, exported, shape):
    images = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    free = {"input_size": None}
    expected = open_engine(checkpoint, "torch", "cpu", options=free).infer(images).logits
    found = open_engine(exported[0], "ort", "cpu", options=free).infer(images).logits
    assert expected.shape == found.shape
    assert expected.std() > 0.1
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)


def test_scores_are_the_checkpoints(checkpoint, exported):
    images = scenes(3, (60, 80))
    with Scorer(exported[0]) as ort, Scorer(checkpoint, engine="torch") as reference:
        ours, theirs = ort.score(images), reference.score(images)
    np.testing.assert_allclose(
        ours["difficulty_mean"], theirs["difficulty_mean"], rtol=0, atol=1e-4
    )


def test_the_check_tells_how_well_logits_scores_and_ranks_agree(exported):
    parity = exported[1]
    assert parity.images == 8
    assert parity.top_k == 2
    assert 0 < parity.max_logit_difference < 1e-3
    assert list(parity.scores) == ["ds", "ds:entropy", "de", "entropy"]
    for score in parity.scores.values():
        assert score.max_difference < 1e-3
        assert score.spearman > 0.9
    assert json.loads(json.dumps(parity.to_dict())) == parity.to_dict()


def perturbed(model, amount):
    """The model with ``amount`` added to the bias of its last convolution."""
    other = onnx.ModelProto.FromString(model.SerializeToString())
    bias = next(node.input[2] for node in other.graph.node if "logits" in node.output)
    tensor = next(tensor for tensor in other.graph.initializer if tensor.name == bias)
    values = onnx.numpy_helper.to_array(tensor) + np.float32(amount)
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, bias))
    return other


@pytest.mark.parametrize("before", [None, b"the old model"])
def test_a_failed_check_leaves_no_file_behind(checkpoint, exported, monkeypatch, tmp_path, before):
    model = perturbed(onnx.load(exported[0]), 0.01)
    monkeypatch.setattr(deal.export.onnx, "to_onnx", lambda *_, **__: model)
    path = tmp_path / "m.onnx"
    if before is not None:
        path.write_bytes(before)
    with pytest.raises(ModelError, match=r"logits by up to 0\.01 on the check images, 0\.001"):
        export_checkpoint(checkpoint, path, images=scenes(2))
    assert [file.read_bytes() for file in tmp_path.iterdir()] == ([before] if before else [])
    export_checkpoint(checkpoint, path, images=scenes(2), tolerance=0.02)
    assert [file.name for file in tmp_path.iterdir()] == ["m.onnx"]
    assert path.read_bytes() == model.SerializeToString()


def test_a_graph_that_is_right_at_one_size_only_fails_the_check(
    checkpoint, exported, monkeypatch, tmp_path
):
    class OneSize:
        def __init__(self, engine):
            self.engine = engine
            self.spec = engine.spec

        def infer(self, images, masks=None):
            out = self.engine.infer(images, masks)
            if images.shape[1:3] != (48, 64):
                out.logits[0] += 1
            return out

    real = deal.export.onnx.open_engine

    def open_baked(path, name, *arguments, **options):
        engine = real(path, name, *arguments, **options)
        return OneSize(engine) if name == "ort" else engine

    model = onnx.load(exported[0])
    monkeypatch.setattr(deal.export.onnx, "to_onnx", lambda *_, **__: model)
    monkeypatch.setattr(deal.export.onnx, "open_engine", open_baked)
    with pytest.raises(ModelError, match="on a batch of 3 at 57×66"):
        export_checkpoint(checkpoint, tmp_path / "m.onnx", images=scenes(2))
    assert list(tmp_path.iterdir()) == []


def test_unwritable_outputs_fail_before_any_work(checkpoint, monkeypatch, tmp_path):
    monkeypatch.setattr(deal.export.onnx, "to_onnx", lambda *_, **__: pytest.fail("traced"))
    with pytest.raises(OutputError, match="No such file or directory"):
        export_checkpoint(checkpoint, tmp_path / "none" / "m.onnx")
    with pytest.raises(OutputError, match="name a file"):
        export_checkpoint(checkpoint, tmp_path)


def test_nonfinite_logits_fail_the_check(exported):
    engine = open_engine(exported[0], "ort", "cpu")

    class Broken:
        spec = engine.spec

        def infer(self, images):
            out = engine.infer(images)
            out.logits[0, 0, 0, 0] = math.inf
            return out

    with pytest.raises(ModelError, match="check image 1: the network gives NaN or infinite"):
        compare(engine, Broken(), Inputs(engine.spec, "input", None), scenes(1))


def test_a_check_without_images_is_refused(exported):
    engine = open_engine(exported[0], "ort", "cpu")
    with pytest.raises(UsageError, match="no images to check"):
        compare(engine, engine, Inputs(engine.spec, "input", None), [])


@pytest.mark.slow
@pytest.mark.usefixtures("kept_exports")
def test_any_network_of_uint8_images_can_be_exported(tmp_path):
    class Tiny(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = torch.nn.Conv2d(3, 4, 3, stride=2)

        def forward(self, image):
            return self.convolution(image.permute(0, 3, 1, 2) / 255)

    torch.manual_seed(0)
    network = Tiny()
    path = tmp_path / "tiny.onnx"
    model = deal.export.onnx.to_onnx(network, {"classes": 4})
    path.write_bytes(model.SerializeToString())
    images = np.stack(scenes(3, (37, 50)))
    with torch.no_grad():
        expected = network(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(open_engine(path).infer(images).logits, expected, atol=1e-5)


def test_command_prints_the_comparison(checkpoint, instant, tmp_path):
    path = tmp_path / "m.onnx"
    result = CliRunner().invoke(command, [str(checkpoint), "-o", str(path)])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("16 images, PyTorch against ONNX Runtime: logits differ by at most")
    assert [line.split()[0] for line in lines[1:-1]] == [
        "score",
        "ds",
        "ds:entropy",
        "de",
        "entropy",
    ]
    assert lines[-1] == f"model: {path}"
    assert path.is_file()


def test_command_checks_on_given_images_and_prints_json(checkpoint, instant, tmp_path):
    pool = tmp_path / "pool"
    pool.mkdir()
    for index, image in enumerate(scenes(3)):
        Image.fromarray(image).save(pool / f"{index}.png")
    arguments = [str(checkpoint), "-o", str(tmp_path / "m.onnx"), "--images", str(pool), "--json"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["images"] == 3
    (pool / "broken.png").write_bytes(b"no image")
    (tmp_path / "m.onnx").unlink()
    result = CliRunner().invoke(command, arguments)
    assert isinstance(result.exception, PoolError)
    assert "broken.png" in str(result.exception)
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.slow
def test_a_checkpoint_takes_a_head_that_was_fitted_afterwards(checkpoint, instant, tmp_path):
    fitted = DifficultyHead(0.3, [0.1, 0.2, -0.3, 0.4, -0.5], 0.05)
    head, output = tmp_path / "head.json", tmp_path / "headed.onnx"
    head.write_text(json.dumps(fitted.to_dict()), encoding="utf-8")
    arguments = [str(checkpoint), "-o", str(output), "--difficulty-head", str(head)]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert read_spec(output).difficulty_head == fitted


def test_missing_checkpoints_are_model_errors(tmp_path):
    result = CliRunner().invoke(
        command, [str(tmp_path / "none.pt"), "-o", str(tmp_path / "m.onnx")]
    )
    assert isinstance(result.exception, ModelError)
    assert "none.pt" in str(result.exception)


def test_top_k_overlap_counts_shared_elements():
    reference = np.array([5.0, 4, 3, 2, 1])
    assert top_k_overlap(reference, reference, 2) == 1
    assert top_k_overlap(reference, np.array([5.0, 1, 3, 4, 2]), 2) == 0.5
    assert top_k_overlap(reference, -reference, 2) == 0
