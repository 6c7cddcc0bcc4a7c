"""int8 models in a session as ONNX Runtime opens it: the same bits as in the session of deal."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from onnx import helper, numpy_helper

from deal.checking.check import check_model
from deal.cli.export import command
from deal.engines.onnxruntime import FLOAT_STAYS, OnnxRuntimeEngine, open_session
from deal.errors import ModelError
from deal.export.float_layers import kept_in_float, rewrite
from tests.helpers.models import metadata, save_model

BUNDLED = Path(__file__).parents[2] / "models" / "camvid-light-int8.onnx"


def plain(path, *entries):
    """A session without an entry of deal's, at the level that optimizes most, the default."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    for entry in entries:
        options.add_session_config_entry(*entry)
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def bits(session, **feeds):
    return session.run(["logits"], feeds)[0].tobytes()


def without_guards(path, target):
    """The model as deal wrote it before: layers in float32 read the dequantised values."""
    model = onnx.load(path)
    for node in [node for node in model.graph.node if node.op_type == "Max"]:
        for reader in model.graph.node:
            if reader.input[:1] == node.output[:1]:
                reader.input[0] = node.input[0]
        model.graph.node.remove(node)
    onnx.save(model, target)
    return target


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    return without_guards(BUNDLED, tmp_path_factory.mktemp("old") / "old.onnx")


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (1, 360, 480, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["camvid-lite0-int8.onnx", BUNDLED.name])
def test_a_shipped_int8_model_gives_the_logits_of_deal_in_a_plain_session(name, image):
    model = BUNDLED.with_name(name)
    ours = open_session(model, 1)
    assert bits(plain(model), image=image) == bits(ours, image=image)
    assert bits(plain(model, FLOAT_STAYS), image=image) == bits(ours, image=image)


def test_older_files_give_it_in_the_session_of_deal_alone(old, image):
    ours = open_session(BUNDLED, 1)
    assert bits(open_session(old, 1), image=image) == bits(ours, image=image)
    assert bits(plain(old), image=image) != bits(ours, image=image)


def quantized(path, moving=()):
    """A float32 convolution between quantised values; operators that only move come before it."""
    rng = np.random.default_rng(1)
    # No 8 bits serve both channels at once.
    weight = rng.uniform(0, 1, (2, 3, 1, 1)) * np.array([1, 1e-3]).reshape(2, 1, 1, 1)
    tensors = {
        "w": weight.astype(np.float32),
        "s": np.float32(1 / 255),
        "z": np.uint8(3),
        "t": np.float32(1e-4),
    }
    nodes = [helper.make_node("DequantizeLinear", ["x", "s", "z"], ["v0"])]
    for index, (operator, attributes) in enumerate(moving):
        nodes.append(helper.make_node(operator, [f"v{index}"], [f"v{index + 1}"], **attributes))
    nodes += [
        helper.make_node("Conv", [f"v{len(moving)}", "w"], ["c"], name="float"),
        helper.make_node("QuantizeLinear", ["c", "t", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "t", "z"], ["logits"]),
    ]
    x = helper.make_tensor_value_info("x", onnx.TensorProto.UINT8, [1, 3, 32, 32])
    y = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [1, 2, "h", "w"])
    constants = [numpy_helper.from_array(np.asarray(v), k) for k, v in tensors.items()]
    graph = helper.make_graph(nodes, "quantized", [x], [y], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path)
    return model


@pytest.mark.parametrize(
    "moving",
    [
        (),
        [("Transpose", {"perm": [0, 1, 3, 2]})],
        [("MaxPool", {"kernel_shape": [2, 2]}), ("Transpose", {"perm": [0, 1, 3, 2]})],
    ],
)
def test_a_float_layer_stays_so_behind_operators_that_move(tmp_path, moving):
    path = tmp_path / "m.onnx"
    model = quantized(path, moving)
    x = np.random.default_rng(2).integers(0, 256, (1, 3, 32, 32), dtype=np.uint8)
    exact = bits(plain(path, FLOAT_STAYS), x=x)
    assert bits(plain(path), x=x) != exact
    assert kept_in_float(model) == ["float"]
    onnx.checker.check_model(model)
    onnx.save(model, path)
    assert bits(plain(path), x=x) == exact == bits(plain(path, FLOAT_STAYS), x=x)
    assert kept_in_float(model) == []  # once is enough


def test_a_layer_that_reads_float_values_is_left_alone(tmp_path):
    model = quantized(tmp_path / "m.onnx", [("Relu", {})])
    assert kept_in_float(model) == []


def test_check_names_the_entry_that_an_older_model_needs(old):
    (finding,) = check_model(old).findings
    assert finding.level == "assumed"
    assert "=".join(FLOAT_STAYS) in finding.text
    assert finding.text.endswith(f"deal export {old} -o NEW.onnx --precision int8")
    assert check_model(BUNDLED).findings == []


@pytest.mark.slow
def test_an_older_model_is_written_again_with_the_same_bits(old, image, tmp_path):
    path = tmp_path / "new.onnx"
    arguments = [str(old), "-o", str(path), "--precision", "int8"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    assert "node_Conv_1006" in result.stdout
    assert path.read_bytes() == BUNDLED.read_bytes()
    assert bits(plain(path), image=image) == bits(open_session(old, 1), image=image)
    told = CliRunner().invoke(command, [*arguments, "--json"])
    assert json.loads(told.stdout) == {"kept_in_float": ["node_Conv_1006"]}


def test_a_model_that_needs_no_entry_is_not_written_again(tmp_path):
    with pytest.raises(ModelError, match="every session of ONNX Runtime gives its logits"):
        rewrite(BUNDLED, tmp_path / "new.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_model_for_gpus_names_both_entries(old, tmp_path):
    model = onnx.load(old)
    facts = {**json.loads(model.metadata_props[0].value)}
    facts["provenance"] = {"conversion": {"target": "gpu"}}
    helper.set_model_props(model, {"deal": json.dumps(facts)})
    onnx.save(model, tmp_path / "gpu.onnx")
    keys = [key for key, _ in OnnxRuntimeEngine(tmp_path / "gpu.onnx", 1).needed_entries()]
    assert keys == [FLOAT_STAYS[0], "session.disable_quant_qdq"]
    with pytest.raises(ModelError, match="no rewriting keeps in float32"):
        rewrite(tmp_path / "gpu.onnx", tmp_path / "new.onnx")


def test_float_models_need_no_entry(tmp_path):
    path = save_model(tmp_path / "m.onnx", props=metadata())
    assert OnnxRuntimeEngine(path, 1).needed_entries() == ()
