"""A graph that ends in argmax → the same graph without it, which gives the logits.

Exporters of other frameworks put argmax into the graph, since a robot wants labels. What deal needs
is one tensor further up. It is taken only if its argmax is, in every cell, what the graph gave.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from deal.engines.onnxruntime import open_session
from deal.errors import ModelError
from deal.export.files import new_file, save
from deal.model.header import TensorInfo, read_header

__all__ = ["Cut", "cut_argmax"]

# What may stand between argmax and the output, or between the logits and argmax, and changes no
# label.
_BEHIND = {"Cast", "Identity", "Squeeze", "Unsqueeze"}
_BEFORE = {"Softmax", "LogSoftmax", "Identity", "Cast"}
_LOGITS = "logits"
_SIDE = 64  # of the noise that is compared, where the graph takes any size


@dataclass(frozen=True, slots=True)
class Cut:
    """What was removed.

    Attributes
    ----------
    output : str
        The former output of labels; ``logits`` stands in its place.
    removed : tuple of str
        Types of the removed nodes, the last of the graph first.
    layout : str
        ``nchw`` or ``nhwc``, of the logits.
    cells : int
        How many labels were compared; all are equal.
    """

    output: str
    removed: tuple[str, ...]
    layout: str
    cells: int

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {**asdict(self), "removed": list(self.removed)}


def cut_argmax(model: str | Path, output: str | Path) -> Cut:
    """Write a model without the argmax that it ends in, and without a softmax before that.

    Metadata and side-car are not read; ``deal check`` says what the new file still needs. Weights
    beside the model are put into the new file, or beside it where they have more than 2 GB.

    Raises
    ------
    ModelError
        The model cannot be read or run, ends in no argmax over an axis of classes, or the labels
        of what is left are not those that it gave.
    UsageError
        The output is the model.
    OutputError
        The file cannot be written.
    """
    model, output = Path(model), Path(output)
    header = read_header(model)
    network = onnx.load(model)
    graph = network.graph
    made_by = {name: node for node in graph.node for name in node.output}
    found = [value.name for value in graph.output if _argmax_behind(made_by, value.name)]
    if len(found) != 1:
        outputs = ", ".join(value.name for value in graph.output)
        raise ModelError(
            f"model {model} has {'several outputs' if found else 'no output'} of an ArgMax node "
            f"({outputs}): --cut takes graphs that end in one; re-export the logits instead"
        )
    labels = found[0]
    removed = _chain(made_by, labels, _BEHIND)
    argmax = made_by[removed[-1].input[0]] if removed else made_by[labels]
    removed.append(argmax)
    softmax = _chain(made_by, argmax.input[0], _BEFORE)
    if not any(node.op_type.endswith("Softmax") for node in softmax):
        softmax = []  # a cast or nothing: these are the logits
    removed += softmax
    layout = _layout(model, argmax)
    kinds = tuple(node.op_type for node in removed)
    place = _give(network, labels, removed[-1].input[0])
    with new_file(output, read=(model,)) as temporary:
        save(temporary, network)
        cells = _compare(model, temporary, header.inputs, labels, place, layout)
    return Cut(labels, kinds, layout, cells)


def _argmax_behind(made_by: dict[str, onnx.NodeProto], name: str) -> bool:
    chain = _chain(made_by, name, _BEHIND)
    last = made_by.get(chain[-1].input[0] if chain else name)
    return last is not None and last.op_type == "ArgMax"


def _chain(made_by: dict[str, onnx.NodeProto], name: str, kinds: set[str]) -> list[onnx.NodeProto]:
    """Nodes of these kinds that a tensor comes from, the nearest first."""
    chain = []
    while (node := made_by.get(name)) is not None and node.op_type in kinds:
        chain.append(node)
        name = node.input[0]
    return chain


def _layout(model: Path, argmax: onnx.NodeProto) -> str:
    attributes = {a.name: helper.get_attribute_value(a) for a in argmax.attribute}
    axis = attributes.get("axis", 0)
    if axis in (1, -3):
        return "nchw"
    if axis in (3, -1):
        return "nhwc"
    raise ModelError(
        f"model {model}: its ArgMax goes along axis {axis}, and classes are axis 1 or the last: "
        "re-export the logits instead"
    )


def _give(network: onnx.ModelProto, labels: str, logits: str) -> int:
    """Make a tensor the output instead of the labels, and remove what is no longer needed.

    Returns its place among the outputs.
    """
    graph = network.graph
    try:
        known = onnx.shape_inference.infer_shapes(network).graph.value_info
    except (onnx.shape_inference.InferenceError, ValueError):  # a model beyond 2 GB, or odd nodes
        known = []
    info = next((value for value in known if value.name == logits), None)
    value = onnx.ValueInfoProto()
    value.CopyFrom(info or helper.make_tensor_value_info(logits, TensorProto.FLOAT, [None] * 4))
    place = next(i for i, output in enumerate(graph.output) if output.name == labels)
    graph.output[place].CopyFrom(value)
    _prune(graph)
    taken = {value.name for value in (*graph.input, *graph.output, *graph.initializer)}
    taken |= {tensor for node in graph.node for tensor in node.output}
    if _LOGITS not in taken:
        graph.node.append(helper.make_node("Identity", [logits], [_LOGITS]))
        graph.output[place].name = _LOGITS
    return place


def _prune(graph: onnx.GraphProto) -> None:
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            kept.append(node)
            needed |= set(node.input) | _outer_names(node)
    nodes = [node for node in graph.node if any(node is other for other in kept)]
    weights = [tensor for tensor in graph.initializer if tensor.name in needed]
    infos = [value for value in graph.value_info if value.name in needed]
    for field, values in ((graph.node, nodes), (graph.initializer, weights)):
        copies = [type(value).FromString(value.SerializeToString()) for value in values]
        del field[:]
        field.extend(copies)
    copies = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in infos]
    del graph.value_info[:]
    graph.value_info.extend(copies)


def _outer_names(node: onnx.NodeProto) -> set[str]:
    """Names that the bodies of a Loop or If read from the graph around them."""
    names: set[str] = set()
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs):
            for inner in body.node:
                names |= set(inner.input) | _outer_names(inner)
            names |= {value.name for value in body.output}
    return names


def _compare(
    model: Path,
    made: Path,
    inputs: tuple[TensorInfo, ...],
    labels: str,
    place: int,
    layout: str,
) -> int:
    """Cells whose labels were compared for noise; ModelError where one differs."""
    rng = np.random.default_rng(0)
    feeds: dict[str, Any] = {}
    for info in inputs:
        shape = _filled(info)
        is_levels = info.dtype == "uint8"
        noise = rng.integers(0, 256, shape) if is_levels else rng.normal(size=shape)
        feeds[info.name] = noise.astype(info.dtype)
    try:
        (before,) = open_session(model, 1).run([labels], feeds)
        names = [value.name for value in open_session(made, 1).get_outputs()]
        after = dict(zip(names, open_session(made, 1).run(names, feeds), strict=True))
    except Exception as error:  # the runtime's exceptions share no other base
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise ModelError(f"model {model} cannot be compared with its cut form: {reason}") from error
    logits = after[names[place]]
    axis = 1 if layout == "nchw" else 3
    if logits.ndim != 4 or logits.dtype.kind != "f":
        raise ModelError(
            f"model {model}: the input of its ArgMax is {logits.dtype} {list(logits.shape)}, not "
            "float [N,C,h,w]: re-export the logits instead"
        )
    found = logits.argmax(axis=axis)
    if found.size != before.size or (found.reshape(before.shape) != before).any():
        raise ModelError(
            f"model {model}: the input of its ArgMax does not give the same labels: re-export the "
            "logits instead"
        )
    return int(found.size)


def _filled(info: TensorInfo) -> tuple[int, ...]:
    """A shape the graph takes: 1 image, 3 channels, of 64 × 64 where it says nothing."""
    shape = info.shape or ()
    if len(shape) != 4:
        return tuple(size or 1 for size in shape)
    channel_last = shape[3] == 3 and shape[1] != 3
    usual = (1, _SIDE, _SIDE, 3) if channel_last else (1, 3, _SIDE, _SIDE)
    return tuple(size or default for size, default in zip(shape, usual, strict=True))
