"""ONNX graphs that peers run: attention as an exporter writes it, alone or behind a network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from deal.model.head import DifficultyHead
from deal.model.spec import METADATA_KEY

__all__ = ["attention_graph", "tiny_model", "whole_graph"]

_OPSETS = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
_PADDING = 8
_OUTPUTS = ("difficulty_grid", "difficulty", "probabilities", "logits")


class _Nodes:
    """Nodes and initializers, each output under the name of what it holds."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.values: list[onnx.TensorProto] = []

    def constant(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        name = f"peer_{name}"  # the network behind which they stand has names of its own
        self.values.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        if output not in _OUTPUTS:
            output = f"peer_{output}"
        self.nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))
        return output

    def resize(self, x: str, size: tuple[int, int], output: str, align_corners: bool) -> str:
        sizes = self.constant(f"{output}_size", size, np.int64)
        mode = "align_corners" if align_corners else "pytorch_half_pixel"
        return self.add(
            "Resize",
            [x, "", "", sizes],
            output,
            mode="linear",
            coordinate_transformation_mode=mode,
            axes=[2, 3],
        )

    def attention(self, z: str, head: DifficultyHead, grid: tuple[int, int], fused: bool) -> str:
        """Difficulty before the sigmoid [B,1,gh,gw] of logits on the grid."""
        classes = head.num_classes
        p = self.add("Softmax", [z], "p", axis=1)
        columns = self.add(
            "Reshape", [p, self.constant("columns_shape", [0, 0, -1], np.int64)], "p_columns"
        )  # [B,C,N]
        rows = self.add("Transpose", [columns], "p_rows", perm=[0, 2, 1])  # [B,N,C]
        if fused:
            width = -(-classes // _PADDING) * _PADDING  # zeros add nothing to any product
            pads = self.constant("pads", [0, 0, 0, 0, 0, width - classes], np.int64)
            padded = self.add("Pad", [rows, pads], "p_padded")
            attended = self.add(
                "MultiHeadAttention",
                [padded] * 3,
                "attended",
                domain="com.microsoft",
                num_heads=1,
                scale=1.0,
            )
            weights = np.zeros((width, 1))
            weights[:classes, 0] = head.weight
            own = np.zeros((classes, 1))
            own[:, 0] = head.weight
        else:
            pairs = self.add("MatMul", [rows, columns], "pairs")  # [B,N,N]
            shares = self.add("Softmax", [pairs], "shares", axis=-1)
            attended = self.add("MatMul", [shares, rows], "attended")
            weights = own = np.asarray(head.weight).reshape(-1, 1)
        mean = self.add(
            "MatMul", [attended, self.constant("scaled_weight", head.gamma * weights)], "mean"
        )
        value = self.add("MatMul", [rows, self.constant("weight", own)], "value")
        both = self.add("Add", [mean, value], "mean_and_value")
        a = self.add("Add", [both, self.constant("bias", head.bias)], "a")
        shape = self.constant("grid_shape", [0, 1, *grid], np.int64)
        return self.add("Reshape", [a, shape], "difficulty_grid")

    def model(self, inputs: list[Any], outputs: list[str]) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "peer",
            inputs,
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            self.values,
        )
        return helper.make_model(graph, opset_imports=_OPSETS, ir_version=9)


def attention_graph(head: DifficultyHead, grid: tuple[int, int], *, fused: bool) -> bytes:
    """The head on logits ``z`` [B,C,gh,gw] of its grid; output ``difficulty_grid`` [B,1,gh,gw].

    Parameters
    ----------
    head : DifficultyHead
    grid : (gh, gw)
    fused : bool
        ``com.microsoft.MultiHeadAttention``, which never holds the N×N matrix, with classes padded
        to a multiple of 8; otherwise MatMul, Softmax, MatMul.
    """
    nodes = _Nodes()
    nodes.attention("z", head, grid, fused)
    shape: list[str | int] = ["B", head.num_classes, *grid]
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, shape)
    serialized: bytes = nodes.model([z], ["difficulty_grid"]).SerializeToString()
    return serialized


def whole_graph(path: Path, head: DifficultyHead, size: tuple[int, int]) -> bytes:
    """A contract model with everything behind its logits in the graph, as a plain export has it.

    Outputs ``probabilities`` [B,C,H,W] and ``difficulty`` [B,1,H,W] in 0…1 on the raster; attention
    as MatMul, Softmax, MatMul; align_corners as in the paper.
    """
    model = onnx.load(path)
    nodes = _Nodes()
    grid = head.grid
    assert grid is not None
    on_grid = nodes.resize("logits", grid, "z_grid", True)
    a = nodes.attention(on_grid, head, grid, False)
    nodes.add("Sigmoid", [nodes.resize(a, size, "a_raster", True)], "difficulty")
    nodes.add("Softmax", [nodes.resize("logits", size, "z_raster", True)], "probabilities", axis=1)
    model.graph.node.extend(nodes.nodes)
    model.graph.initializer.extend(nodes.values)
    del model.graph.output[:]
    for name in ("probabilities", "difficulty"):
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    serialized: bytes = model.SerializeToString()
    return serialized


def tiny_model(classes: int = 4) -> bytes:
    """A model of the contract with one convolution: uint8 [N,H,W,3] → logits at stride 4."""
    rng = np.random.default_rng(0)
    nodes = _Nodes()
    weight = nodes.constant("kernel", rng.normal(0, 0.02, (classes, 3, 4, 4)))
    nodes.add("Cast", ["image"], "values", to=TensorProto.FLOAT)
    nodes.add("Transpose", ["peer_values"], "planes", perm=[0, 3, 1, 2])
    nodes.add("Conv", ["peer_planes", weight], "logits", strides=[4, 4])
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", "H", "W", 3])
    model = nodes.model([image], ["logits"])
    shape = ("N", classes, "h", "w")
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)
    model.graph.output[0].CopyFrom(logits)
    head = DifficultyHead(0.8, rng.normal(size=classes), -0.4)
    contract = {"format": 1, "classes": classes, "difficulty_head": head.to_dict()}
    helper.set_model_props(model, {METADATA_KEY: json.dumps(contract)})
    serialized: bytes = model.SerializeToString()
    return serialized
