"""Layers that an int8 graph has in float32, written so that ONNX Runtime leaves them there.

Its optimizer ``WeightBiasQuantization`` rounds the weights of such a layer to 8 bits, with one
scale for all channels, where the layer reads a DequantizeLinear and a QuantizeLinear follows
(onnxruntime/core/optimizer/qdq_transformer/weight_bias_quantization.cc). It looks at the operator
that the layer reads, and QDQPropagation may put a DequantizeLinear behind operators that only move
numbers. So the layer gets a Max with the lowest float32 before it, which changes no number.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from deal.engines.onnxruntime import OnnxRuntimeEngine
from deal.errors import ModelError
from deal.export.files import new_file, write_model
from deal.export.graph import check
from deal.model.spec import contract_values

__all__ = ["kept_in_float", "rewrite"]

_ROUNDED = frozenset(("Conv", "ConvTranspose", "Gemm"))
_MOVING = frozenset(("MaxPool", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"))
_LOWEST = "lowest_float32"


def kept_in_float(model: onnx.ModelProto) -> list[str]:
    """Put a Max before each float32 layer that would be rounded, in place.

    Returns the names of these layers, in the order of the graph.
    """
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    weights = {tensor.name for tensor in graph.initializer}
    found = [
        node
        for node in graph.node
        if node.op_type in _ROUNDED
        and node.input[1] in weights
        and _is_dequantised(node.input[0], makers)
    ]
    for node in found:
        free = f"{node.name}_float_input"
        guard = helper.make_node("Max", [node.input[0], _LOWEST], [free], name=f"{node.name}_Max")
        graph.node.insert(list(graph.node).index(node), guard)
        node.input[0] = free
    if found and _LOWEST not in weights:
        lowest = np.float32(np.finfo(np.float32).min)
        graph.initializer.append(numpy_helper.from_array(np.asarray(lowest), _LOWEST))
    return [node.name for node in found]


def _is_dequantised(name: str, makers: dict[str, onnx.NodeProto]) -> bool:
    while (maker := makers.get(name)) is not None and maker.op_type in _MOVING:
        name = maker.input[0]
    return maker is not None and maker.op_type == "DequantizeLinear"


def rewrite(model: str | Path, output: str | Path) -> list[str]:
    """Write an int8 model again, so that every session of ONNX Runtime gives the logits of deal.

    Parameters
    ----------
    model : path
        ONNX model; what a ``MODEL.json`` beside it says goes into the metadata, too.
    output : path
        Appears only if it gives the same bits on noise, in deal's session and in a plain one.

    Returns
    -------
    list of str
        Names of the layers that no session rounds any more.

    Raises
    ------
    ModelError
        A plain session gives other logits for another reason, or gives those of deal already.
    UsageError
        The output is the model.
    OutputError
        The file cannot be written.
    """
    model, output = Path(model), Path(output)
    engine = OnnxRuntimeEngine(model)
    if not engine.needed_entries():
        raise ModelError(
            f"model {model} is int8 already, and every session of ONNX Runtime gives its logits: "
            "use it as it is, or convert the fp32 one"
        )
    network = onnx.load(model)
    layers = kept_in_float(network)
    check(network)
    contract = contract_values(model)
    with new_file(output, contract, read=(model,)) as temporary:
        write_model(temporary, network, contract)
        written = OnnxRuntimeEngine(temporary)
        noise = engine.noise(engine.spec.batch or 1)
        ours, theirs = (item.infer(noise).logits for item in (written, engine))
        if written.needed_entries() or ours.tobytes() != theirs.tobytes():
            raise ModelError(
                f"model {model} has layers that no rewriting keeps in float32: "
                "convert the fp32 one again"
            )
    return layers
