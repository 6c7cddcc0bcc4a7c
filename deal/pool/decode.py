"""Bytes of an image file → oriented uint8 RGB, or an :class:`~deal.errors.ItemError`.

The format is told from the content, not the name. Grey, palette, CMYK and YCbCr become RGB (colour
profiles are not applied); alpha is dropped, not composited; of an animation or a file of several
pages the first frame counts. 16-bit grey is divided by 257 and rounded; of 16-bit colour Pillow
hands out the high byte, within one level of that.

A JPEG can be decoded to 1/2, 1/4 or 1/8 of its size, which libjpeg-turbo does by smaller inverse
transforms (at 1/8 a pixel is the mean of its block): no detail finer than the network's input is
computed only to be averaged away. Integer arithmetic: the same bytes on every machine.

Nothing here changes global state (Pillow's limits are side-stepped, not switched off), so any
number of threads may decode at once.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from deal.errors import ItemError
from deal.types import Decoded, PoolItem

__all__ = ["MAX_PIXELS", "decode", "decode_bytes"]

MAX_PIXELS = 200_000_000
"""Pixels of the largest image that is decoded unless the caller allows more."""

_ORIENTATION_TAG = 0x0112


def decode(
    item: PoolItem, *, max_pixels: int = MAX_PIXELS, at_least: tuple[int, int] | None = None
) -> Decoded:
    """Read an image file once and decode it; parameters as of :func:`decode_bytes`.

    Raises
    ------
    ItemError
        ``io``: the file cannot be read. Otherwise as :func:`decode_bytes`.
    """
    try:
        with open(item.path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            # no supported format needs more than four 32-bit channels a pixel
            if size > 16 * max_pixels + 2**20:
                raise ItemError(
                    "too_large",
                    f"{size} bytes, more than {max_pixels} pixels fill; --max-pixels allows more",
                )
            data = file.read()
    except OSError as error:
        raise ItemError("io", f"cannot read the file: {error.strerror}") from error
    return decode_bytes(data, max_pixels=max_pixels, at_least=at_least)


def decode_bytes(
    data: bytes, *, max_pixels: int = MAX_PIXELS, at_least: tuple[int, int] | None = None
) -> Decoded:
    """Decode the content of a JPEG, PNG, WebP, BMP or TIFF file.

    Parameters
    ----------
    data : bytes
    max_pixels : int
        Width × height allowed; checked on the header, before pixels are decoded.
    at_least : (H, W), optional
        A JPEG may be decoded to the smallest of 1, 1/2, 1/4 and 1/8 of its size, rounded up, that
        is no smaller than this after orientation.

    Returns
    -------
    Decoded
        ``color_mode`` is Pillow's name of what was converted (``RGB``, ``L``, ``RGBA``, ``P``,
        ``CMYK``, ``I;16``, …), ``;16`` appended to colour of 16 bits, ``;animated`` when only the
        first of several frames or pages was taken, and ``;extraneous-bytes`` when a JPEG held
        bytes that belong to nothing and were skipped.

    Raises
    ------
    ItemError
        ``decode``: empty, not an image, truncated or damaged; ``too_large``: more than
        ``max_pixels``.
    """
    if not data:
        raise ItemError("decode", "the file is empty")
    for name, matches, decoder in _FORMATS:
        if matches(data):
            try:
                if decoder is _jpeg:
                    return _jpeg(data, max_pixels, at_least)
                return decoder(data, max_pixels)
            except ItemError:
                raise
            except Image.DecompressionBombError as error:
                raise ItemError("too_large", f"{name} above Pillow's own limit: {error}") from error
            except Exception as error:  # damaged files make the decoders raise almost anything
                reason = " ".join(str(error).split()) or type(error).__name__
                raise ItemError("decode", f"damaged or truncated {name}: {reason}") from error
    raise ItemError("decode", "not a JPEG, PNG, WebP, BMP or TIFF image")


# A strict decoder stops at any remark of libjpeg. With these (and with stray bytes, which are
# recorded) no pixel is in doubt, or only the header is unusual: then Pillow decides, which refuses
# truncation just the same.
_HARMLESS = ("JFIF revision", "Adobe color transform", "Invalid SOS parameters", "subsampling")


def _jpeg(data: bytes, max_pixels: int, at_least: tuple[int, int] | None = None) -> Decoded:
    orientation = _exif_orientation(_jpeg_exif(data))
    note = ""
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
        _check_size(int(width), int(height), max_pixels)
        if colorspace not in ("CMYK", "YCCK"):
            factor, scaled = _scale((int(height), int(width)), orientation, at_least)
            image = simplejpeg.decode_jpeg(
                data, "RGB", min_height=scaled[0], min_width=scaled[1], min_factor=factor
            )
            mode = "L" if colorspace == "Gray" else "RGB"
            original = None if factor == 1 else _turned((int(height), int(width)), orientation)
            return Decoded(_orient(image, orientation), orientation, mode, original)
    except ValueError as error:
        if "extraneous bytes" in str(error):
            note = ";extraneous-bytes"
        elif not any(remark in str(error) for remark in _HARMLESS):
            raise
    image, mode = _load(JpegImageFile(BytesIO(data)), max_pixels)
    return Decoded(_orient(image, orientation), orientation, mode + note)


def _scale(
    stored: tuple[int, int], orientation: int, at_least: tuple[int, int] | None
) -> tuple[int, tuple[int, int]]:
    """By what to divide a JPEG of a stored size (H, W), 1, 2, 4 or 8, and the size it then has."""
    if at_least is not None:
        height, width = _turned(at_least, orientation)
        for factor in (8, 4, 2):
            scaled = -(-stored[0] // factor), -(-stored[1] // factor)
            if scaled[0] >= height and scaled[1] >= width:
                return factor, scaled
    return 1, stored


def _turned(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    return size[::-1] if orientation >= 5 else size


def _png(data: bytes, max_pixels: int) -> Decoded:
    # Pillow does not miss the end of the file once it has all rows
    if data.rfind(b"\0\0\0\0IEND\xaeB`\x82") < 0:
        raise ItemError("decode", "truncated PNG: it has no end")
    file = PngImageFile(BytesIO(data))
    image, mode = _load(file, max_pixels)
    exif = file.info.get("exif") or _legacy_exif(file.info.get("Raw profile type exif", ""))
    orientation = _exif_orientation(exif)
    return Decoded(_orient(image, orientation), orientation, mode)


def _legacy_exif(profile: str) -> bytes:
    """EXIF as ImageMagick put it into PNG text before there was a chunk for it: hex lines."""
    try:
        return bytes.fromhex("".join(profile.split("\n")[3:]))
    except ValueError:
        return b""


def _webp(data: bytes, max_pixels: int) -> Decoded:
    _check_size(*_webp_size(data), max_pixels)
    file = WebPImageFile(BytesIO(data))
    image, mode = _load(file, max_pixels)
    orientation = _exif_orientation(file.info.get("exif") or b"")
    return Decoded(_orient(image, orientation), orientation, mode)


def _bmp(data: bytes, max_pixels: int) -> Decoded:
    image, mode = _load(BmpImageFile(BytesIO(data)), max_pixels)
    return Decoded(image, 1, mode)


def _tiff(data: bytes, max_pixels: int) -> Decoded:
    file = _Tiff(BytesIO(data))
    orientation = file.getexif().get(_ORIENTATION_TAG, 1)
    image, mode = _load(file, max_pixels)
    return Decoded(image, orientation, mode)


class _Tiff(TiffImageFile):
    """Without Pillow's own limit on pixels, which is a global; ours was checked before."""

    def load_prepare(self) -> None:
        if self._im is None:
            self.im = Image.new(self.mode, self._tile_size).im
        ImageFile.ImageFile.load_prepare(self)


