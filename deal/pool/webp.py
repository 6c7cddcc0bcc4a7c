"""WebP: it has neither checksums nor marks; zeros in the place of its codes are found out.

libwebp reads on in zeros as in any other codes, and stops at the last pixel. A whole file needs its
last bytes for that. So where many zeros stand, as a power cut or a lost sector leaves them, the
picture is decoded once more without its last bytes: if that succeeds, codes were lost before.
"""

from __future__ import annotations

from io import BytesIO

from PIL.WebPImagePlugin import WebPImageFile

from deal.errors import ItemError
from deal.pool.pixels import check_size, exif_orientation, loaded, oriented
from deal.types import Decoded

__all__ = ["decode_webp", "webp_size"]

# Zeros that are looked at: anywhere, and at the end. Flat pictures have them, too.
_ZEROS, _ZERO_TAIL = bytes(64), bytes(16)
# A whole file can do without at most three: what the encoder's last flush adds.
_SPARE = 8


def decode_webp(data: bytes, max_pixels: int, at_least: tuple[int, int] | None) -> Decoded:
    """Decode a WebP; parameters as of :func:`deal.pool.decode.decode_bytes`.

    Raises ItemError (``decode``, ``too_large``), or what Pillow raises.
    """
    check_size(*webp_size(data), max_pixels)
    file = WebPImageFile(BytesIO(data))
    image, mode = loaded(file, max_pixels)
    _check_zeros(data)
    orientation = exif_orientation(file.info.get("exif") or b"")
    return Decoded(oriented(image, orientation), orientation, mode)


def _check_zeros(data: bytes) -> None:
    """Raise ItemError ``decode`` where zeros have taken the place of codes."""
    start, end = _codes(data)
    if data.find(_ZEROS, start, end) < 0 and not data.endswith(_ZERO_TAIL, start, end):
        return
    codes = data[start : end - _SPARE]
    codes += bytes(len(codes) & 1)
    chunk = data[start - 8 : start - 4] + len(codes).to_bytes(4, "little") + codes
    shorter = b"RIFF" + (4 + len(chunk)).to_bytes(4, "little") + b"WEBP" + chunk
    try:
        WebPImageFile(BytesIO(shorter)).load()
    except Exception:  # as it should be; libwebp raises what it likes
        return
    raise ItemError("decode", "damaged WebP: zeros in the place of its codes")


def _codes(data: bytes) -> tuple[int, int]:
    """Where the coded pixels of the first picture begin and end; nowhere: both 0."""
    position = 12
    while position + 8 <= len(data):
        kind = data[position : position + 4]
        start = position + 8
        end = start + int.from_bytes(data[position + 4 : start], "little")
        if kind == b"ANMF":  # a frame: its header, then chunks of its own
            position = start + 16
            continue
        if kind in (b"VP8 ", b"VP8L"):
            return start, min(end, len(data))
        position = end + (end & 1)
    return 0, 0


def webp_size(data: bytes) -> tuple[int, int]:
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
