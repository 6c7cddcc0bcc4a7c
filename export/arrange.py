"""float32 graphs of one size arranged for CPUs: other operators, same numbers but for rounding.

ONNX Runtime keeps the channels of convolutions on CPUs in blocks. Concat and Resize know planes:
what passes through them is rearranged twice, and Resize computes the place of every pixel anew.

* Concatenated channels that a convolution reads: it is linear, so that each part gets a convolution
  with its share of the weights, and their sums are added where they are made. Activations and
  depthwise convolutions between the two belong to one channel, and move before the concatenation.
* Bilinear enlargement is two matrix products, for rows and columns, with matrices whose rows hold
  the two weights of a pixel.

Both take sizes that are known: sums are added within a convolution only where ONNX Runtime can see
that shapes are equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from deal.export.graph import constants_of, consumers, drop_unused, session_of, with_types

__all__ = ["arranged"]

_BLOCK = 16  # channels; parts that do not fill blocks gain nothing
_OF_ONE_CHANNEL = frozenset(
    ("Clip", "Elu", "HardSigmoid", "HardSwish", "LeakyRelu", "Relu", "Sigmoid", "Tanh")
)
# Products per pixel of the enlarged image; Resize takes as long as about 64 of them.
_MOST_PRODUCTS = 48.0
_COORDINATES = ("align_corners", "half_pixel", "pytorch_half_pixel")

Shape = tuple[int | None, ...]


def arranged(model: onnx.ModelProto, feed: Mapping[str, NDArray[Any]]) -> onnx.ModelProto:
    """Arrange a float32 model for CPUs.

    Parameters
    ----------
    model : onnx.ModelProto
        As :func:`deal.export.graph.simplified` gives it for one size of images; it is not changed.
    feed : mapping of input name to ndarray
        Any image of that size.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    _enlarge_by_products(result, feed)
    del result.graph.value_info[:]  # after a product, sizes are known that were not before
    result = with_types(result)
    _split_concatenations(result)
    drop_unused(result.graph)
    return with_types(result)


# ---- concatenated channels ------------------------------------------------------------------


def _split_concatenations(model: onnx.ModelProto) -> None:
    graph = model.graph
    for concat in [node for node in graph.node if node.op_type == "Concat"]:
        shapes = _shapes(graph)
        parts = [shapes.get(name, ()) for name in concat.input]
        if any(len(shape) != 4 for shape in parts) or _attribute(concat, "axis", 0) not in (1, -3):
            continue
        channels = [shape[1] for shape in parts]
        known = [count for count in channels if count is not None and count % _BLOCK == 0]
        chain = _chain_to_convolution(graph, concat, sum(known))
        if chain is not None and len(known) == len(channels):
            _split(graph, concat, known, chain)


def _chain_to_convolution(
    graph: onnx.GraphProto, concat: onnx.NodeProto, channels: int
) -> list[onnx.NodeProto] | None:
    """Nodes that work on each channel alone after a concatenation, and the convolution behind."""
    readers, constants = consumers(graph), constants_of(graph)
    outputs = {value.name for value in graph.output}
    chain: list[onnx.NodeProto] = []
    node = concat
    while node.output[0] not in outputs and len(readers[node.output[0]]) == 1:
        before, node = node.output[0], readers[node.output[0]][0]
        if node.input[0] != before:
            return None
        if any(name and name not in constants for name in node.input[1:]):
            return None
        chain.append(node)
        if node.op_type == "Conv":
            if _attribute(node, "group", 1) == 1:
                return chain
            if constants[node.input[1]].shape[:2] != (channels, 1):
                return None
        elif node.op_type not in _OF_ONE_CHANNEL:
            return None
    return None


def _split(
    graph: onnx.GraphProto,
    concat: onnx.NodeProto,
    channels: Sequence[int],
    chain: Sequence[onnx.NodeProto],
) -> None:
    """conv(f(concat(a, b, …))) = conv_a(f(a)) + conv_b(f(b)) + …"""
    constants = constants_of(graph)
    made: list[onnx.NodeProto] = []
    sums: list[str] = []
    ends = pairwise(accumulate(channels, initial=0))
    for index, (value, (first, last)) in enumerate(zip(concat.input, ends, strict=True)):
        for node in chain:
            part = onnx.NodeProto()
            part.CopyFrom(node)
            part.name = f"{node.name}/part_{index}"
            part.output[0] = f"{node.output[0]}/part_{index}"
            part.input[0] = value
            if node.op_type == "Conv":
                shares = _shares(node, constants, slice(first, last), index == 0)
                del part.input[1:]
                for name, share in shares:
                    part.input.append(f"{part.name}/{name}")
                    graph.initializer.append(numpy_helper.from_array(share, part.input[-1]))
                _set_groups(part, _attribute(node, "group", 1) > 1, last - first)
            made.append(part)
            value = part.output[0]
        sums.append(value)
    convolution = chain[-1]
    for index, value in enumerate(sums[1:], start=1):
        result = convolution.output[0] + (f"/sum_{index}" if index + 1 < len(sums) else "")
        made.append(
            helper.make_node(
                "Add", [sums[0], value], [result], name=f"{convolution.name}/sum_{index}"
            )
        )
        sums[0] = result
    _replace(graph, [concat, *chain], made)


