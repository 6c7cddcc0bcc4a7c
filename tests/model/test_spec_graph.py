"""What the contract takes from the graph: inputs, outputs, sizes and layouts."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from deal.errors import ModelError
from deal.model.spec import read_spec

NORMALISED = {"classes": 5, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def save_graph(path, image, outputs):
    """A graph with these declared inputs and outputs and no sensible body."""
    nodes = [helper.make_node("Identity", [image[0].name], [out.name]) for out in outputs]
    graph = helper.make_graph(nodes, "g", image, outputs)
    onnx.save(helper.make_model(graph), path)
    return path


def tensor(name, dtype, shape):
    return helper.make_tensor_value_info(name, dtype, shape)


@pytest.mark.parametrize(
    ("dtype", "shape", "says"),
    [
        (TensorProto.FLOAT, ["N", 5], "re-export the logits so"),
        (TensorProto.FLOAT, ["N", "h", "w"], "argmax is baked in"),
        (TensorProto.FLOAT, ["N", 5, 1, "h", "w"], "re-export the logits so"),
        (TensorProto.COMPLEX64, ["N", 5, "h", "w"], "re-export the logits so"),
        (TensorProto.UINT8, ["N", 1, "h", "w"], "argmax is baked in"),
    ],
)
def test_outputs_of_another_rank_or_dtype_are_refused(tmp_path, dtype, shape, says):
    image = tensor("image", TensorProto.UINT8, ["N", "H", "W", 3])
    path = save_graph(tmp_path / "m.onnx", [image], [tensor("y", dtype, shape)])
    with pytest.raises(ModelError, match=rf"no floating output.*{says}"):
        read_spec(path, {"classes": 5})


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        (TensorProto.UINT8, ["N", "H", "W", 4]),
        (TensorProto.FLOAT, ["N", 5, "H", "W"]),
        (TensorProto.FLOAT, ["N", 1, "H", "W"]),
        (TensorProto.FLOAT, [3, "H", "W"]),
        (TensorProto.INT32, ["N", "H", "W", 3]),
    ],
)
def test_inputs_that_are_no_rgb_images_are_refused(tmp_path, dtype, shape):
    path = save_graph(
        tmp_path / "m.onnx",
        [tensor("x", dtype, shape)],
        [tensor("y", TensorProto.FLOAT, ["N", 5, "h", "w"])],
    )
    with pytest.raises(ModelError, match="deal needs one image input"):
        read_spec(path, {"classes": 5})


def test_a_second_input_is_refused(tmp_path):
    inputs = [tensor(name, TensorProto.UINT8, ["N", "H", "W", 3]) for name in ("left", "right")]
    path = save_graph(tmp_path / "m.onnx", inputs, [tensor("y", TensorProto.FLOAT, [1, 5, 1, 1])])
    with pytest.raises(ModelError, match=r"'left'.*'right'.*deal needs one image input"):
        read_spec(path, {"classes": 5})


@pytest.mark.parametrize(
    "shape", [["N", 2**31, 2**31, 3], [2**40, 32, 32, 3], [1, 60_000, 60_000, 3], [1, 2**62, 1, 3]]
)
def test_dims_beyond_any_image_are_refused(tmp_path, shape):
    path = save_graph(
        tmp_path / "m.onnx",
        [tensor("x", TensorProto.UINT8, shape)],
        [tensor("y", TensorProto.FLOAT, ["N", 5, "h", "w"])],
    )
    with pytest.raises(ModelError, match="larger than any image"):
        read_spec(path, {"classes": 5})


@pytest.mark.parametrize(
    ("names", "shapes", "seems"),
    [
        (
            ("class_queries_logits", "masks_queries_logits"),
            ([1, 100, 20], [1, 100, "h", "w"]),
            "queries",
        ),
        (("pred_logits", "pred_masks"), (["N", 100, 20], ["N", 100, "h", "w"]), "queries"),
        (("output0", "output1"), ([1, 116, 8400], [1, 32, 160, 160]), "finds objects"),
        (("output0", "output1"), (["N", 5, 1], ["N", 8, "h", "w"]), "finds objects"),
    ],
)
def test_maps_of_queries_and_prototypes_are_no_classes(tmp_path, names, shapes, seems):
    image = tensor("image", TensorProto.UINT8, ["N", "H", "W", 3])
    outputs = [
        tensor(name, TensorProto.FLOAT, shape) for name, shape in zip(names, shapes, strict=True)
    ]
    path = save_graph(tmp_path / "m.onnx", [image], outputs)
    for classes in (shapes[1][1], 80):
        with pytest.raises(ModelError, match=rf"seems to be a network.*{seems}|{seems}") as error:
            read_spec(path, {"classes": classes})
        assert "correct classes" not in str(error.value)


@pytest.mark.parametrize(
    ("dtype", "shape", "layout", "size"),
    [
        (TensorProto.UINT8, ["N", "H", "W", 3], "nhwc", None),
        (TensorProto.UINT8, ["N", 3, "H", "W"], "nchw", None),
        (TensorProto.FLOAT, ["N", 3, "H", "W"], "nchw", None),
        (TensorProto.FLOAT, ["N", "H", "W", 3], "nhwc", None),
        (TensorProto.DOUBLE, [2, 48, 64, 3], "nhwc", (48, 64)),
        (TensorProto.FLOAT, ["N", None, "H", "W"], "nchw", None),
        (TensorProto.FLOAT, [1, 3, 48, 3], "nchw", (48, 3)),
    ],
)
def test_the_layout_of_the_input_follows_the_axis_of_three(tmp_path, dtype, shape, layout, size):
    path = save_graph(
        tmp_path / "m.onnx",
        [tensor("x", dtype, shape)],
        [tensor("y", TensorProto.FLOAT, ["N", 5, "h", "w"])],
    )
    options = {"classes": 5} if dtype == TensorProto.UINT8 else NORMALISED
    found = read_spec(path, options)
    assert (found.input_layout, found.input_size) == (layout, size)


def test_the_layout_of_the_output_follows_the_axis_of_the_classes(tmp_path):
    image = tensor("image", TensorProto.UINT8, ["N", "H", "W", 3])
    for shape, stated, layout in (
        (["N", 5, "h", "w"], {}, "nchw"),
        (["N", 8, 8, 5], {}, "nhwc"),
        (["N", "a", "b", "c"], {}, "nchw"),
        (["N", "a", "b", "c"], {"output_layout": "nhwc"}, "nhwc"),
    ):
        path = save_graph(tmp_path / "m.onnx", [image], [tensor("y", TensorProto.FLOAT, shape)])
        found = read_spec(path, {"classes": 5} | stated)
        assert found.output_layout == layout
        assert ("output_layout" in found.number_settings()) == (layout == "nhwc")
