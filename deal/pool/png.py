"""PNG: Pillow's pixels, after the checksums that Pillow does not look at."""

from __future__ import annotations

import zlib
from io import BytesIO

from PIL.PngImagePlugin import PngImageFile

from deal.errors import ItemError
from deal.pool.pixels import exif_orientation, loaded, oriented
from deal.types import Decoded

__all__ = ["decode_png"]


def decode_png(data: bytes, max_pixels: int, at_least: tuple[int, int] | None) -> Decoded:
    """Decode a PNG; parameters as of :func:`deal.pool.decode.decode_bytes`.

    Raises ItemError (``decode``, ``too_large``), or what Pillow raises.
    """
    file = PngImageFile(BytesIO(data))
    _check_chunks(data)
    image, mode = loaded(file, max_pixels)
    exif = file.info.get("exif") or _legacy_exif(file.info.get("Raw profile type exif", ""))
    orientation = exif_orientation(exif)
    return Decoded(oriented(image, orientation), orientation, mode)


def _check_chunks(data: bytes) -> None:
    """Raise ItemError ``decode`` for pixels with a wrong checksum, and where no end comes."""
    view, position = memoryview(data), 8
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        kind, end = data[position + 4 : position + 8], position + 8 + length
        if kind in (b"IDAT", b"PLTE"):
            stored = int.from_bytes(data[end : end + 4], "big")
            if zlib.crc32(view[position + 4 : end]) != stored:
                raise ItemError("decode", f"damaged PNG: the checksum of {kind.decode()} is wrong")
        elif kind == b"IEND":
            return
        position = end + 4
    raise ItemError("decode", "truncated PNG: it has no end")


def _legacy_exif(profile: str) -> bytes:
    """EXIF as ImageMagick put it into PNG text before there was a chunk for it: hex lines."""
    try:
        return bytes.fromhex("".join(profile.split("\n")[3:]))
    except ValueError:
        return b""
