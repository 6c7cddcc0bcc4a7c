"""What an ONNX file says about itself, read without loading weights.

Scoring must not depend on the ``onnx`` package, and the same facts are needed whatever engine runs
the file: its metadata, its inputs and outputs, and the files that hold external weights. They are a
few fields of a protocol buffer (onnx/onnx.proto), whose wire format is five lines of arithmetic.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deal.errors import ModelError

__all__ = ["OnnxHeader", "TensorInfo", "read_header"]

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

# Where tensors can hide, as {message: {field: message}}: weights, constants, sparse ones, bodies of
# Loop and If, functions.
_TENSORS_WITHIN = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}

_LOCATION = b"location"  # the key of external data that names its file

_Message = memoryview
_Field = int | _Message


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A graph input or output.

    Attributes
    ----------
    dtype : str
        NumPy's name, or ``unknown``.
    shape : tuple of (int or None), or None
        None for a dynamic axis; None as a whole where the file does not say the rank.
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
        The file cannot be read, is no ONNX model, or its weights lie outside its folder.
    """
    try:
        with path.open("rb") as file:
            model = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        header = _parse(model)
    except OSError as error:
        raise ModelError(f"model {path}: {error.strerror}") from error
    except (ValueError, LookupError, RecursionError) as error:
        raise ModelError(
            f"model {path} is not an ONNX file, or truncated: make one with deal export"
        ) from error
    for name in header.external:
        _check_external(path, name)
    return header


def _check_external(path: Path, name: str) -> None:
    # ONNX Runtime refuses these as well, but not in every version and not every engine does.
    folder = path.parent.resolve()
    target = folder / name
    if not target.resolve().is_relative_to(folder) or target.is_symlink():
        raise ModelError(
            f"model {path} keeps weights in {name!r}, outside its folder: put them beside the model"
        )
    if not target.is_file():
        raise ModelError(f"model {path}: its weights {name!r} are missing; copy them beside it")


def _parse(model: _Message) -> OnnxHeader:
    metadata = {}
    graph = None
    for number, value in _fields(model):
        if number == 14:
            entry = dict(_fields(_message(value)))
            metadata[_text(entry[1])] = _text(entry.get(2, memoryview(b"")))
        elif number == 7:
            graph = _message(value)
    if graph is None:
        raise ValueError("no graph")
    inputs: list[TensorInfo] = []
    outputs: list[TensorInfo] = []
    weights: set[str] = set()
    for number, value in _fields(graph):
        if number == 5:
            weights.update(_text(name) for n, name in _fields(_message(value)) if n == 8)
        elif number == 11:
            inputs.append(_tensor_info(_message(value)))
        elif number == 12:
            outputs.append(_tensor_info(_message(value)))
    return OnnxHeader(
        metadata=metadata,
        inputs=tuple(info for info in inputs if info.name not in weights),
        outputs=tuple(outputs),
        external=tuple(sorted(set(_external(model, "model")))),
    )


def _tensor_info(message: _Message) -> TensorInfo:
    info = dict(_fields(message))
    kind = dict(_fields(_message(info.get(2, memoryview(b"")))))
    tensor = dict(_fields(_message(kind.get(1, memoryview(b"")))))
    shape = None
    if 2 in tensor:
        dims = [dict(_fields(_message(dim))) for _, dim in _fields(_message(tensor[2]))]
        sizes = [dim.get(1) for dim in dims]
        shape = tuple(size if isinstance(size, int) and size > 0 else None for size in sizes)
    element = tensor.get(1)
    dtype = _DTYPES.get(element, "unknown") if isinstance(element, int) else "unknown"
    return TensorInfo(_text(info[1]), dtype, shape)


def _external(message: _Message, kind: str) -> Iterator[str]:
    """Names of the files that hold external data of any tensor within ``message``."""
    # Most nodes hold none; to look for its key is much faster than to walk them.
    if kind == "node" and _LOCATION not in message.tobytes():
        return
    for number, value in _fields(message):
        if kind == "tensor" and number == 13:
            entry = dict(_fields(_message(value)))
            if _message(entry[1]) == _LOCATION:
                yield _text(entry[2])
        elif number in _TENSORS_WITHIN.get(kind, {}):
            yield from _external(_message(value), _TENSORS_WITHIN[kind][number])


def _fields(message: _Message) -> Iterator[tuple[int, _Field]]:
    """Number and value of each field: an int for varints, bytes for everything else."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire == 2:
            length, at = _varint(message, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError("no protocol buffer")
        if number == 0 or at + length > len(message):
            raise ValueError("truncated")
        yield number, message[at : at + length]
        at += length


def _varint(message: _Message, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("no varint")


def _message(value: _Field) -> _Message:
    if isinstance(value, int):
        raise ValueError("a number where a message belongs")
    return value


def _text(value: _Field) -> str:
    return str(_message(value), "utf-8")
