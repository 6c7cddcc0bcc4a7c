"""float32 → float16 or bfloat16 for GPUs, and the same arithmetic on any processor for checks.

What follows the image's normalisation is computed in half; normalisation itself, sizes, and what
does not depend on the image stay as they are. ONNX Runtime's own converter knows float16 alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from deal.errors import ModelError
from deal.export.files import is_large
from deal.export.graph import (
    check,
    constants_of,
    drop_unused,
    normalisation_nodes,
    opset_of,
    with_types,
)
from deal.model.spec import ModelSpec

__all__ = ["HalfModel", "emulated", "halved"]

_TYPES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
_NUMPY: dict[int, Any] = {TensorProto.FLOAT16: np.float16, TensorProto.BFLOAT16: ml_dtypes.bfloat16}
_BF16_OPSET = 22  # from here on convolutions and pools take bfloat16
# ONNX Runtime has no kernel for Resize in bfloat16, and its scales are float32 anyway.
_FLOAT_OPERATORS = {"fp16": frozenset[str](), "bf16": frozenset(("Resize",))}
_FLOAT_INPUTS = {"Resize": (1, 2)}
_SIZES = ("Shape", "Size")


@dataclass(frozen=True)
class HalfModel:
    """A model in half precision.

    Attributes
    ----------
    model : onnx.ModelProto
    values : frozenset of str
        Names of the values in half, the output among them if it is.
    """

    model: onnx.ModelProto
    values: frozenset[str]


def halved(model: onnx.ModelProto, spec: ModelSpec, precision: str) -> HalfModel:
    """Compute a float32 model in ``fp16`` or ``bf16``.

    Logits come as float16 with ``fp16``, else as float32; other outputs stay float32.

    Parameters
    ----------
    model : onnx.ModelProto
        As :func:`deal.export.graph.simplified` gives it; it is not changed.

    Raises
    ------
    ModelError
        An operator cannot compute in this precision, or the graph has branches or loops.
    """
    if precision == "bf16" and opset_of(model) < _BF16_OPSET:
        if is_large(model):
            raise ModelError(
                f"bf16 needs opset {_BF16_OPSET}, and models of more than 2 GB cannot be "
                f"converted to it: re-export the model with opset {_BF16_OPSET}"
            )
        model = onnx.version_converter.convert_version(model, _BF16_OPSET)
    walk = _Walk(model, spec, precision)
    for node in model.graph.node:
        walk.take(node)
    return walk.finish()


def emulated(half: HalfModel) -> onnx.ModelProto:
    """Compute the same in float32: every value is rounded to half, but sums are not.

    Tensor cores do the same, and this runs where half does not.
    """
    result = onnx.ModelProto()
    result.CopyFrom(half.model)
    graph = result.graph
    stored = constants_of(graph)
    kind = _half_type(half.model)
    nodes = list(graph.node)
    del graph.node[:]
    widened: set[str] = set()
    for node in nodes:
        if node.op_type != "Cast":
            for place, name in enumerate(node.input):
                is_half = name in half.values or stored.get(name, np.empty(0)).dtype == _NUMPY[kind]
                if not is_half:
                    continue
                node.input[place] = f"{name}_wide"
                if name not in widened:
                    widened.add(name)
                    graph.node.append(_cast(name, f"{name}_wide", TensorProto.FLOAT))
            narrow = [name for name in node.output if name in half.values]
            for place, name in enumerate(node.output):
                if name in half.values:
                    node.output[place] = f"{name}_sum"
            graph.node.append(node)
            graph.node.extend(_cast(f"{name}_sum", name, kind) for name in narrow)
        else:
            graph.node.append(node)
    return result


class _Walk:
    """Rewrite a graph node by node, in its order."""

    def __init__(self, model: onnx.ModelProto, spec: ModelSpec, precision: str) -> None:
        self._spec, self._precision = spec, precision
        self._kind = _TYPES[precision]
        self._result = onnx.ModelProto()
        self._result.CopyFrom(model)
        graph = self._result.graph
        del graph.node[:], graph.value_info[:]
        self._constants = constants_of(graph)
        self._float = {
            info.name
            for info in (*model.graph.value_info, *model.graph.output, *model.graph.input)
            if info.type.tensor_type.elem_type == TensorProto.FLOAT
        }
        self._untouched = {node.name for node in normalisation_nodes(model.graph, spec.input_name)}
        # Values that depend on the image, and those of them that are half.
        self._seen = {spec.input_name}
        self._half: set[str] = set()
        self._casts: set[str] = set()

    def take(self, source: onnx.NodeProto) -> None:
        """Add one node, in half if it works on the image's values."""
        node = onnx.NodeProto()
        node.CopyFrom(source)
        if any(a.type in (a.GRAPH, a.GRAPHS) for a in node.attribute):
            raise ModelError(
                f"{node.op_type} {node.name} holds a graph of its own, which cannot be converted "
                f"to {self._precision}: export the model without branches and loops"
            )
        depends = node.op_type not in _SIZES and any(name in self._seen for name in node.input)
        if depends:
            self._seen.update(node.output)
        stays = not depends or node.name in self._untouched
        if stays or node.op_type in _FLOAT_OPERATORS[self._precision]:
            self._add(node, to_half=False)
            return
        if node.op_type == "Cast" and node.output[0] in self._float:
            node.attribute[0].i = self._kind
        self._add(node, to_half=True)
        self._half.update(name for name in node.output if name in self._float)

    def finish(self) -> HalfModel:
        """Give outputs their types and check that every operator takes its inputs."""
        graph = self._result.graph
        for info in graph.output:
            if info.name not in self._half:
                continue
            if self._precision == "fp16" and info.name == self._spec.output_name:
                info.type.tensor_type.elem_type = TensorProto.FLOAT16
                continue
            inner = f"{info.name}_half"
            for node in graph.node:
                for names in (node.input, node.output):
                    for place, name in enumerate(names):
                        if name == info.name:
                            names[place] = inner
            self._half = (self._half - {info.name}) | {inner}
            graph.node.append(_cast(inner, info.name, TensorProto.FLOAT))
        drop_unused(graph)
        try:
            check(self._result)
            with_types(self._result, strict=True)
        except Exception as error:  # onnx has no base exception
            raise ModelError(
                f"the model cannot be computed in {self._precision}: "
                f"{str(error).strip().splitlines()[0][:300]}"
            ) from error
        return HalfModel(self._result, frozenset(self._half))

    def _add(self, node: onnx.NodeProto, *, to_half: bool) -> None:
        always_float = _FLOAT_INPUTS.get(node.op_type, ()) if to_half else ()
        for place, name in enumerate(node.input):
            if not name or (to_half and place in always_float):
                continue
            if to_half and name not in self._half and self._is_float(name):
                node.input[place] = self._narrow(name)
            elif not to_half and name in self._half and node.op_type not in _SIZES:
                node.input[place] = self._converted(name, f"{name}_float", TensorProto.FLOAT)
        self._result.graph.node.append(node)

    def _is_float(self, name: str) -> bool:
        constant = self._constants.get(name)
        return name in self._float if constant is None else constant.dtype == np.float32

    def _narrow(self, name: str) -> str:
        constant = self._constants.get(name)
        half = f"{name}_half"
        if constant is None:
            self._half.add(half)
            return self._converted(name, half, self._kind)
        if half not in self._casts:
            self._casts.add(half)
            tensor = numpy_helper.from_array(constant.astype(_NUMPY[self._kind]), half)
            self._result.graph.initializer.append(tensor)
        return half

    def _converted(self, name: str, target: str, kind: int) -> str:
        if target not in self._casts:
            self._casts.add(target)
            self._result.graph.node.append(_cast(name, target, kind))
        return target


def _cast(source: str, target: str, kind: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], to=kind, name=f"{target}_Cast")


def _half_type(model: onnx.ModelProto) -> int:
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    return TensorProto.BFLOAT16 if TensorProto.BFLOAT16 in kinds else TensorProto.FLOAT16