def _load(file: ImageFile.ImageFile, max_pixels: int) -> tuple[NDArray[np.uint8], str]:
    """Pixels as uint8 [H, W, 3] and the color_mode."""
    _check_size(*file.size, max_pixels)
    mode = file.mode
    raw = file.tile[0].args if file.tile else ""
    raw = raw if isinstance(raw, str) else str(raw[0]) if raw else ""
    animated = getattr(file, "is_animated", False)
    file.load()
    if mode.startswith("I;16"):
        image = _grey(np.asarray(file), 4095 if raw == "I;12" else 65535)
    elif mode == "I":
        image = _grey(np.asarray(file), 65535)
    elif mode == "F":
        image = _grey(np.asarray(file), 1)
    elif mode == "RGB":
        image = np.array(file)
    else:
        # straight to RGB, Pillow would warn of transparency that a palette gives in bytes
        rgba = mode == "P" and "transparency" in file.info
        image = np.array((file.convert("RGBA") if rgba else file).convert("RGB"))
    if ";16" in raw and not mode.startswith("I"):
        mode += ";16"
    return image, mode + (";animated" if animated else "")


def _grey(values: NDArray[Any], top: int) -> NDArray[np.uint8]:
    """Grey of 0…top as uint8 RGB, rounded."""
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= top):
        raise ItemError(
            "decode", f"grey values {low}…{high} outside 0…{top}; store the image with 8 or 16 bits"
        )
    if values.dtype.kind == "f":
        grey = np.rint(values * (255 / top)).astype(np.uint8)
    else:
        grey = np.rint(np.arange(top + 1) * (255 / top)).astype(np.uint8)[values]
    return np.repeat(grey[..., np.newaxis], 3, axis=2)


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ItemError(
            "too_large",
            f"{width}×{height} pixels, more than {max_pixels}; --max-pixels allows more",
        )


def _orient(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Apply an EXIF orientation (1…8) to [H, W, 3]; C-contiguous."""
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)


def _exif_orientation(exif: bytes) -> int:
    """Orientation in an EXIF block (TIFF structure), 1 when absent or malformed."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(exif[:2], "")
    try:
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (entries,) = struct.unpack_from(order + "H", exif, start)
        for entry in range(start + 2, start + 2 + 12 * entries, 12):
            tag, kind = struct.unpack_from(order + "HH", exif, entry)
            if order and tag == _ORIENTATION_TAG:
                (value,) = struct.unpack_from(order + ("I" if kind == 4 else "H"), exif, entry + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _jpeg_exif(data: bytes) -> bytes:
    """The EXIF block of a JPEG, empty when there is none; reads segment headers only."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # padding
            position += 1
            continue
        if marker in (0xDA, 0xD9):  # start of scan, end of image
            break
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == 0xE1 and data[position + 4 : position + 10] == b"Exif\0\0":
            return data[position + 10 : end]
        position = end
    return b""


def _webp_size(data: bytes) -> tuple[int, int]:
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


_FORMATS: tuple[tuple[str, Callable[[bytes], bool], Callable[[bytes, int], Decoded]], ...] = (
    ("JPEG", lambda data: data.startswith(b"\xff\xd8\xff"), _jpeg),
    ("PNG", lambda data: data.startswith(b"\x89PNG\r\n\x1a\n"), _png),
    ("WebP", lambda data: data.startswith(b"RIFF") and data[8:12] == b"WEBP", _webp),
    ("BMP", lambda data: data.startswith(b"BM"), _bmp),
    ("TIFF", lambda data: data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")), _tiff),
)
