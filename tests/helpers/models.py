"""Small ONNX networks for tests: one convolution with fixed random weights, dressed as needed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES = ("road", "sky", "car", "pole", "sign")
HEAD = {"gamma": 0.7, "weight": [0.5, -1.0, 1.5, 0.25, -0.5], "bias": -0.2, "grid": None}
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
STRIDE = 4


def metadata(num_classes: int = 5, **changes: Any) -> dict[str, Any]:
    """Metadata as ``deal export`` writes it, for a network of ``save_model``."""
    head = {**HEAD, "weight": np.linspace(-1, 1, num_classes).tolist()}
    return {
        "format": 1,
        "classes": list(CLASSES) if num_classes == len(CLASSES) else num_classes,
        "input_format": "rgb8",
        "align_corners": True,
        "difficulty_head": HEAD if num_classes == len(CLASSES) else head,
        **changes,
    }


def save_model(
    path: Path,
    *,
    num_classes: int = 5,
    kind: str = "logits",
    output: str = "logits",
    floating: bool = False,
    half: bool = False,
    bgr: bool = False,
    batch: int | None = None,
    size: tuple[int, int] | None = None,
    difficulty: bool = False,
    embedding: bool = False,
    dropout: bool = False,
    nan_above: float | None = None,
    gain: float = 0.2,
    bias: Sequence[float] | None = None,
    seed: int = 7,
    stride: int = STRIDE,
    pad: int = 2,
    exact: bool = False,
    props: Mapping[str, Any] | None = None,
    extra_outputs: Sequence[str] = (),
) -> Path:
    """Write a network with one 8×8 convolution of stride 4; all variants share their weights.

    ``kind`` is what the output holds: ``logits``, ``softmax``, ``sigmoid``, ``argmax``
    ([N,1,h,w] int64) or ``argmax3`` ([N,h,w]). ``floating`` takes normalised float [N,3,H,W]
    instead of uint8 [N,H,W,3], ``half`` in float16. ``gain`` scales the weights, which ``seed``
    draws; with ``gain`` 0 the logits are ``bias`` everywhere. ``dropout`` multiplies the logits by
    the input ``mask``. ``exact`` rounds weights, mean and standard deviation so that no logit is
    rounded in float32: every processor, batch and number of threads gives it the same bits.
    ``nan_above`` gives NaN for images whose mean level exceeds it. ``props`` go
    into the file as deal's metadata.
    """
    rng = np.random.default_rng(seed)
    weight = (rng.normal(size=(num_classes, 3, 8, 8)) * gain).astype(np.float32)
    drawn = rng.normal(size=num_classes)
    mean, std = 255 * np.array(MEAN, np.float32), 255 * np.array(STD, np.float32)
    if exact:  # sums of multiples of 2**-14 below 2**9
        weight, drawn = np.clip(np.round(weight * 256) / 256, -1, 1), np.round(drawn * 256) / 256
        mean, std = np.full(3, 128, np.float32), np.full(3, 64, np.float32)
    n, (h, w) = batch or "N", size or ("H", "W")
    constants = {"weight": weight, "bias": np.asarray(drawn if bias is None else bias, np.float32)}
    nodes = []
    if floating:
        element = TensorProto.FLOAT16 if half else TensorProto.FLOAT
        image = helper.make_tensor_value_info("pixel_values", element, [n, 3, h, w])
        nodes.append(helper.make_node("Cast", ["pixel_values"], ["x"], to=TensorProto.FLOAT))
    else:
        image = helper.make_tensor_value_info("image", TensorProto.UINT8, [n, h, w, 3])
        constants["mean"], constants["std"] = (mean[::-1], std[::-1]) if bgr else (mean, std)
        nodes += [
            helper.make_node("Cast", ["image"], ["levels"], to=TensorProto.FLOAT),
            helper.make_node("Sub", ["levels", "mean"], ["centred"]),
            helper.make_node("Div", ["centred", "std"], ["scaled"]),
            helper.make_node("Transpose", ["scaled"], ["x"], perm=[0, 3, 1, 2]),
        ]
    if bgr:
        constants["weight"] = np.ascontiguousarray(weight[:, ::-1])
    conv = {"kernel_shape": [8, 8], "strides": [stride] * 2, "pads": [pad] * 4}
    nodes.append(helper.make_node("Conv", ["x", "weight", "bias"], ["z0"], **conv))
    last = "z0"
    if nan_above is not None:
        constants["limit"] = np.float32((nan_above / 255 - np.mean(MEAN)) / np.mean(STD))
        constants["zero"] = np.float32(0)
        nodes += [
            helper.make_node("ReduceMean", ["x"], ["level"], axes=[1, 2, 3], keepdims=1),
            helper.make_node("Sub", ["limit", "level"], ["room"]),
            helper.make_node("Sqrt", ["room"], ["root"]),  # NaN where the mean is above the limit
            helper.make_node("Mul", ["root", "zero"], ["blank"]),
            helper.make_node("Add", ["z0", "blank"], ["z1"]),
        ]
        last = "z1"
    inputs = [image]
    if dropout:
        nodes.append(helper.make_node("Mul", [last, "mask"], ["masked"]))
        inputs.append(
            helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, num_classes, 1, 1])
        )
        last = "masked"
    finish = {
        "logits": ("Identity", {}),
        "softmax": ("Softmax", {"axis": 1}),
        "sigmoid": ("Sigmoid", {}),
        "argmax": ("ArgMax", {"axis": 1, "keepdims": 1}),
        "argmax3": ("ArgMax", {"axis": 1, "keepdims": 0}),
    }[kind]
    element = TensorProto.INT64 if kind.startswith("argmax") else TensorProto.FLOAT
    shape: list[Any] = [n, num_classes if element == TensorProto.FLOAT else 1, "h", "w"]
    if half and element == TensorProto.FLOAT:
        nodes.append(helper.make_node(finish[0], [last], ["final"], **finish[1]))
        nodes.append(helper.make_node("Cast", ["final"], [output], to=TensorProto.FLOAT16))
        element = TensorProto.FLOAT16
    else:
        nodes.append(helper.make_node(finish[0], [last], [output], **finish[1]))
    if kind == "argmax3":
        shape.pop(1)
    outputs = [helper.make_tensor_value_info(output, element, shape)]
    if difficulty:
        nodes.append(helper.make_node("ReduceMax", [last], ["difficulty"], axes=[1], keepdims=1))
        outputs.append(
            helper.make_tensor_value_info("difficulty", TensorProto.FLOAT, [n, 1, "h", "w"])
        )
    if embedding:
        nodes.append(helper.make_node("ReduceMean", [last], ["embedding"], axes=[2, 3], keepdims=0))
        outputs.append(
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [n, num_classes])
        )
    for name in extra_outputs:
        nodes.append(helper.make_node("Neg", [last], [name]))
        outputs.append(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [n, num_classes, "h", "w"])
        )
    tensors = [
        numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    ]
    graph = helper.make_graph(nodes, "test", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    if props is not None:
        helper.set_model_props(model, {"deal": json.dumps(props)})
    onnx.save(model, path)
    return path


def redressed(
    path: Path,
    *,
    input_nhwc: bool = False,
    output_nhwc: bool = False,
    output_type: int | None = None,
    noise: float = 0.0,
) -> Path:
    """Change a network of ``save_model`` in place to what exporters of other frameworks write.

    ``input_nhwc`` takes a floating image with its channels last, ``output_nhwc`` gives them last,
    ``output_type`` gives another element type, and ``noise`` adds random numbers at every run.
    """
    model = onnx.load(path)
    graph = model.graph
    nodes = list(graph.node)
    if input_nhwc:
        image = graph.input[0]
        name, dims = image.name, image.type.tensor_type.shape.dim
        order = [dims[0], dims[2], dims[3], dims[1]]
        shape = [dim.dim_param or dim.dim_value for dim in order]
        element = image.type.tensor_type.elem_type
        graph.input.remove(image)
        graph.input.insert(0, helper.make_tensor_value_info("nhwc", element, shape))
        nodes.insert(0, helper.make_node("Transpose", ["nhwc"], [name], perm=[0, 3, 1, 2]))
    value = graph.output[0]
    last, name = next(node for node in nodes if value.name in node.output), value.name
    last.output[0] = current = "inner"
    shape = [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
    element = value.type.tensor_type.elem_type
    if noise:
        nodes.append(helper.make_node("RandomNormalLike", [current], ["drawn"], scale=noise))
        nodes.append(helper.make_node("Add", [current, "drawn"], ["noisy"]))
        current = "noisy"
    if output_nhwc:
        nodes.append(helper.make_node("Transpose", [current], ["turned"], perm=[0, 2, 3, 1]))
        current, shape = "turned", [shape[0], *shape[2:], shape[1]]
    element = output_type or element
    nodes.append(helper.make_node("Cast", [current], [name], to=element))
    graph.output.remove(value)
    graph.output.insert(0, helper.make_tensor_value_info(name, element, shape))
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def scenes(count: int, size: tuple[int, int] = (48, 64), seed: int = 0) -> list[np.ndarray]:
    """Images uint8 [H, W, 3] of smooth colours with noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    images = []
    for _ in range(count):
        phase, speed = rng.uniform(0, 6, 3), rng.uniform(0.02, 0.3, (2, 3))
        wave = np.sin(y[..., None] * speed[0] + x[..., None] * speed[1] + phase)
        noise = rng.normal(size=(*size, 3))
        images.append(np.clip(127 + 90 * wave + 15 * noise, 0, 255).astype(np.uint8))
    return images
