"""int8 for GPUs: the form that TensorRT takes, and the numbers that it stands for."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from deal.cli.export import command
from deal.engines import open_engine
from deal.errors import UsageError
from deal.export.graph import Layer, simplified
from deal.export.precision import convert
from deal.export.quantize import activation_ranges, quantised
from deal.model.spec import read_spec
from tests.export.test_precision import SIZE, feeds, save_pool, two_convolutions
from tests.helpers.models import metadata, save_model, scenes

PROPS = metadata(precision="fp32")


@pytest.fixture(scope="module")
def pools(tmp_path_factory):
    root = tmp_path_factory.mktemp("pools")
    images = scenes(308, SIZE, seed=3)
    return save_pool(root / "a", images[:8]), save_pool(root / "b", images[8:])


@pytest.fixture(scope="module")
def converted(pools, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    model = save_model(folder / "fp32.onnx", props=PROPS, gain=0.05)
    images, held_out = map(str, pools)
    path = folder / "int8.onnx"
    return path, convert(model, path, "int8", images=images, held_out=held_out, target="gpu")


def types_of(model):
    infos = onnx.shape_inference.infer_shapes(model).graph
    named = {i.name: i.type.tensor_type.elem_type for i in (*infos.value_info, *infos.input)}
    return named | {tensor.name: tensor.data_type for tensor in model.graph.initializer}


def assert_tensorrt_takes_its_pairs(model):
    """Its parser's rules: int8, zero points of 0, scales that are constants."""
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    pairs = [n for n in model.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert pairs
    for node in pairs:
        zero = constants[node.input[2]]
        assert zero.dtype == np.int8
        assert not zero.any()
        assert node.input[1] in constants
    integers = {kind for kind in types_of(model).values() if kind not in (TensorProto.FLOAT, 7)}
    assert integers <= {TensorProto.INT8, TensorProto.UINT8}


def test_pairs_are_those_that_tensorrt_takes_and_only_before_what_multiplies(converted):
    model = onnx.load(converted[0])
    assert_tensorrt_takes_its_pairs(model)
    readers = {
        reader.op_type
        for node in model.graph.node
        if node.op_type == "DequantizeLinear"
        for reader in model.graph.node
        if node.output[0] in reader.input
    }
    assert readers == {"Conv"}
    kinds = types_of(model)
    uint8 = [node.op_type for node in model.graph.node if kinds.get(node.input[0]) == 2]
    assert uint8 == ["Cast"]


def test_biases_and_outputs_stay_in_float32(tmp_path):
    graph = simplified(two_convolutions(tmp_path / "two.onnx"))
    made = quantised(graph, activation_ranges(graph, feeds(3)), reduce_range=False, for_gpu=True)
    assert_tensorrt_takes_its_pairs(made)
    assert made.graph.output[0].name in {
        name for node in made.graph.node if node.op_type == "Conv" for name in node.output
    }
    weights = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in made.graph.initializer
        if tensor.name in ("w1_quantized", "w2_quantized")
    }
    assert {int(np.abs(w.astype(int)).max()) for w in weights.values()} == {127}


def test_layers_can_stay_in_float32(tmp_path):
    graph = simplified(two_convolutions(tmp_path / "two.onnx"))
    ranges = activation_ranges(graph, feeds(3))
    layers = [Layer(("dense",))]
    made = quantised(graph, ranges, reduce_range=False, for_gpu=True, keep_float=layers)
    names = {tensor.name for tensor in made.graph.initializer}
    assert "w1_quantized" in names
    assert {"w2", "w2_quantized"} & names == {"w2"}


def test_on_a_cpu_it_computes_what_its_int8_values_stand_for(converted):
    images = np.stack(scenes(2, SIZE, seed=9))
    engine = open_engine(converted[0], "ort", "cpu", threads=1)
    model = onnx.version_converter.convert_version(onnx.load(converted[0]), 21)
    (expected,) = ReferenceEvaluator(model).run(["logits"], {"image": images})
    np.testing.assert_allclose(engine.infer(images).logits, expected, rtol=0, atol=2e-3)


def test_it_says_what_it_is_for(converted):
    path, conversion = converted
    assert conversion.fidelity.passed
    assert (conversion.target, conversion.reduce_range) == ("gpu", None)
    spec = read_spec(path)
    assert spec.precision == "int8"
    assert spec.provenance["conversion"]["target"] == "gpu"


@pytest.mark.parametrize(
    ("precision", "options", "message"),
    [
        ("int8", {"target": "tpu"}, "use cpu or gpu"),
        ("fp16", {"target": "gpu"}, "fp16 and bf16 run on GPUs as they are"),
        ("int8", {"target": "gpu", "reduce_range": "on"}, "reduce_range is for x86"),
    ],
)
def test_targets_that_mean_nothing_are_refused(tmp_path, precision, options, message):
    with pytest.raises(UsageError, match=message):
        convert("missing.onnx", tmp_path / "out.onnx", precision, **options)


@pytest.mark.slow
def test_the_command_converts_for_gpus(converted, pools, tmp_path):
    images, held_out = map(str, pools)
    output = tmp_path / "int8.onnx"
    arguments = [converted[0].with_name("fp32.onnx"), "-o", output, "--precision", "int8"]
    arguments += ["--target", "gpu", "--images", images, "--held-out", held_out]
    done = CliRunner().invoke(command, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    assert "symmetric, for TensorRT" in done.output
    assert output.read_bytes() == converted[0].read_bytes()
    arguments = [*map(str, arguments), "--json"]
    told = json.loads(CliRunner().invoke(command, arguments).stdout)
    assert told["conversion"]["target"] == "gpu"
