"""AVIF (Pillow's own), HEIC (pillow-heif) and JPEG XL (pillow-jxl-plugin): one more package each.

None has checksums. A tile of AV1 ends with a bit of 1 (AV1 specification, 5.11.2 and 8.2.4), so an
AVIF whose tail is zeros has lost it; other damage shows only where the decoder refuses it.
"""

from __future__ import annotations

from importlib import import_module
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from deal._install import pip_install
from deal.errors import ItemError
from deal.pool.jpeg import decode_jpeg
from deal.pool.pixels import check_size, exif_orientation, loaded, oriented
from deal.types import Decoded

__all__ = [
    "boxed_size",
    "decode_avif",
    "decode_heic",
    "decode_jxl",
    "is_avif",
    "is_heic",
    "is_jxl",
    "jxl_size",
]

_ZERO_TAIL = bytes(16)
_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_JXL_CODES, _JXL_BOXES = b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"
# Width : height by the numbers of the size header (ISO/IEC 18181-1, D.2).
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}


def is_avif(data: bytes) -> bool:
    """Whether a file calls itself AVIF."""
    return data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis")


def is_heic(data: bytes) -> bool:
    """Whether a file calls itself HEIC, or HEIF without saying of which kind."""
    return data[4:8] == b"ftyp" and data[8:12] in _HEIC


def is_jxl(data: bytes) -> bool:
    """Whether a file is JPEG XL, bare or in boxes."""
    return data.startswith((_JXL_CODES, _JXL_BOXES))


def decode_avif(data: bytes, max_pixels: int, at_least: tuple[int, int] | None) -> Decoded:
    """Decode an AVIF; parameters as of :func:`deal.pool.decode.decode_bytes`.

    Raises ItemError (``decode``, ``too_large``), or what Pillow raises.
    """
    check_size(*boxed_size(data), max_pixels)
    plugin = _import("PIL.AvifImagePlugin", "AVIF", "heif")
    if not plugin.SUPPORTED:
        raise ItemError("decode", f"AVIF needs a Pillow that has it: {pip_install('heif')}")
    file: ImageFile.ImageFile = plugin.AvifImageFile(BytesIO(data))
    image, mode = loaded(file, max_pixels)
    if data.endswith(_ZERO_TAIL):
        raise ItemError("decode", "damaged AVIF: its tail is zeros")
    orientation = exif_orientation(file.info.get("exif") or b"")
    return Decoded(oriented(image, orientation), orientation, mode)


def decode_heic(data: bytes, max_pixels: int, at_least: tuple[int, int] | None) -> Decoded:
    """Decode the primary image of a HEIC, which libheif turns upright; as :func:`decode_avif`."""
    check_size(*boxed_size(data), max_pixels)
    file = _import("pillow_heif", "HEIC", "heif").open_heif(BytesIO(data))
    width, height = file.size
    check_size(width, height, max_pixels)
    picture = Image.frombuffer(file.mode, file.size, file.data, "raw", file.mode, file.stride)
    return Decoded(_rgb(picture), 1, file.mode)


def decode_jxl(data: bytes, max_pixels: int, at_least: tuple[int, int] | None) -> Decoded:
    """Decode a JPEG XL; what was made of a JPEG is that JPEG again; as :func:`decode_avif`."""
    check_size(*jxl_size(data), max_pixels)
    decoder = _import("pillow_jxl", "JPEG XL", "jxl").Decoder(num_threads=1)
    is_jpeg, info, pixels, *_ = decoder(data)
    if is_jpeg:
        return decode_jpeg(bytes(pixels), max_pixels, at_least)
    check_size(info.width, info.height, max_pixels)
    if info.mode not in ("L", "LA", "RGB", "RGBA"):
        raise ItemError("decode", f"not supported: JPEG XL of {info.mode}; convert it to 8 bits")
    picture = Image.frombytes(info.mode, (info.width, info.height), bytes(pixels))
    return Decoded(_rgb(picture), 1, info.mode)


def boxed_size(data: bytes) -> tuple[int, int]:
    """Width and height of the largest image in a HEIF file (its ``ispe`` boxes); 0 without."""
    sizes, position = [(0, 0)], data.find(b"ispe")
    while position >= 0:
        width, height = data[position + 8 : position + 12], data[position + 12 : position + 16]
        sizes.append((int.from_bytes(width, "big"), int.from_bytes(height, "big")))
        position = data.find(b"ispe", position + 4, 2**20)  # the boxes come first
    return max(sizes, key=lambda size: size[0] * size[1])


def jxl_size(data: bytes) -> tuple[int, int]:
    """Width and height by the header of the codes; 0 where there is none."""
    start = 0
    if data.startswith(_JXL_BOXES):
        box = min((at for at in (data.find(b"jxlc"), data.find(b"jxlp")) if at >= 0), default=-1)
        if box < 0:
            return 0, 0
        start = box + (4 if data[box : box + 4] == b"jxlc" else 8)
    if data[start : start + 2] != _JXL_CODES:
        return 0, 0
    bits = int.from_bytes(data[start + 2 : start + 18], "little")

    def take(count: int) -> int:
        nonlocal bits
        value = bits & ((1 << count) - 1)
        bits >>= count
        return value

    small = take(1)

    def length() -> int:
        return 8 * (take(5) + 1) if small else take((9, 13, 18, 30)[take(2)]) + 1

    height = length()
    ratio = take(3)
    if ratio:
        wide, high = _RATIOS[ratio]
        return height * wide // high, height
    return length(), height


def _rgb(picture: Image.Image) -> NDArray[np.uint8]:
    return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))


def _import(module: str, name: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise ItemError("decode", f"{name} needs one more package: {pip_install(extra)}") from error
