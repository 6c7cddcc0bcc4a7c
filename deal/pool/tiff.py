"""TIFF: Pillow's, and what Pillow does not know (:mod:`deal.pool.tiff_page`).

Grey of 16 bits or more is 0…65535 (unsigned), 0…32767 (int16) or 0…1 (floats of any width).

libtiff writes its remarks to stderr from inside Pillow, past every handler of Python; what ends a
decode is in the exception as well, so they are switched off when the first TIFF is decoded.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
from io import BytesIO
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageFile, _imaging
from PIL.TiffImagePlugin import TiffImageFile

from deal.errors import ItemError
from deal.pool.pixels import check_size, grey_to_rgb, loaded, oriented
from deal.pool.tiff_page import (
    DEFLATE,
    HEIGHT,
    INTERPRETATION,
    JPEG,
    JPEG_TABLES,
    LZW,
    NONE,
    PLANAR,
    WIDTH,
    Page,
    check_inflates,
    damaged,
)
from deal.types import Decoded

__all__ = ["decode_tiff", "tiff_size"]

_TOP = {"u1": 255, "u2": 65535, "i2": 32767, "u4": 65535, "i4": 65535, "f2": 1, "f4": 1, "f8": 1}
_MODES = {
    "u1": "L", "u2": "I;16", "i2": "I;16S", "u4": "I", "i4": "I",
    "f2": "F;16", "f4": "F", "f8": "F;64",
}  # fmt: skip
_MOST_SAMPLES = 6  # of a pixel, for Pillow
# No encoder writes so many zero bytes: it would have coded a run of them.
_LZW_ZEROS = bytes(32)


def decode_tiff(data: bytes, max_pixels: int, at_least: tuple[int, int] | None) -> Decoded:
    """Decode the first page of a TIFF; parameters as of :func:`deal.pool.decode.decode_bytes`.

    Raises ItemError (``decode``, ``too_large``), or what Pillow raises.
    """
    _silence_libtiff()
    page = Page.of(data)
    if page is None:
        raise damaged("its directory cannot be read")
    check_size(page.get(WIDTH, 0), page.get(HEIGHT, 0), max_pixels)
    orientation = page.orientation
    if _is_beyond_pillow(page):
        if not page.can_read():
            raise _not_supported(page)
        return _decoded(*_colour(page), orientation)
    if page.is_grey and page.can_read() and (page.kind != "u1" or page.samples == 2):
        return _decoded(*_grey(page.read()[..., 0], page), orientation)
    try:
        file = _Tiff(BytesIO(data))
    except Exception as error:
        if not page.can_read():
            if "unknown" in str(error) or not page.knows_compression or page.samples > 4:
                raise _not_supported(page) from error
            raise
        return _decoded(*_colour(page), orientation)
    _check_codec(page)
    if page.is_grey and page.kind not in ("", "u1"):
        if page.order == ">" and page.kind != "u2":  # Pillow leaves what libtiff has swapped
            raise _not_supported(page)
        return _decoded(*_grey(np.asarray(file), page), orientation)
    return _decoded(*loaded(file, max_pixels), orientation)


def _is_beyond_pillow(page: Page) -> bool:
    """Whether Pillow would take planes of colour for something else, or names no layout.

    It reads plain planes as bytes, whatever their width.
    """
    if page.is_grey or page.samples == 1:
        return False
    apart = page.get(PLANAR, 1) == 2
    wide = page.compression == NONE and page.kind != "u1"
    return page.samples > _MOST_SAMPLES or (apart and (wide or page.samples > 4))


def tiff_size(data: bytes) -> tuple[int, int]:
    """Width and height of the first page; 0 where they cannot be told."""
    page = Page.of(data)
    return (0, 0) if page is None else (page.get(WIDTH, 0), page.get(HEIGHT, 0))


def _decoded(image: NDArray[np.uint8], mode: str, orientation: int) -> Decoded:
    return Decoded(oriented(image, orientation), orientation, mode)


def _not_supported(page: Page) -> ItemError:
    return ItemError(
        "decode", f"not supported: {page}; convert it to grey or RGB of 8 bits, or 16-bit grey"
    )


def _grey(values: NDArray[Any], page: Page) -> tuple[NDArray[np.uint8], str]:
    """Grey samples [H, W] as RGB, and the color_mode."""
    kind = page.kind
    top = _TOP.get(kind)
    if top is None:
        raise _not_supported(page)
    if page.get(INTERPRETATION, 0) == 0:
        values = top - values if kind[0] != "u" else np.subtract(top, values, dtype=values.dtype)
    image, note = grey_to_rgb(values, top)
    mode = "I;16B" if kind == "u2" and page.order == ">" else _MODES[kind]
    if page.samples == 2:
        mode = "LA" if kind == "u1" else f"{mode};alpha"
    return image, mode + note + (";animated" if page.has_more else "")


def _colour(page: Page) -> tuple[NDArray[np.uint8], str]:
    """RGB or grey of 8 or 16 bits that Pillow does not open, and the color_mode."""
    values = page.read()
    if page.is_grey:
        return _grey(values[..., 0], page)
    mode = ("RGBA" if page.samples == 4 else "RGB") + (";16" if page.kind == "u2" else "")
    mode += ";animated" if page.has_more else ""
    if page.kind == "u2":  # the high byte, as Pillow does
        return (values[..., :3] >> 8).astype(np.uint8), mode
    if page.kind != "u1":
        raise _not_supported(page)
    return values[..., :3], mode


def _check_codec(page: Page) -> None:
    """Raise ItemError ``decode`` for damage that libtiff lets pass."""
    if page.compression in DEFLATE:
        # libtiff stops at the last pixel, before the checksum
        for *_, stored in page.segments():
            check_inflates(stored)
    elif page.compression == LZW:
        for *_, stored in page.segments():
            if _LZW_ZEROS in stored:
                raise damaged("a strip or tile holds zeros in the place of LZW codes")
    elif page.compression == JPEG:
        tables = bytes(page.all(JPEG_TABLES))
        for *_, stored in page.segments():
            _check_jpeg(tables[:-2] + stored[2:] if tables else stored)


def _check_jpeg(data: bytes) -> None:
    """Raise ItemError ``decode`` at what a strict decoder remarks on; libtiff ignores it."""
    try:
        simplejpeg.decode_jpeg(data, "GRAY")
    except ValueError as error:
        if not any(word in str(error) for word in ("subsampling", "color")):  # unusual, not damaged
            raise damaged(str(error)) from error


@functools.cache
def _silence_libtiff() -> None:
    """Keep libtiff's remarks off stderr; where its handler is not found they stay."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


class _Tiff(TiffImageFile):
    """Without Pillow's limit on pixels, which is a global (ours was checked before), and upright.

    Pillow turns the picture by whatever equals 1…8, text and fractions not excepted.
    """

    def _setup(self) -> None:
        super()._setup()
        self._size = self._tile_size

    def load_prepare(self) -> None:
        if self._im is None:
            self.im = Image.new(self.mode, self._tile_size).im
        ImageFile.ImageFile.load_prepare(self)

    def load_end(self) -> None:
        """Leave the picture as it is stored."""
