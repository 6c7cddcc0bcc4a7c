"""The wire format of protocol buffers, read exactly as Google's parser reads it or refused.

If two parsers read the same bytes differently, a check can be bypassed: one sees weights beside the
model, the other ``../secret.bin``. So this reader refuses what the format allows but no writer
writes: tags longer than needed or beyond 32 bits, groups, field 0, numbers beyond 64 bits.
Specification: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

__all__ = ["BYTES", "FIXED32", "FIXED64", "VARINT", "Field", "fields", "int32", "int64", "once"]

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5

Field = int | memoryview
"""A number for wire type ``VARINT``, bytes for the others."""

_LONGEST = 2**31 - 1  # most bytes of one value, as in every implementation


def fields(message: memoryview, known: Mapping[int, int]) -> Iterator[tuple[int, Field]]:
    """Yield number and value of each field in ``known``, in the order of the bytes.

    Parameters
    ----------
    message : memoryview of bytes
    known : mapping of field number to wire type
        Other fields are skipped.

    Raises
    ------
    ValueError
        The bytes are not a message, or a known field has another wire type: protobuf would skip
        the field, but other readers would not.
    """
    at, end = 0, len(message)
    while at < end:
        tag = message[at]
        if tag < 0x80:  # as nearly all are, and a model has tens of thousands
            at += 1
        else:
            begin = at
            tag, at = _varint(message, at, 5)
            if tag >= 2**32 or at - begin > (tag.bit_length() + 6) // 7:
                raise ValueError("no tag of a protocol buffer")
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise ValueError("no tag of a protocol buffer")
        value: Field
        if wire == VARINT:
            value, at = _varint(message, at, 10)
        else:
            if wire == BYTES:
                length = message[at]
                at += 1
                if length >= 0x80:
                    length, at = _varint(message, at - 1, 5)
            elif wire in (FIXED64, FIXED32):
                length = 8 if wire == FIXED64 else 4
            else:
                raise ValueError("a group, or not a protocol buffer")
            if length > end - at or length > _LONGEST:
                raise ValueError("truncated")
            value = message[at : at + length]
            at += length
        if number in known:
            if known[number] != wire:
                raise ValueError(f"field {number} has wire type {wire}")
            yield number, value


def once(message: memoryview, known: Mapping[int, int]) -> dict[int, Field]:
    """The known fields of a message, each of which may occur at most once.

    Protobuf takes the last of repeated numbers and texts, and merges repeated messages; no writer
    repeats them. Raises ValueError as :func:`fields` does, and for a field that occurs twice.
    """
    found: dict[int, Field] = {}
    for number, value in fields(message, known):
        if number in found:
            raise ValueError(f"field {number} occurs twice but may occur only once")
        found[number] = value
    return found


def int32(value: Field) -> int:
    """A number as protobuf's ``int32`` and enumerations take it: the low 32 bits, signed."""
    assert isinstance(value, int)
    low = value & 0xFFFFFFFF
    return low - 2**32 if low >= 2**31 else low


def int64(value: Field) -> int:
    """A number as protobuf's ``int64`` takes it."""
    assert isinstance(value, int)
    return value - 2**64 if value >= 2**63 else value


def _varint(message: memoryview, at: int, longest: int) -> tuple[int, int]:
    value = shift = 0
    for _ in range(longest):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            if value >= 2**64:
                raise ValueError("a number beyond 64 bits")
            return value, at
    raise ValueError("a number of too many bytes")
