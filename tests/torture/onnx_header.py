"""Mutated ONNX files, read by deal and by protobuf: what both take they must read alike.

``python -m tests.torture.onnx_header --count 1000000 --seed 1`` prints the counts as JSON and
exits with 1 at the first difference, whose bytes it prints. A difference is a file that deal takes
and reads otherwise than the ``onnx`` package: tensors, dims, metadata, files of external weights.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from deal.model.header import OnnxHeader, TensorInfo, parse_header

__all__ = ["campaign", "corpus", "facts_by_onnx", "mutated"]

_NAMES = {1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64"}
_NAMES |= {9: "bool", 10: "float16", 11: "float64", 16: "bfloat16"}
_TEXTS = [b"location", b"../secret.bin", b"w.bin", b"a\0b", b"", b"\xff\xfe", b"/etc/passwd"]
_NUMBERS = [0, 1, 2, 5, 127, 128, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**62, 2**63]
_NUMBERS += [2**64 - 1]
_MESSAGES_DEEP = 12


# ---- by protobuf ------------------------------------------------------------------------------


def facts_by_onnx(content: bytes) -> OnnxHeader:
    """The same facts as ``parse_header``'s, from the ``onnx`` package; DecodeError, ValueError."""
    model = onnx.ModelProto()
    model.ParseFromString(content)
    if not model.HasField("graph"):
        raise ValueError("no graph")
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    weights |= {tensor.values.name for tensor in graph.sparse_initializer}
    external = {
        entry.value
        for tensor in _tensors(model)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return OnnxHeader(
        metadata={entry.key: entry.value for entry in model.metadata_props},
        inputs=tuple(_info(value) for value in graph.input if value.name not in weights),
        outputs=tuple(_info(value) for value in graph.output),
        external=tuple(sorted(external, key=str)),  # bytes where it is no UTF-8
    )


def _info(value: Any) -> TensorInfo:
    tensor = value.type.tensor_type
    shape = None
    if tensor.HasField("shape"):
        shape = tuple(dim.dim_value if dim.dim_value > 0 else None for dim in tensor.shape.dim)
    return TensorInfo(value.name, _NAMES.get(tensor.elem_type, "unknown"), shape)


def _tensors(message: Any) -> Iterator[Any]:
    """Every TensorProto within a message, wherever the format allows one."""
    if message.DESCRIPTOR.name == "TensorProto":
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        repeated = value if not hasattr(value, "DESCRIPTOR") else [value]
        for item in repeated:
            yield from _tensors(item)


# ---- files to begin with ----------------------------------------------------------------------


def corpus() -> list[bytes]:
    """Small models that have a bit of everything deal reads."""
    return [_model().SerializeToString(), _model(deep=True).SerializeToString()]


def _model(deep: bool = False) -> onnx.ModelProto:
    weight = numpy_helper.from_array(np.zeros(3, np.float32), "weight")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "w.bin"), ("offset", "0"), ("length", "12")):
        weight.external_data.add(key=key, value=value)
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 32, -1, 3])
    listed = helper.make_tensor_value_info("weight", TensorProto.FLOAT, [3])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [None, 5, 8, 8])
    nodes = [helper.make_node("Identity", ["image"], ["logits"])]
    if deep:
        body = helper.make_graph(
            [helper.make_node("Constant", [], ["c"], value=weight)], "body", [], [logits]
        )
        nodes.append(helper.make_node("If", ["f"], ["y"], then_branch=body, else_branch=body))
    graph = helper.make_graph(nodes, "g", [image, listed], [logits], [weight])
    sparse = graph.sparse_initializer.add()
    sparse.values.CopyFrom(weight)
    sparse.values.name = "sparse"
    graph.input.append(helper.make_tensor_value_info("sparse", TensorProto.FLOAT, [3]))
    model = helper.make_model(graph)
    helper.set_model_props(model, {"deal": '{"classes": 5}', "other": "x"})
    if deep:
        function = model.functions.add(name="f", domain="d")
        function.node.add(op_type="Constant").attribute.add(name="value").t.CopyFrom(weight)
        model.training_info.add().algorithm.initializer.add().CopyFrom(weight)
    return model


# ---- mutations --------------------------------------------------------------------------------


def mutated(rng: random.Random, content: bytes) -> bytes:
    """The bytes with one to three changes, of single bytes or of how fields are written."""
    for _ in range(rng.randint(1, 3)):
        content = _bytes_changed(rng, content) if rng.random() < 0.2 else _changed(rng, content, 0)
    return content


def _bytes_changed(rng: random.Random, content: bytes) -> bytes:
    if not content:
        return bytes([rng.randrange(256)])
    at = rng.randrange(len(content))
    new = bytes(rng.randrange(256) for _ in range(rng.randint(0, 3)))
    return content[:at] + new + content[at + rng.randint(0, 3) :]


