"""``deal export --static``: one input size, other operators, the same numbers."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import deal as package
from deal.engines import open_engine
from deal.errors import ModelError
from deal.export.arrange import arranged
from deal.export.graph import simplified
from deal.export.static import make_static
from deal.model.spec import read_spec
from tests.helpers.models import MEAN, STD, metadata, save_model, scenes

SIZE = (48, 64)
OPSET = [helper.make_opsetid("", 18)]


class Network:
    """Nodes in a row, with random weights."""

    def __init__(self):
        self.rng = np.random.default_rng(0)
        self.nodes, self.constants = [], []

    def constant(self, name, value):
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, kind, inputs, output, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def conv(self, x, inputs, outputs, output, *, kernel=1, depthwise=False, bias=True, **more):
        shape = (outputs, 1 if depthwise else inputs, kernel, kernel)
        weight = (self.rng.normal(size=shape) / np.prod(shape[1:]) ** 0.5).astype(np.float32)
        names = [x, self.constant(f"{output}_w", weight)]
        if bias:
            names.append(
                self.constant(f"{output}_b", self.rng.normal(size=outputs).astype(np.float32))
            )
        pads = [kernel // 2] * 4
        return self.add("Conv", names, output, group=inputs if depthwise else 1, pads=pads, **more)

    def model(self, image, outputs):
        values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None] * 4) for n in outputs]
        graph = helper.make_graph(self.nodes, "n", [image], values, self.constants)
        return helper.make_model(graph, opset_imports=OPSET, ir_version=9)


def operators(model):
    return [node.op_type for node in model.graph.node]


def run(model, feed):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, feed)


# ---- graphs ---------------------------------------------------------------------------------


def joined(parts, behind, *, read_twice=False):
    """Convolutions of so many channels each over an image, concatenated, and what reads that."""
    net = Network()
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 9, 13])
    names = [net.conv("x", 3, n, f"part{k}", kernel=3) for k, n in enumerate(parts)]
    net.add("Concat", names, "all", axis=1)
    total = sum(parts)
    value = "all"
    for kind in behind:
        if kind == "depthwise":
            value = net.conv(value, total, total, f"{value}_d", kernel=3, depthwise=True)
        elif kind == "dilated":
            value = net.conv(value, total, 32, f"{value}_c", kernel=3, dilations=[1, 1], bias=False)
        elif kind == "Conv":
            value = net.conv(value, total, 32, f"{value}_c")
        elif kind == "Clip":
            bounds = [net.constant(n, np.float32(v)) for n, v in (("low", 0), ("high", 0.5))]
            value = net.add("Clip", [value, *bounds], f"{value}_k")
        else:
            value = net.add(kind, [value], f"{value}_{kind}")
    return net.model(image, [value, "all"] if read_twice else [value])


@pytest.mark.parametrize(
    ("parts", "behind", "split"),
    [
        ((16, 32), ["Conv"], True),
        ((16, 16, 48), ["dilated", "Relu"], True),
        ((32, 16), ["depthwise", "Relu", "Conv"], True),
        ((32, 16), ["Clip", "depthwise", "HardSwish", "dilated"], True),
        ((16, 8), ["Conv"], False),
        ((16, 32), ["Softmax", "Conv"], False),
        ((16, 32), ["Relu"], False),
    ],
)
def test_a_convolution_of_concatenated_channels_is_the_sum_of_its_parts(parts, behind, split):
    model = onnx.shape_inference.infer_shapes(joined(parts, behind))
    feed = {"x": np.random.default_rng(1).normal(size=(2, 3, 9, 13)).astype(np.float32)}
    made = arranged(model, feed)
    onnx.checker.check_model(made, full_check=True)
    assert ("Concat" not in operators(made)) == split
    assert operators(made).count("Add") == (len(parts) - 1 if split else 0)
    np.testing.assert_allclose(run(made, feed)[0], run(model, feed)[0], rtol=1e-5, atol=1e-5)


def test_concatenated_channels_that_others_read_too_stay_so():
    model = onnx.shape_inference.infer_shapes(joined((16, 32), ["Conv"], read_twice=True))
    made = arranged(model, {"x": np.zeros((1, 3, 9, 13), np.float32)})
    assert operators(made) == operators(model)


def test_names_that_are_taken_already_do_no_harm():
    net = Network()
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 9, 13])
    parts = [net.conv("x", 3, 16, name, kernel=3) for name in ("relu_0", "relu_1")]
    net.add("Concat", parts, "relu_2", axis=1)
    net.add("Relu", ["relu_2"], "relu")
    shared = net.constant("w", net.rng.normal(size=(16, 32, 1, 1)).astype(np.float32))
    net.add("Conv", ["relu", shared], "y", group=1)
    net.add("Concat", [parts[1], "y"], "again", axis=1)
    net.add("Conv", ["again", shared], "z", group=1)
    model = onnx.shape_inference.infer_shapes(net.model(image, ["z"]))
    feed = {"x": np.random.default_rng(1).normal(size=(1, 3, 9, 13)).astype(np.float32)}
    made = arranged(model, feed)
    assert "Concat" not in operators(made)
    np.testing.assert_allclose(run(made, feed)[0], run(model, feed)[0], rtol=1e-4, atol=1e-4)


def resized(small, large, **attributes):
    net = Network()
    net.constant("sizes", np.array([2, 16, *large], np.int64))
    net.add("Resize", ["x", "", "", "sizes"], "y", **attributes)
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 16, *small])
    return onnx.shape_inference.infer_shapes(net.model(image, ["y"]))


sides = st.integers(1, 24)


@settings(deadline=None, max_examples=60)
@given(
    small=st.tuples(sides, sides),
    more=st.tuples(sides, sides),
    mode=st.sampled_from(["align_corners", "half_pixel", "pytorch_half_pixel"]),
)
def test_bilinear_enlargement_is_two_products(small, more, mode):
    large = tuple(a + b - 1 for a, b in zip(small, more, strict=True))
    model = resized(small, large, mode="linear", coordinate_transformation_mode=mode)
    feed = {"x": np.random.default_rng(2).uniform(-1, 1, (2, 16, *small)).astype(np.float32)}
    made = arranged(model, feed)
    assert operators(made) == ["MatMul", "MatMul"]
    np.testing.assert_allclose(run(made, feed)[0], run(model, feed)[0], atol=1e-5)


@pytest.mark.parametrize(
    ("small", "large", "attributes"),
    [
        ((8, 9), (16, 18), {"mode": "nearest"}),
        ((8, 9), (16, 18), {"mode": "linear", "coordinate_transformation_mode": "asymmetric"}),
        ((8, 9), (16, 18), {"mode": "cubic"}),
        ((8, 9), (16, 5), {"mode": "linear"}),
        ((64, 64), (80, 80), {"mode": "linear"}),
    ],
)
def test_another_resize_and_one_of_large_maps_stays(small, large, attributes):
    model = resized(small, large, **attributes)
    made = arranged(model, {"x": np.zeros((2, 16, *small), np.float32)})
    assert operators(made) == ["Resize"]


# ---- models ---------------------------------------------------------------------------------


def save_decoder(path, props, size=("H", "W")):
    """An encoder of two convolutions and a decoder as DeepLabv3+ has it, for images of any size."""
    net = Network()
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", *size, 3])
    net.add("Transpose", ["image"], "planes", perm=[0, 3, 1, 2])
    net.add("Cast", ["planes"], "cast", to=TensorProto.FLOAT)
    net.add("Div", ["cast", net.constant("levels", np.float32(255))], "unit")
    net.conv("unit", 3, 16, "low", kernel=3, strides=[2, 2])
    net.conv("low", 16, 32, "high", kernel=3, strides=[2, 2])
    net.add("Shape", ["high"], "high_shape", end=2)
    net.add("Shape", ["low"], "low_shape", start=2)
    net.add("Concat", ["high_shape", "low_shape"], "sizes", axis=0)
    mode = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
    net.add("Resize", ["high", "", "", "sizes"], "up", **mode)
    net.add("Concat", ["up", "low"], "all", axis=1)
    net.conv("all", 48, 48, "d", kernel=3, depthwise=True)
    net.add("Relu", ["d"], "relu")
    net.conv("relu", 48, 5, "logits")
    model = net.model(image, ["logits"])
    for dim, length in zip(
        model.graph.output[0].type.tensor_type.shape.dim, ("N", 5, "h", "w"), strict=True
    ):
        setattr(dim, "dim_value" if isinstance(length, int) else "dim_param", length)
    helper.set_model_props(model, {"deal": json.dumps(props)})
    onnx.save(model, path)
    return path


@pytest.fixture
def model(tmp_path):
    return save_decoder(tmp_path / "model.onnx", metadata(provenance={"data": "none"}))


def test_a_static_model_scores_as_the_original(deal, model, tmp_path):
    output = tmp_path / "static.onnx"
    code, told, _ = deal("export", model, "-o", output, "--static", "48x64")
    assert code == 0
    assert told.startswith("16 images, static against any size: logits differ by at most ")
    assert told.endswith(f"model: {output}\n")
    kinds = operators(onnx.load(output))
    assert "Resize" not in kinds
    assert "Concat" not in kinds
    spec = read_spec(output)
    assert (spec.input_size, spec.batch, spec.precision) == (SIZE, None, "fp32")
    assert spec.provenance["data"] == "none"
    assert spec.provenance["conversion"]["static"] == list(SIZE)
    assert spec.difficulty_head == read_spec(model).difficulty_head
    found = []
    for path, options in ((model, {"input_size": SIZE}), (output, None)):
        with package.Scorer(path, device="cpu", model_options=options) as scorer:
            found.append(scorer.score(scenes(3, (60, 80))))
    for name in ("difficulty_mean", "entropy_mean", "difficulty_weighted_entropy_mean"):
        np.testing.assert_allclose(found[1][name], found[0][name], atol=1e-6)


def test_a_static_model_takes_batches_of_any_size(model, tmp_path):
    output = tmp_path / "static.onnx"
    make_static(model, output, SIZE)
    images = np.stack(scenes(3, SIZE))
    engines = [
        open_engine(path, "ort", "cpu", options=options)
        for path, options in ((model, {"input_size": list(SIZE)}), (output, None))
    ]
    for batch in (images, images[:1]):
        ours, theirs = (engine.infer(batch).logits for engine in engines)
        np.testing.assert_allclose(theirs, ours, atol=1e-4)


def test_json_has_the_comparison(deal, model, tmp_path):
    code, told, _ = deal("export", model, "-o", tmp_path / "s.onnx", "--static", "48x64", "--json")
    found = json.loads(told)["static"]
    assert (code, found["images"]) == (0, 16)
    assert 0 <= found["max_logit_difference"] < 1e-3


@pytest.mark.parametrize(
    ("change", "arguments", "says"),
    [
        ({"precision": "int8"}, ["--static", "48x64"], "is int8: --static arranges the fp32 one"),
        ({"size_multiple": 32}, ["--static", "48x64"], "48×64 is not a multiple of the model's"),
        ({}, ["--static", "48"], "'48' is not HxW, such as 360x480"),
        ({}, ["--static", "48x64", "--precision", "fp16"], "leave out --static or --precision"),
        ({}, ["--static", "48x64", "--tolerance", "1e-12"], "differs from itself"),
    ],
)
def test_what_cannot_be_made_static_is_refused(deal, tmp_path, change, arguments, says):
    model = save_decoder(tmp_path / "model.onnx", metadata(**change))
    code, _, error = deal("export", model, "-o", tmp_path / "static.onnx", *arguments)
    assert code != 0
    assert says in error
    assert not (tmp_path / "static.onnx").exists()


def test_a_model_of_another_fixed_size_is_refused(tmp_path):
    model = save_decoder(tmp_path / "model.onnx", metadata(), size=(40, 64))
    with pytest.raises(ModelError, match="takes images of 40×64 only"):
        make_static(model, tmp_path / "static.onnx", SIZE)


def test_a_model_of_float_images_gets_its_size_too(tmp_path):
    props = metadata(input_format="float-rgb", mean=MEAN, std=STD)
    model = save_model(tmp_path / "model.onnx", floating=True, props=props)
    make_static(model, tmp_path / "static.onnx", SIZE)
    assert read_spec(tmp_path / "static.onnx").input_size == SIZE


def test_arranging_twice_changes_nothing(model, tmp_path):
    first, second = tmp_path / "first.onnx", tmp_path / "second.onnx"
    make_static(model, first, SIZE)
    make_static(first, second, SIZE)
    assert operators(simplified(second)) == operators(simplified(first))


def test_a_model_without_difficulty_is_compared_by_its_uncertainty(deal, tmp_path):
    props = metadata(difficulty_head=None)
    model = save_decoder(tmp_path / "model.onnx", props)
    arguments = ["export", model, "-o", tmp_path / "s.onnx", "--static", "48x64", "--json"]
    code, told, _ = deal(*arguments)
    assert code == 0
    assert list(json.loads(told)["static"]["scores"]) == ["entropy", "margin"]


def test_a_difficulty_of_the_graph_is_compared(tmp_path):
    props = metadata(difficulty_head=None)
    model = save_model(tmp_path / "model.onnx", difficulty=True, props=props)
    parity = make_static(model, tmp_path / "s.onnx", SIZE)
    assert list(parity.scores) == ["ds", "ds:entropy", "de", "entropy"]


def test_a_tolerance_that_is_no_number_accepts_nothing(model, tmp_path):
    with pytest.raises(ModelError, match="differs from itself"):
        make_static(model, tmp_path / "s.onnx", SIZE, tolerance=float("nan"))
    assert not (tmp_path / "s.onnx").exists()


def test_a_model_of_a_fixed_batch_gets_its_size_too(tmp_path):
    model = save_model(tmp_path / "model.onnx", batch=2, props=metadata())
    assert make_static(model, tmp_path / "s.onnx", SIZE).max_logit_difference < 1e-3
