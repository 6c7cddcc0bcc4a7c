"""Graphs as TensorRT's parser takes them.

TensorRT knows uint8 at the border of a network only: before any other layer reads such an input it
has to be converted (``tensorrt.DataType``). Exported networks may transpose an image first, or ask
for its size.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

__all__ = ["cast_images_first", "parsable"]

# They move values and know nothing of their type.
_MOVES = frozenset(("Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"))


def parsable(path: Path) -> bytes:
    """An ONNX file's bytes, its images cast first where they are not.

    External weights are left out: the parser finds them by the model's path.
    """
    content = path.read_bytes()
    model = onnx.load_from_string(content)
    return model.SerializeToString() if cast_images_first(model.graph) else content


def cast_images_first(graph: onnx.GraphProto) -> bool:
    """Let every uint8 input be read by nothing but a Cast to float32.

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
