"""Prepare ONNX graphs for another precision.

Weights may have more bytes than one protobuf message holds. What serialises a model for another
library therefore goes by way of a file then: sessions, types, checks.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from deal.errors import ModelError
from deal.export.files import is_large, save
from deal.machine.working import scratch_folder
from deal.model.header import read_header

__all__ = [
    "Layer",
    "check",
    "constants_of",
    "consumers",
    "drop_unused",
    "fold_normalisation",
    "layers_of",
    "normalisation_nodes",
    "opset_of",
    "reduced_precision",
    "session_of",
    "simplified",
    "with_types",
]

_OPSET = 18
_HALF = {onnx.TensorProto.FLOAT16: "fp16", onnx.TensorProto.BFLOAT16: "bf16"}
_LEVELS = 255.0
_OPTIMIZED = "session.optimized_model_external_initializers"


def simplified(path: Path) -> onnx.ModelProto:
    """Load a model with constants folded and batch normalisation merged into convolutions.

    Every node has a name of its own and every value a known type; metadata is left out.

    Raises
    ------
    ModelError
        ONNX Runtime or ``onnx`` cannot take the model.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4
    if read_header(path).external:
        # Else ONNX Runtime writes a model that names the given one's files and not its own folder.
        options.add_session_config_entry(f"{_OPTIMIZED}_file_name", "simplified.data")
        options.add_session_config_entry(f"{_OPTIMIZED}_min_size_in_bytes", "1024")
    with scratch_folder() as folder:
        options.optimized_model_filepath = str(folder / "simplified.onnx")
        try:
            ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            model = onnx.load(options.optimized_model_filepath)
        except Exception as error:  # neither package has one base exception
            raise ModelError(f"model {path} cannot be converted: {_first_line(error)}") from error
    if opset_of(model) < _OPSET:
        try:
            if is_large(model):
                raise ModelError("its weights have more than 2 GB")
            model = onnx.version_converter.convert_version(model, _OPSET)
        except Exception as error:
            raise ModelError(
                f"model {path} has opset {opset_of(model)} and cannot be converted to {_OPSET}: "
                f"re-export it with opset {_OPSET} or above ({_first_line(error)})"
            ) from error
    del model.metadata_props[:]
    names = Counter(node.name for node in model.graph.node)
    for index, node in enumerate(model.graph.node):
        if not node.name or names[node.name] > 1:
            node.name = f"{node.op_type}_{index}"
    return with_types(model)


def with_types(model: onnx.ModelProto, *, strict: bool = False) -> onnx.ModelProto:
    """The model with the types and shapes that follow from it.

    ``strict`` raises where an operator does not take its inputs.
    """
    if not is_large(model):
        return onnx.shape_inference.infer_shapes(model, check_type=strict, strict_mode=strict)
    with scratch_folder() as folder:
        save(folder / "model.onnx", model)
        onnx.shape_inference.infer_shapes_path(
            folder / "model.onnx", check_type=strict, strict_mode=strict
        )
        return onnx.load(folder / "model.onnx")


def check(model: onnx.ModelProto) -> None:
    """Raise onnx.checker.ValidationError where a model breaks a rule of ONNX."""
    if not is_large(model):
        onnx.checker.check_model(model)
        return
    with scratch_folder() as folder:
        save(folder / "model.onnx", model)
        onnx.checker.check_model(folder / "model.onnx")


