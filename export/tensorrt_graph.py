"""Change graphs so that TensorRT's parser takes them.

TensorRT knows uint8 at the border of a network only: before any other layer reads such an input it
has to be converted (``tensorrt.DataType``). Exported networks may transpose an image first, or ask
for its size.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper, numpy_helper

from deal.errors import ModelError

__all__ = ["cast_images_first", "parsable"]

# They move values whatever their type is.
_MOVES = frozenset(("Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"))


def parsable(path: Path) -> bytes:
    """The bytes of an ONNX file in which uint8 images are cast first.

    External weights are left out: the parser finds them by the model's path.

    Raises
    ------
    ModelError
        Its int8 has zero points, the form for CPUs.
    """
    content = path.read_bytes()
    model = onnx.load_from_string(content)
    if asymmetric := _asymmetric(model.graph):
        raise ModelError(
            f"TensorRT takes int8 without zero points only, and {asymmetric} of {path} has one, as "
            "on processors: convert the float32 model with deal export --precision int8 --target "
            "gpu"
        )
    return model.SerializeToString() if cast_images_first(model.graph) else content


def _asymmetric(graph: onnx.GraphProto) -> str:
    """The first node that quantises with a zero point or to uint8; empty if there is none."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and len(node.input) > 2:
            zero = constants.get(node.input[2])
            if zero is not None and zero.data_location != TensorProto.EXTERNAL:
                is_uint8 = zero.data_type == TensorProto.UINT8
                if is_uint8 or numpy_helper.to_array(zero).any():
                    return f"{node.op_type} {node.name!r}"
    return ""


def cast_images_first(graph: onnx.GraphProto) -> bool:
    """Let only a Cast to float32 read each uint8 input.

    Levels of 0 to 255 are exact in float32, so no result changes. Inputs that reach an operator
    which computes on integers (DequantizeLinear, Pad with a constant) stay as they are.

    Returns
    -------
    bool
        Whether anything changed.
    """
    images = [
        info.name for info in graph.input if info.type.tensor_type.elem_type == TensorProto.UINT8
    ]
    changed = [_cast_first(graph, name) for name in images]
    return any(changed)


def _cast_first(graph: onnx.GraphProto, image: str) -> bool:
    moved = {image}  # values that are uint8 now
    for node in graph.node:
        if moved.isdisjoint(node.input) or node.op_type in ("Cast", "Shape", "Size"):
            continue
        if node.op_type not in _MOVES:
            return False
        moved.update(node.output)
    if not moved.isdisjoint(info.name for info in graph.output):
        return False
    readers = [node for node in graph.node if image in node.input and node.op_type != "Cast"]
    if not readers:
        return False
    for node in readers:
        for place, name in enumerate(node.input):
            if name == image:
                node.input[place] = f"{image}_float"
    cast = helper.make_node(
        "Cast", [image], [f"{image}_float"], name=f"{image}_float", to=TensorProto.FLOAT
    )
    graph.node.insert(0, cast)
    kept = [info for info in graph.value_info if info.name not in moved]
    del graph.value_info[:]
    graph.value_info.extend(kept)
    return True
