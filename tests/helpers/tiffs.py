"""TIFF files by hand, as instruments write them and Pillow cannot."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

_FORMATS = {"u": 1, "i": 2, "f": 3}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 8: 2, 11: 4}

Tag = tuple[int, bytes]  # type of its values, and the values as stored


def tiff(
    values: np.ndarray,
    *,
    order: str = "<",
    big: bool = False,
    inverted: bool = False,
    deflate: bool = False,
    predictor: int = 1,
    tile: tuple[int, int] | None = None,
    apart: bool = False,
    tags: Mapping[int, Tag] | None = None,
) -> bytes:
    """A TIFF of samples [H, W], [H, W, 2] (grey with alpha) or [H, W, 3 or more] (RGB).

    ``tile`` (H, W) stores tiles and not one strip, ``apart`` one band after the other. ``tags`` are
    further ones, or win over those that are written.
    """
    height, width = values.shape[:2]
    pixels = values.reshape(height, width, -1)
    samples, dtype = pixels.shape[2], pixels.dtype
    pieces = [pixels]
    if tile is not None:
        rows, columns = tile
        padded = np.pad(pixels, ((0, -height % rows), (0, -width % columns), (0, 0)))
        pieces = [
            padded[top : top + rows, left : left + columns]
            for top in range(0, height, rows)
            for left in range(0, width, columns)
        ]
    if apart:
        pieces = [piece[..., band : band + 1] for band in range(samples) for piece in pieces]
    stored = [_stored(piece, order, predictor, deflate) for piece in pieces]
    head = 16 if big else 8
    offsets = [head + sum(map(len, stored[:i])) for i in range(len(stored))]
    short, long = _packer(order, 3), _packer(order, 4)
    where, counts = (273, 279) if tile is None else (324, 325)
    found = {
        256: long([width]),
        257: long([height]),
        258: short([8 * dtype.itemsize] * samples),
        259: short([8 if deflate else 1]),
        262: short([2 if samples >= 3 else 0 if inverted else 1]),
        277: short([samples]),
        317: short([predictor]),
        339: short([_FORMATS[dtype.kind]] * samples),
        where: long(offsets),
        counts: long(list(map(len, stored))),
    }
    if samples == 2 or samples > 3:
        found[338] = short([2] if samples == 2 else [0] * (samples - 3))
    if apart:
        found[284] = short([2])
    if tile is None:
        found[278] = long([height])
    else:
        found |= {322: long([tile[1]]), 323: long([tile[0]])}
    return _file(order, big, b"".join(stored), {**found, **(tags or {})})


def _packer(order: str, kind: int):
    code = {3: "H", 4: "I"}[kind]
    return lambda values: (kind, struct.pack(f"{order}{len(values)}{code}", *values))


def _stored(piece: np.ndarray, order: str, predictor: int, deflate: bool) -> bytes:
    if predictor == 2:
        piece = np.diff(piece, axis=1, prepend=np.zeros_like(piece[:, :1]))
    if predictor == 3:
        rows, _, samples = piece.shape
        by_byte = piece.astype(piece.dtype.newbyteorder(">")).reshape(rows, -1)
        by_byte = by_byte.view(np.uint8).reshape(rows, -1, piece.dtype.itemsize).swapaxes(1, 2)
        flat = np.ascontiguousarray(by_byte).reshape(rows, -1, samples)
        raw = np.diff(flat, axis=1, prepend=np.zeros_like(flat[:, :1])).tobytes()
    else:
        raw = piece.astype(piece.dtype.newbyteorder(order)).tobytes()
    return zlib.compress(raw) if deflate else raw


def _file(order: str, big: bool, body: bytes, tags: Mapping[int, Tag]) -> bytes:
    offset, count, room = ("Q", "Q", 8) if big else ("I", "H", 4)
    mark = b"II" if order == "<" else b"MM"
    start = (16 if big else 8) + len(body)
    if big:
        head = mark + struct.pack(order + "HHHQ", 43, 8, 0, start)
    else:
        head = mark + struct.pack(order + "HI", 42, start)
    entries, beyond = [], b""
    size = struct.calcsize("=" + count) + len(tags) * (4 + 2 * room) + room
    for tag, (kind, values) in sorted(tags.items()):
        inline = values
        if len(values) > room:
            inline = struct.pack(order + offset, start + size + len(beyond))
            beyond += values
        number = len(values) // _SIZES[kind]
        entries.append(
            struct.pack(order + "HH" + offset, tag, kind, number) + inline.ljust(room, b"\0")
        )
    directory = struct.pack(order + count, len(tags)) + b"".join(entries) + bytes(room)
    return head + body + directory + beyond


def orientation(kind: int, values: Sequence[int] | bytes, order: str = "<") -> dict[int, Tag]:
    """The tag Orientation in any type: 2 text, 1 byte, 3 short, 4 long, 5 rational, 11 float."""
    if isinstance(values, bytes):
        return {274: (kind, values)}
    code = {1: "B", 3: "H", 4: "I", 5: "I", 8: "h"}[kind]
    return {274: (kind, struct.pack(f"{order}{len(values)}{code}", *values))}