def _shares(
    node: onnx.NodeProto,
    constants: dict[str, NDArray[np.float32]],
    part: slice,
    first: bool,
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """What a part of the channels needs of a convolution: ``weight``, and ``bias`` if any."""
    depthwise = _attribute(node, "group", 1) > 1
    weight = constants[node.input[1]]
    yield "weight", np.ascontiguousarray(weight[part] if depthwise else weight[:, part])
    if len(node.input) > 2 and node.input[2] and (depthwise or first):
        bias = constants[node.input[2]]
        yield "bias", np.ascontiguousarray(bias[part] if depthwise else bias)


def _set_groups(node: onnx.NodeProto, depthwise: bool, channels: int) -> None:
    for attribute in node.attribute:
        if attribute.name == "group" and depthwise:
            attribute.i = channels


# ---- bilinear enlargement -------------------------------------------------------------------


def _enlarge_by_products(model: onnx.ModelProto, feed: Mapping[str, NDArray[Any]]) -> None:
    graph = model.graph
    floats = {
        value.name
        for value in (*graph.input, *graph.value_info)
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    resizes = [
        node
        for node in graph.node
        if node.op_type == "Resize" and _is_bilinear(node) and node.input[0] in floats
    ]
    names = {name for node in resizes for name in (node.input[0], node.output[0])}
    shapes = _measured_shapes(model, sorted(names), feed)
    for node in resizes:
        (*_, channels, h, w), (*_, channels_after, big_h, big_w) = (
            shapes[name] for name in (node.input[0], node.output[0])
        )
        if len(shapes[node.input[0]]) != 4 or channels != channels_after:
            continue
        if big_h < h or big_w < w or h + w * h / big_h > _MOST_PRODUCTS:
            continue
        coordinates = _attribute(node, "coordinate_transformation_mode", b"half_pixel").decode()
        rows, columns = f"{node.name}/rows", f"{node.name}/columns"
        matrices = {
            rows: _weights(h, big_h, coordinates),
            columns: np.ascontiguousarray(_weights(w, big_w, coordinates).T),
        }
        graph.initializer.extend(
            numpy_helper.from_array(matrix, name) for name, matrix in matrices.items()
        )
        # Columns first: fewer rows are multiplied.
        wide = f"{node.output[0]}/wide"
        products = [
            helper.make_node("MatMul", [node.input[0], columns], [wide], name=f"{node.name}/x"),
            helper.make_node("MatMul", [rows, wide], [node.output[0]], name=f"{node.name}/y"),
        ]
        _replace(graph, [node], products)


def _is_bilinear(node: onnx.NodeProto) -> bool:
    sizes_given = len(node.input) > 3 and bool(node.input[3])
    return (
        _attribute(node, "mode", b"nearest") == b"linear"
        and _attribute(node, "coordinate_transformation_mode", b"half_pixel").decode()
        in _COORDINATES
        and not _attribute(node, "antialias", 0)
        and not _attribute(node, "exclude_outside", 0)
        and sizes_given  # with scales, positions are computed from them, not from sizes
        and _attribute(node, "keep_aspect_ratio_policy", b"stretch") == b"stretch"
    )


def _weights(small: int, large: int, coordinates: str) -> NDArray[np.float32]:
    """Weights of the pixels of a row for those of the enlarged one, float32 [large, small].

    A pixel at x takes 1 - |x - i| of pixel i, within one pixel. Places as ONNX defines them:
    https://onnx.ai/onnx/operators/onnx__Resize.html
    """
    places = np.arange(large, dtype=np.float64)
    if coordinates == "align_corners":
        at = places * ((small - 1) / (large - 1)) if large > 1 else 0.0 * places
    else:
        at = np.clip((places + 0.5) * (small / large) - 0.5, 0, small - 1)
        if coordinates == "pytorch_half_pixel" and large == 1:
            at = 0.0 * places
    weights: NDArray[np.float32] = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(small))).astype(
        np.float32
    )
    return weights


# ---- graphs ---------------------------------------------------------------------------------


def _attribute(node: onnx.NodeProto, name: str, default):  # type: ignore[no-untyped-def]
    found = (helper.get_attribute_value(a) for a in node.attribute if a.name == name)
    return next(found, default)


def _measured_shapes(
    model: onnx.ModelProto, names: Sequence[str], feed: Mapping[str, NDArray[Any]]
) -> dict[str, tuple[int, ...]]:
    """No type holds the sizes that a graph computes while it runs."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names
    )
    values = session_of(probe).run(list(names), dict(feed)) if names else []
    return {name: value.shape for name, value in zip(names, values, strict=True)}


def _shapes(graph: onnx.GraphProto) -> dict[str, Shape]:
    return {
        value.name: tuple(
            dim.dim_value if dim.HasField("dim_value") else None
            for dim in value.type.tensor_type.shape.dim
        )
        for value in (*graph.input, *graph.value_info, *graph.output)
    }


def _replace(
    graph: onnx.GraphProto, old: Sequence[onnx.NodeProto], new: Sequence[onnx.NodeProto]
) -> None:
    """Put nodes where the last of the old ones stood."""
    place = next(i for i, node in enumerate(graph.node) if node.name == old[-1].name)
    for offset, node in enumerate(new):
        graph.node.insert(place + offset, node)
    for node in old:
        graph.node.remove(node)
