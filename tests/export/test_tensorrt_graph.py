"""Graphs made ready for TensorRT's parser: images are cast before anything else reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from deal.errors import ModelError
from deal.export.tensorrt import precisions_used
from deal.export.tensorrt_graph import cast_images_first, parsable
from tests.helpers.models import metadata, save_model, scenes

DEMO = Path(__file__).parents[2] / "deal/demo/model.onnx"


def run(content, images):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {session.get_inputs()[0].name: images})[0]


def readers_of_uint8(model):
    typed = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    uint8 = {
        info.name
        for info in (*typed.input, *typed.value_info)
        if info.type.tensor_type.elem_type == TensorProto.UINT8
    }
    return [node.op_type for node in typed.node if not uint8.isdisjoint(node.input)]


def test_the_bundled_model_is_cast_first_and_computes_the_same_bits():
    before = onnx.load(DEMO)
    assert set(readers_of_uint8(before)) >= {"Shape", "Transpose"}
    content = parsable(DEMO)
    made = onnx.load_from_string(content)
    onnx.checker.check_model(made, full_check=True)
    assert readers_of_uint8(made) == ["Cast"]
    images = np.stack(scenes(2, (64, 96)))
    assert run(content, images).tobytes() == run(DEMO.read_bytes(), images).tobytes()
    kept = {entry.key: entry.value for entry in made.metadata_props}
    assert kept == {entry.key: entry.value for entry in before.metadata_props}


@pytest.mark.parametrize("floating", [False, True])
def test_models_that_cast_first_already_are_left_alone(tmp_path, floating):
    path = save_model(tmp_path / "m.onnx", props=metadata(), floating=floating)
    assert parsable(path) == path.read_bytes()


def graph_of(*nodes, outputs=("y",), constants=()):
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 4, 6, 3])
    ends = [helper.make_tensor_value_info(name, 0, None) for name in outputs]
    made = [
        helper.make_node(kind, inputs, [output], **more) for kind, inputs, output, more in nodes
    ]
    return helper.make_graph(made, "g", [image], ends, constants)


@pytest.mark.parametrize(
    "nodes",
    [
        [("DequantizeLinear", ["image", "scale", "zero"], "y", {})],
        [
            ("Transpose", ["image"], "t", {"perm": [0, 3, 1, 2]}),
            ("Pad", ["t", "pads", "value"], "p", {}),
            ("Cast", ["p"], "y", {"to": TensorProto.FLOAT}),
        ],
        [("Transpose", ["image"], "y", {"perm": [0, 3, 1, 2]})],
    ],
    ids=["quantised", "padded with a uint8", "an output"],
)
def test_images_that_are_computed_with_as_integers_are_left_to_the_parser(nodes):
    graph = graph_of(*nodes)
    before = graph.SerializeToString()
    assert not cast_images_first(graph)
    assert graph.SerializeToString() == before


def test_external_weights_stay_where_they_are(tmp_path):
    model = onnx.load(DEMO)
    path = tmp_path / "m.onnx"
    onnx.save(model, path, save_as_external_data=True, location="m.data", size_threshold=100)
    made = onnx.load_from_string(parsable(path))
    assert {t.data_location for t in made.graph.initializer if t.external_data} == {
        TensorProto.EXTERNAL
    }
    assert any(t.external_data for t in made.graph.initializer)


@pytest.mark.parametrize(
    ("zero", "is_taken"),
    [(np.int8(0), True), (np.int8(3), False), (np.uint8(0), False), (np.uint8(128), False)],
)
def test_int8_for_processors_is_refused_with_what_makes_it_for_gpus(tmp_path, zero, is_taken):
    values = {"scale": np.float32(0.5), "zero": zero}
    graph = helper.make_graph(
        [helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["y"], name="q")],
        "quantised",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", helper.np_dtype_to_tensor_dtype(zero.dtype), [2])],
        [onnx.numpy_helper.from_array(np.array(value), name) for name, value in values.items()],
    )
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph), path)
    if is_taken:
        assert parsable(path) == path.read_bytes()
    else:
        with pytest.raises(
            ModelError, match=r"QuantizeLinear 'q' of .*--precision int8 --target gpu"
        ):
            parsable(path)


def test_layers_whose_names_break_the_inspectors_json_are_unread():
    assert precisions_used('{"Layers": [{"Name": "a "quoted" name"}]}') == set()