def session_of(model: onnx.ModelProto, *entries: tuple[str, str]) -> ort.InferenceSession:
    """A session on the CPU, with entries of its configuration."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    for entry in entries:
        options.add_session_config_entry(*entry)
    providers = ["CPUExecutionProvider"]
    if not is_large(model):
        return ort.InferenceSession(model.SerializeToString(), options, providers=providers)
    with scratch_folder() as folder:
        save(folder / "model.onnx", model)
        return ort.InferenceSession(folder / "model.onnx", options, providers=providers)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def opset_of(model: onnx.ModelProto) -> int:
    """Version of ONNX's own operators."""
    return next(
        (entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1
    )


def reduced_precision(path: Path) -> str | None:
    """The precision that a model has by its graph, whatever it records; None for float32."""
    graph = onnx.load(path, load_external_data=False).graph
    operators = {node.op_type for node in graph.node}
    if any("Quantize" in name or "QLinear" in name or "Integer" in name for name in operators):
        return "int8"
    constants = [
        *graph.initializer,
        *(a.t for node in graph.node if node.op_type == "Constant" for a in node.attribute),
    ]
    weights = (tensor for tensor in constants if len(tensor.dims) > 1)
    return next((_HALF[w.data_type] for w in weights if w.data_type in _HALF), None)


class Layer(tuple[str, ...]):
    """Names of nodes that are quantised together: an operator and the activation after it."""

    __slots__ = ()


def constants_of(graph: onnx.GraphProto) -> dict[str, NDArray[Any]]:
    """Initializers by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def fold_normalisation(model: onnx.ModelProto, image: str) -> bool:
    """Let the first convolution take the uint8 image; False if the graph does not allow it.

    Normalisation is affine a channel, ``x = a·u/255 + c``, so its scale goes into the weights. Its
    offset cannot go into the bias, since the convolution pads ``x`` with zeros and not ``u``: it
    becomes the weights of a fourth input channel that is 255 inside the image and 0 in the padding.
    In real arithmetic the convolution is the same number everywhere. What remains before it is one
    DequantizeLinear by 1/255, which an int8 convolution takes into its own scale.
    """
    graph = model.graph
    chain = _chain_to_convolution(graph, image)
    if chain is None:
        return False
    *chain, convolution = chain
    constants = constants_of(graph)
    affine = _affine(chain, constants)
    if affine is None or convolution.input[1] not in constants:
        return False
    scale, offset = affine
    weight = constants[convolution.input[1]].astype(np.float64)
    if weight.shape[1] != 3:
        return False
    fourth = np.einsum("ockl,c->okl", weight, offset)[:, None]
    folded = np.concatenate([weight * scale[None, :, None, None], fourth], axis=1)
    for node in chain:
        graph.node.remove(node)
    prefix = f"{image}_255"
    tensors = {
        f"{prefix}_pads": np.array([0, 0, 0, 0, 0, 1, 0, 0], np.int64),
        f"{prefix}_value": np.uint8(255),
        f"{prefix}_scale": np.float32(1 / _LEVELS),
        f"{prefix}_zero": np.uint8(0),
        f"{prefix}_weight": folded.astype(np.float32),
    }
    graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()
    )
    nodes = [
        helper.make_node(
            "Transpose",
            [image],
            [f"{prefix}_nchw"],
            perm=[0, 3, 1, 2],
            name=f"{prefix}_Transpose",
        ),
        # After the transposition channels are planes, which are copied whole.
        helper.make_node(
            "Pad",
            [f"{prefix}_nchw", f"{prefix}_pads", f"{prefix}_value"],
            [f"{prefix}_padded"],
            name=f"{prefix}_Pad",
        ),
        helper.make_node(
            "DequantizeLinear",
            [f"{prefix}_padded", f"{prefix}_scale", f"{prefix}_zero"],
            [f"{prefix}_unit"],
            name=f"{prefix}_DequantizeLinear",
        ),
    ]
    for place, node in enumerate(nodes):
        graph.node.insert(place, node)
    convolution.input[0] = f"{prefix}_unit"
    convolution.input[1] = f"{prefix}_weight"
    drop_unused(graph)
    return True


def normalisation_nodes(graph: onnx.GraphProto, image: str) -> list[onnx.NodeProto]:
    """Nodes between the image and the only convolution that reads it; empty if there are more."""
    return (_chain_to_convolution(graph, image) or [])[:-1]


def layers_of(model: onnx.ModelProto, operators: frozenset[str]) -> list[Layer]:
    """The parts of a graph that may be quantised, in its order.

    A Relu or Clip belongs to the operator before it, if nothing else reads that one's output.
    """
    floats = {
        info.name
        for info in (*model.graph.value_info, *model.graph.output)
        if info.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    readers = consumers(model.graph)
    layers: dict[str, list[str]] = {}
    for node in model.graph.node:
        if node.op_type not in operators or node.output[0] not in floats:
            continue
        before = layers.get(node.input[0])
        if node.op_type in ("Relu", "Clip") and before and len(readers[node.input[0]]) == 1:
            before.append(node.name)
            layers[node.output[0]] = before
        else:
            layers[node.output[0]] = [node.name]
    distinct = {id(names): names for names in layers.values()}
    return [Layer(names) for names in distinct.values()]


def drop_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes and initializers that nothing reads."""
    used = {value.name for value in graph.output}
    for node in reversed(list(graph.node)):
        if used.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            used.update(_read_by(node))
    for tensor in list(graph.initializer):
        if tensor.name not in used:
            graph.initializer.remove(tensor)


def _read_by(node: onnx.NodeProto) -> set[str]:
    """Names that a node reads, in its branches too."""
    names = set(node.input)
    for attribute in node.attribute:
        for branch in (attribute.g, *attribute.graphs):
            names.update(value.name for value in branch.output)
            for inner in branch.node:
                names |= _read_by(inner)
    return names


def consumers(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    """Nodes that read a value, by its name."""
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    return readers


def _chain_to_convolution(graph: onnx.GraphProto, image: str) -> list[onnx.NodeProto] | None:
    """Nodes from a uint8 image to the one Conv that reads it, each the only reader of the last."""
    readers = consumers(graph)
    chain, name = [], image
    while True:
        # Sizes may be read off the image, which says nothing of its values.
        nodes = [node for node in readers[name] if node.op_type != "Shape"]
        if len(nodes) != 1 or (name != image and len(readers[name]) != 1):
            return None
        chain.append(nodes[0])
        if nodes[0].op_type == "Conv":
            return chain if nodes[0].input[0] == name else None
        name = nodes[0].output[0]


def _affine(
    chain: list[onnx.NodeProto], constants: dict[str, NDArray[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """What the chain does to levels u/255 of each channel: scale [3] and offset [3]."""
    ends = np.zeros((2, 1, 1, 3))  # the image's darkest and brightest level, N and all sizes 1
    ends[1] = _LEVELS
    transposed = False
    for node in chain:
        if node.op_type == "Cast":
            continue
        if node.op_type == "Transpose":
            if transposed or list(node.attribute[0].ints) != [0, 3, 1, 2]:
                return None
            ends, transposed = ends.transpose(0, 3, 1, 2), True
            continue
        names = list(node.input)
        known = [constants.get(name) for name in names]
        if node.op_type not in _ARITHMETIC or sum(value is None for value in known) != 1:
            return None
        left, right = (ends if value is None else value.astype(np.float64) for value in known)
        if node.op_type == "Div" and known[1] is None:
            return None
        ends = _ARITHMETIC[node.op_type](left, right)
    if not transposed or ends.shape != (2, 3, 1, 1):
        return None
    offset = ends[0, :, 0, 0]
    return ends[1, :, 0, 0] - offset, offset


_ARITHMETIC = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}
