"""Bytes of an image file → oriented uint8 RGB, or an :class:`~deal.errors.ItemError`.

The format is told from the content, not the name: JPEG, PNG, WebP, BMP, TIFF, and with one more
package each AVIF, HEIC and JPEG XL. docs/reference/damage.md says which damage is noticed.

Grey, palette, CMYK and YCbCr become RGB (colour profiles are not applied); alpha is dropped, not
composited; of an animation or a file of several pages the first frame counts. 16-bit grey is
divided by 257 and rounded; of 16-bit colour Pillow hands out the high byte, within a level of that.

A JPEG can be decoded to 1/2, 1/4 or 1/8 of its size, which libjpeg-turbo does by smaller inverse
transforms (at 1/8 a pixel is the mean of its block): no detail finer than the network's input is
computed only to be averaged away. Integer arithmetic: the same bytes on every machine.

Nothing here changes global state (Pillow's limits are side-stepped, not switched off), so any
number of threads may decode at once.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from io import BytesIO

from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile

from deal.errors import ItemError
from deal.machine.room import Room
from deal.pool.jpeg import decode_jpeg, jpeg_size
from deal.pool.pixels import loaded
from deal.pool.plugins import (
    boxed_size,
    decode_avif,
    decode_heic,
    decode_jxl,
    is_avif,
    is_heic,
    is_jxl,
    jxl_size,
)
from deal.pool.png import decode_png
from deal.pool.tiff import decode_tiff, tiff_size
from deal.pool.webp import decode_webp, webp_size
from deal.types import MAX_PIXELS, Decoded, PoolItem

__all__ = ["MAX_PIXELS", "decode", "decode_bytes", "image_format", "is_image", "pixels_of"]

# Pillow's pixels take 4, ours 3.
_BYTES_PER_PIXEL = 8


def decode(
    item: PoolItem,
    *,
    max_pixels: int = MAX_PIXELS,
    at_least: tuple[int, int] | None = None,
    room: Room | None = None,
) -> Decoded:
    """Read an image once and decode it; parameters as of :func:`decode_bytes`.

    ``room`` bounds what several threads decode at once, by the sizes in the headers.

    Raises
    ------
    ItemError
        ``io``: it cannot be read. Otherwise as :func:`decode_bytes`.
    """
    data = item.locator.read(max_pixels)
    if isinstance(data, Decoded):
        return data
    if room is None:
        return decode_bytes(data, max_pixels=max_pixels, at_least=at_least)
    with room.take(_BYTES_PER_PIXEL * pixels_of(data)):
        return decode_bytes(data, max_pixels=max_pixels, at_least=at_least)


def decode_bytes(
    data: bytes, *, max_pixels: int = MAX_PIXELS, at_least: tuple[int, int] | None = None
) -> Decoded:
    """Decode the content of an image file.

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
        ``decode``: empty, not an image, not supported, truncated or damaged; ``too_large``: more
        than ``max_pixels``; ``memory``.
    """
    if not data:
        raise ItemError("decode", "the file is empty")
    for name, matches, decoder, _ in _FORMATS:
        if matches(data):
            try:
                return decoder(data, max_pixels, at_least)
            except ItemError:
                raise
            except MemoryError as error:
                raise ItemError("memory", f"not enough memory to decode the {name}") from error
            except Image.DecompressionBombError as error:
                raise ItemError("too_large", f"{name} above Pillow's own limit: {error}") from error
            except Exception as error:  # damaged files make the decoders raise almost anything
                reason = " ".join(str(error).split()) or type(error).__name__
                raise ItemError("decode", f"damaged or truncated {name}: {reason}") from error
    raise ItemError("decode", "not a JPEG, PNG, WebP, BMP, TIFF, AVIF, HEIC or JPEG XL image")


def pixels_of(data: bytes) -> int:
    """Width × height by the header of an image file; 0 where it cannot be told."""
    for _, matches, _, size in _FORMATS:
        if matches(data):
            try:
                width, height = size(data)
                return abs(width * height)
            except (struct.error, IndexError):
                return 0
    return 0


def is_image(data: bytes) -> bool:
    """Whether a file begins as images do that are decoded here."""
    return image_format(data) is not None


def image_format(data: bytes) -> str | None:
    """The format as which a file begins, such as ``JPEG``; None for what is not decoded here."""
    return next((name for name, matches, _, _ in _FORMATS if matches(data)), None)


def _bmp(data: bytes, max_pixels: int, at_least: tuple[int, int] | None) -> Decoded:
    image, mode = loaded(BmpImageFile(BytesIO(data)), max_pixels)
    return Decoded(image, 1, mode)


def _png_size(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _bmp_size(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<ii", data, 18)
    return width, height


_Decoder = Callable[[bytes, int, tuple[int, int] | None], Decoded]
_Size = Callable[[bytes], tuple[int, int]]
_FORMATS: tuple[tuple[str, Callable[[bytes], bool], _Decoder, _Size], ...] = (
    ("JPEG", lambda data: data.startswith(b"\xff\xd8\xff"), decode_jpeg, jpeg_size),
    ("PNG", lambda data: data.startswith(b"\x89PNG\r\n\x1a\n"), decode_png, _png_size),
    (
        "WebP",
        lambda data: data.startswith(b"RIFF") and data[8:12] == b"WEBP",
        decode_webp,
        webp_size,
    ),
    ("BMP", lambda data: data.startswith(b"BM"), _bmp, _bmp_size),
    (
        "TIFF",
        lambda data: data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
        decode_tiff,
        tiff_size,
    ),
    ("AVIF", is_avif, decode_avif, boxed_size),
    ("HEIC", is_heic, decode_heic, boxed_size),
    ("JPEG XL", is_jxl, decode_jxl, jxl_size),
)