def _changed(rng: random.Random, message: bytes, depth: int) -> bytes:
    fields = _split(message)
    if not fields:
        return _bytes_changed(rng, message)
    at = rng.randrange(len(fields))
    number, wire, value = fields[at]
    if wire == 2 and depth < _MESSAGES_DEEP and rng.random() < 0.75:
        fields[at] = (number, wire, _changed(rng, value, depth + 1))
        return b"".join(_written(*field) for field in fields)
    written = [_written(*field) for field in fields]
    kind = rng.randrange(9)
    if kind == 0:
        written.insert(rng.randrange(len(written) + 1), written[at])
    elif kind == 1:
        del written[at]
    elif kind == 2:
        rng.shuffle(written)
    elif kind == 3:  # a tag as no writer writes it
        tag = number << 3 | wire
        tag |= rng.choice([0, 1 << 32, 1 << 35, 1 << 63])
        written[at] = _varint(tag, rng.randint(0, 5)) + _payload(wire, value)
    elif kind == 4:
        written[at] = _written(rng.choice([*range(30), 2**29 - 1, number + 2**29]), wire, value)
    elif kind == 5:  # another wire type, groups among them
        other = rng.randrange(8)
        written[at] = _varint(number << 3 | other) + _payload(wire, value)
    elif kind == 6:
        text = rng.choice(_TEXTS)
        written[at] = _written(number, 2, text)
    elif kind == 7:
        written[at] = _varint(number << 3) + _varint(rng.choice(_NUMBERS), rng.randint(0, 3))
    else:  # one length or number written longer than needed
        tag = _varint(number << 3 | wire)
        extra = rng.randint(1, 9)
        if wire == 0:
            written[at] = tag + _varint(_number(value), extra)
        elif wire == 2:
            written[at] = tag + _varint(len(value), extra) + value
    return b"".join(written)


def _split(message: bytes) -> list[tuple[int, int, bytes]] | None:
    """Fields as (number, wire type, value bytes); None where the bytes are no message."""
    fields, at = [], 0
    try:
        while at < len(message):
            tag, at = _read_varint(message, at)
            wire = tag & 7
            if wire == 0:
                _, end = _read_varint(message, at)
            elif wire == 2:
                length, at = _read_varint(message, at)
                end = at + length
            elif wire in (1, 5):
                end = at + (8 if wire == 1 else 4)
            else:
                return None
            if end > len(message) or tag >> 3 == 0:
                return None
            fields.append((tag >> 3, wire, message[at:end]))
            at = end
    except IndexError:
        return None
    return fields


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _number(value: bytes) -> int:
    return _read_varint(value, 0)[0]


def _written(number: int, wire: int, value: bytes) -> bytes:
    return _varint(number << 3 | wire) + _payload(wire, value)


def _payload(wire: int, value: bytes) -> bytes:
    return _varint(len(value)) + value if wire == 2 else value


def _varint(value: int, extra: int = 0) -> bytes:
    """A number, written with ``extra`` bytes more than it needs."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F)
    groups += [0] * extra
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


# ---- the campaign -----------------------------------------------------------------------------


def campaign(count: int, seed: int) -> tuple[Counter[str], bytes | None]:
    """Compare ``count`` mutated files.

    Returns
    -------
    counts : Counter
        ``alike`` (both take it, the same facts), ``refused by both``, ``refused by deal alone``
        (what no writer writes), ``taken by deal alone`` (damage in what deal does not read; the
        engines refuse it) and ``different``.
    first : bytes or None
        The first file that is read differently, where the campaign ends.
    """
    rng = random.Random(seed)
    seeds = corpus()
    counts: Counter[str] = Counter()
    for _ in range(count):
        content = mutated(rng, rng.choice(seeds))
        theirs: OnnxHeader | None
        ours: OnnxHeader | None
        try:
            ours = parse_header(content)
        except (ValueError, LookupError):
            ours = None
        try:
            theirs = facts_by_onnx(content)
        except (DecodeError, ValueError):  # a text that is no UTF-8 is a ValueError
            theirs = None
        if ours is not None and theirs is not None and ours != theirs:
            counts["different"] += 1
            return counts, content
        counts[_OUTCOMES[ours is not None, theirs is not None]] += 1
    return counts, None


_OUTCOMES = {
    (True, True): "alike",
    (False, False): "refused by both",
    (False, True): "refused by deal alone",
    (True, False): "taken by deal alone",
}


def main() -> int:
    """Run a campaign from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    counts, first = campaign(arguments.count, arguments.seed)
    print(json.dumps({"count": arguments.count, "seed": arguments.seed, **counts}))
    if first is not None:
        print(f"deal : {parse_header(first)}\nonnx : {facts_by_onnx(first)}\n{first.hex()}")
    return 0 if first is None else 1


if __name__ == "__main__":
    sys.exit(main())
