"""WebP: no checksum and no marks within, so only zeros in the place of its codes are seen."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

from PIL.WebPImagePlugin import WebPImageFile

from deal.errors import ItemError
from deal.pool.pixels import check_size, exif_orientation, loaded, oriented
from deal.types import Decoded

__all__ = ["decode_webp"]

_ZEROS = bytes(64)
"""Codes of an encoder do not hold so many zero bytes in a row (docs/reference/damage.md)."""


def decode_webp(data: bytes, max_pixels: int, at_least: tuple[int, int] | None) -> Decoded:
    """Decode a WebP; parameters as of :func:`deal.pool.decode.decode_bytes`.

    Raises ItemError (``decode``, ``too_large``), or what Pillow raises.
    """
    check_size(*_size(data), max_pixels)
    file = WebPImageFile(BytesIO(data))
    if any(data.find(_ZEROS, start, end) >= 0 for start, end in _codes(data)):
        raise ItemError("decode", f"damaged WebP: {len(_ZEROS)} zeros in the place of its codes")
    image, mode = loaded(file, max_pixels)
    orientation = exif_orientation(file.info.get("exif") or b"")
    return Decoded(oriented(image, orientation), orientation, mode)


def _codes(data: bytes) -> Iterator[tuple[int, int]]:
    """Where the coded pixels of the first picture lie."""
    position = 12
    while position + 8 <= len(data):
        kind = data[position : position + 4]
        start = position + 8
        end = start + int.from_bytes(data[position + 4 : start], "little")
        if kind == b"ANMF":  # a frame: its header, then chunks of its own
            position = start + 16
            continue
        if kind in (b"VP8 ", b"VP8L"):
            yield start, end
            return
        position = end + (end & 1)


def _size(data: bytes) -> tuple[int, int]:
    """Width and height from the header: the decoder allocates a canvas before it tells them."""
    kind = data[12:16]
    if kind == b"VP8X":
        return (
            int.from_bytes(data[24:27], "little") + 1,
            int.from_bytes(data[27:30], "little") + 1,
        )
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return (
        int.from_bytes(data[26:28], "little") & 0x3FFF,
        int.from_bytes(data[28:30], "little") & 0x3FFF,
    )
