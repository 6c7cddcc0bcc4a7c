"""What the decoders of all formats share: limits, orientation, and Pillow's modes as RGB."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFile

from deal.errors import ItemError

__all__ = [
    "DARK",
    "ORIENTATION_TAG",
    "STRAY",
    "check_size",
    "exif_orientation",
    "grey_to_rgb",
    "loaded",
    "oriented",
    "turned",
    "valid_orientation",
]

ORIENTATION_TAG = 0x0112
_STRIP = 2**22  # pixels that are converted at once

STRAY = ";extraneous-bytes"
"""At the end of the color_mode of a JPEG whose header held bytes that belong to nothing."""

DARK = ";below-4096"
"""At the end of the color_mode of grey that uses a sixteenth of its 16 bits, and so comes out dark.

Less than 8 bits of it (below 256) are not marked: such images are masks and labels.
"""


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise ItemError ``too_large`` for an image of more than ``max_pixels``."""
    if width * height > max_pixels:
        raise ItemError(
            "too_large",
            f"{width}×{height} pixels, more than {max_pixels}; --max-pixels allows more",
        )


def loaded(file: ImageFile.ImageFile, max_pixels: int) -> tuple[NDArray[np.uint8], str]:
    """Pixels as uint8 [H, W, 3] and the color_mode; ItemError ``too_large`` or ``decode``."""
    check_size(*file.size, max_pixels)
    mode = file.mode
    raw = file.tile[0].args if file.tile else ""
    raw = raw if isinstance(raw, str) else str(raw[0]) if raw else ""
    animated = getattr(file, "is_animated", False)
    file.load()
    note = ""
    if mode.startswith("I"):
        image, note = grey_to_rgb(np.asarray(file), 4095 if raw == "I;12" else 65535)
    elif mode == "F":
        image, note = grey_to_rgb(np.asarray(file), 1)
    else:
        # straight to RGB, Pillow would warn of transparency that a palette gives in bytes
        rgba = mode == "P" and "transparency" in file.info
        image = _as_rgb(file, "RGBA" if rgba else None)
    if ";16" in raw and not mode.startswith("I"):
        mode += ";16"
    return image, mode + note + (";animated" if animated else "")


def _as_rgb(file: ImageFile.ImageFile, between: str | None) -> NDArray[np.uint8]:
    """Pixels [H, W, 3] by strips: what Pillow hands out is a copy, and so is what it converts."""
    width, height = file.size
    image = np.empty((height, width, 3), np.uint8)
    for top, bottom in _strips(height, width):
        strip = file if bottom - top == height else file.crop((0, top, width, bottom))
        if between is not None:
            strip = strip.convert(between)
        image[top:bottom] = np.asarray(strip if strip.mode == "RGB" else strip.convert("RGB"))
    return image


def _strips(height: int, width: int) -> Iterator[tuple[int, int]]:
    rows = max(_STRIP // max(width, 1), 1)
    return ((top, min(top + rows, height)) for top in range(0, height, rows))


def grey_to_rgb(values: NDArray[Any], top: int) -> tuple[NDArray[np.uint8], str]:
    """Grey [H, W] of 0…``top`` as uint8 RGB, rounded, and what to add to the color_mode.

    Raises ItemError ``decode`` for values outside of that. Nobody knows whether 16-bit grey that
    stays below 4096 is dark or comes from 12 bits: it is scaled as any other and noted.
    """
    low, high = values.min(), values.max()
    if low != low or high != high:
        raise ItemError("decode", "grey values that are NaN; store the image with 8 or 16 bits")
    if not (low >= 0 and high <= top):
        raise ItemError(
            "decode", f"grey values {low}…{high} outside 0…{top}; store the image with 8 or 16 bits"
        )
    is_float = values.dtype.kind == "f"
    table = None if is_float else np.rint(np.arange(top + 1) * (255 / top)).astype(np.uint8)
    rgb = np.empty((*values.shape, 3), np.uint8)
    for start, end in _strips(*values.shape):  # NumPy makes indices of 8 bytes
        strip = values[start:end]
        grey = np.rint(strip * (255 / top)) if table is None else table[strip]
        rgb[start:end] = grey[..., np.newaxis]
    return rgb, DARK if top > 4095 and 255 < high < 4096 else ""


def oriented(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Apply an EXIF orientation (1…8) to [H, W, 3]; C-contiguous."""
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)


def turned(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """(H, W) after an EXIF orientation; its own inverse."""
    return size[::-1] if orientation >= 5 else size


def valid_orientation(value: object) -> int:
    """What a file calls its orientation, if it is one of 1…8; else 1, upright."""
    return value if type(value) is int and 1 <= value <= 8 else 1


def exif_orientation(exif: bytes) -> int:
    """Orientation in an EXIF block (TIFF structure), 1 when absent or malformed."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(exif[:2], "")
    try:
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (entries,) = struct.unpack_from(order + "H", exif, start)
        for entry in range(start + 2, start + 2 + 12 * entries, 12):
            tag, kind = struct.unpack_from(order + "HH", exif, entry)
            if order and tag == ORIENTATION_TAG:
                (value,) = struct.unpack_from(order + ("I" if kind == 4 else "H"), exif, entry + 8)
                return valid_orientation(value)
    except struct.error:
        pass
    return 1
