"""Read the header of an ONNX file without loading its weights.

Scoring must not depend on the ``onnx`` package, and every engine needs the same facts about the
file: metadata, inputs and outputs, and the files that hold external weights. They are a few fields
of a protocol buffer (onnx/onnx.proto). ONNX files come from strangers, so this reader must read
exactly what the engines read: ``tests/torture/onnx_header.py`` compares it with protobuf.
"""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deal.errors import ModelError
from deal.model.external import check_external
from deal.model.wire import BYTES, VARINT, Field, fields, int32, int64, once

__all__ = ["OnnxHeader", "TensorInfo", "parse_header", "read_header"]

_DTYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    16: "bfloat16",
}

# Where a message can hold tensors, as {message: {field: message}}: weights, constants, sparse
# tensors, bodies of Loop and If, functions, training.
_TENSORS_WITHIN = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_WITHIN = {kind: dict.fromkeys(within, BYTES) for kind, within in _TENSORS_WITHIN.items()}

_ENTRY = {1: BYTES, 2: BYTES}  # StringStringEntryProto: key, value
_MODEL = {7: BYTES, 14: BYTES}  # graph, metadata_props
_GRAPH = {5: BYTES, 11: BYTES, 12: BYTES, 15: BYTES}  # initializers, inputs, outputs, sparse ones
_VALUE = {1: BYTES, 2: BYTES}  # ValueInfoProto: name, type
# TypeProto: a tensor, or one of sequence, map, sparse tensor, optional, opaque.
_KINDS = {1: BYTES, 4: BYTES, 5: BYTES, 7: BYTES, 8: BYTES, 9: BYTES}
_TENSOR_TYPE = {1: VARINT, 2: BYTES}  # elem_type, shape
_DIMENSION = {1: VARINT, 2: BYTES}  # dim_value or dim_param
_DEEPEST = 100  # messages within messages, protobuf's own limit

_LOCATION = b"location"  # the key of external data that names its file


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A graph input or output.

    Attributes
    ----------
    dtype : str
        NumPy's name, or ``unknown``.
    shape : tuple of (int or None), or None
        An axis is None if it is dynamic. Exporters write that as a name, as nothing, as 0 or as a
        negative number. The whole shape is None if the file does not state the rank.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True, slots=True)
class OnnxHeader:
    """Metadata, inputs (initializers left out), outputs and external weight files of a model."""

    metadata: dict[str, str]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    external: tuple[str, ...]


def read_header(path: Path) -> OnnxHeader:
    """Read the header of an ONNX file.

    Raises
    ------
    ModelError
        The file cannot be read, is not an ONNX model, or its weights are outside its folder.
    """
    try:
        # Reading a pipe or device might never end.
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            mode = os.fstat(file).st_mode
            if stat.S_ISDIR(mode):
                raise ModelError(f"model {path}: Is a directory")
            if not stat.S_ISREG(mode):
                raise ModelError(f"model {path} is not a regular file: give an ONNX file")
            model = memoryview(mmap.mmap(file, 0, access=mmap.ACCESS_READ))
        finally:
            os.close(file)
        header = parse_header(model)
    except OSError as error:
        raise ModelError(f"model {path}: {error.strerror}") from error
    except (ValueError, LookupError) as error:
        raise ModelError(
            f"model {path} is not an ONNX file, or truncated ({error}): make one with deal export"
        ) from error
    for name in header.external:
        check_external(path, name)
    return header


def parse_header(model: memoryview | bytes) -> OnnxHeader:
    """Read the header of a model in memory; external files are not checked.

    Raises ValueError or LookupError if the bytes are not an ONNX model, or if protobuf might read
    them differently.
    """
    model = memoryview(model)
    if bytes(model[4:8]) == b"ORTM":
        # By these four bytes ONNX Runtime recognises its own format and does not read protobuf.
        raise ValueError("an ORT format model")
    metadata = {}
    graph = None
    for number, value in fields(model, _MODEL):
        if number == 14:
            entry = once(_bytes(value), _ENTRY)
            metadata[_text(entry.get(1, _EMPTY))] = _text(entry.get(2, _EMPTY))
        elif graph is None:
            graph = _bytes(value)
        else:
            raise ValueError("two graphs")
    if graph is None:
        raise ValueError("no graph")
    inputs: list[TensorInfo] = []
    outputs: list[TensorInfo] = []
    weights: set[str] = set()
    for number, value in fields(graph, _GRAPH):
        message = _bytes(value)
        if number == 11:
            inputs.append(_tensor_info(message))
        elif number == 12:
            outputs.append(_tensor_info(message))
        else:
            weights.add(_weight_name(message, is_sparse=number == 15))
    return OnnxHeader(
        metadata=metadata,
        inputs=tuple(info for info in inputs if info.name not in weights),
        outputs=tuple(outputs),
        external=tuple(sorted(set(_external(model, "model", 0)))),
    )


_EMPTY = memoryview(b"")


def _weight_name(message: memoryview, *, is_sparse: bool) -> str:
    if is_sparse:  # a sparse tensor has the name of its values
        message = _bytes(once(message, {1: BYTES}).get(1, _EMPTY))
    return _text(once(message, {8: BYTES}).get(8, _EMPTY))


def _tensor_info(message: memoryview) -> TensorInfo:
    info = once(message, _VALUE)
    kinds = once(_bytes(info.get(2, _EMPTY)), _KINDS)
    if len(kinds) > 1:  # which of them protobuf takes depends on the order of the bytes
        raise ValueError("a value of several kinds")
    tensor = once(_bytes(kinds.get(1, _EMPTY)), _TENSOR_TYPE)
    shape = None
    if 2 in tensor:
        dims = fields(_bytes(tensor[2]), {1: BYTES})
        shape = tuple(_dimension(_bytes(dim)) for _, dim in dims)
    dtype = _DTYPES.get(int32(tensor[1]), "unknown") if 1 in tensor else "unknown"
    return TensorInfo(_text(info[1]), dtype, shape)


def _dimension(message: memoryview) -> int | None:
    values = once(message, _DIMENSION)
    if len(values) > 1:
        raise ValueError("a dimension with a number and a name")
    size = int64(values.get(1, 0))
    return size if size > 0 else None


def _external(message: memoryview, kind: str, depth: int) -> Iterator[str]:
    """Names of the files that hold external data of any tensor within ``message``."""
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    # Most nodes have no external data, and a search for its key is much faster than a walk.
    if kind == "node" and _LOCATION not in message.tobytes():
        return
    for number, value in fields(message, _WITHIN[kind]):
        within = _TENSORS_WITHIN[kind][number]
        if within != "entry":
            yield from _external(_bytes(value), within, depth + 1)
            continue
        entry = once(_bytes(value), _ENTRY)
        if _bytes(entry.get(1, _EMPTY)) == _LOCATION:
            yield _text(entry.get(2, _EMPTY))


def _bytes(value: Field) -> memoryview:
    assert not isinstance(value, int)
    return value


def _text(value: Field) -> str:
    return str(_bytes(value), "utf-8")
