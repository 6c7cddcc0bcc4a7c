"""Raw images of robot logs, by the names that ROS has for their encodings → RGB."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deal.errors import ItemError
from deal.types import Decoded

__all__ = ["demosaiced", "raw_image"]

# Channels, and where red, green and blue lie among them.
_PACKED = {
    "rgb8": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "8UC3": (3, (2, 1, 0)),  # as OpenCV has it
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
    "8UC4": (4, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)),
    "8UC1": (1, (0, 0, 0)),
}
_BAYER = ("bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8")
_GREY16 = ("mono16", "16UC1")


def raw_image(
    data: bytes,
    size: tuple[int, int],
    encoding: str,
    *,
    step: int,
    big_endian: bool,
    max_pixels: int,
) -> Decoded:
    """Decode a raw image.

    Parameters
    ----------
    data : bytes
    size : (H, W)
    encoding : str
        ``rgb8``, ``bgr8``, ``rgba8``, ``bgra8``, ``mono8``, ``mono16``, ``bayer_*8``, or OpenCV's
        names ``8UC1``, ``8UC3``, ``8UC4``, ``16UC1``.
    step : int
        Bytes from row to row.
    big_endian : bool
        Of 16-bit values.
    max_pixels : int

    Raises
    ------
    ItemError
        ``too_large``; ``decode``: another encoding, or too few bytes.
    """
    height, width = size
    if height < 1 or width < 1:
        raise ItemError("decode", f"the image has {width}×{height} pixels")
    if height * width > max_pixels:
        raise ItemError(
            "too_large",
            f"{width}×{height} pixels, more than {max_pixels}; --max-pixels allows more",
        )
    channels = _PACKED.get(encoding, (1,))[0]
    wide = 2 if encoding in _GREY16 else 1
    if encoding not in _PACKED and encoding not in _BAYER and encoding not in _GREY16:
        names = ", ".join((*_PACKED, *_BAYER, *_GREY16))
        raise ItemError("decode", f"the encoding {encoding!r} is not read, only {names}")
    row = width * channels * wide
    if step < row or len(data) < step * (height - 1) + row:
        raise ItemError(
            "decode",
            f"{len(data)} bytes in rows of {step} do not hold {width}×{height} pixels of "
            f"{encoding}",
        )
    values = np.frombuffer(data, np.uint8)
    rows = np.lib.stride_tricks.as_strided(values, (height, row), (step, 1), writeable=False)
    if encoding in _PACKED:
        places = _PACKED[encoding][1]
        image = rows.reshape(height, width, channels)[:, :, places]
        mode = "L" if channels == 1 else "RGBA" if channels == 4 else "RGB"
    elif encoding in _BAYER:
        image, mode = demosaiced(rows, encoding), encoding
    else:
        wide_rows = np.ascontiguousarray(rows).view(">u2" if big_endian else "<u2")
        grey = ((wide_rows.astype(np.uint32) + 128) // 257).astype(np.uint8)
        image, mode = np.repeat(grey[:, :, None], 3, axis=2), "I;16"
    return Decoded(np.ascontiguousarray(image), 1, mode)


def demosaiced(mosaic: NDArray[np.uint8], encoding: str) -> NDArray[np.uint8]:
    """RGB [H, W, 3] of a Bayer mosaic [H, W]: what is missing is the mean of its neighbours.

    ``encoding`` names the colours of the first two rows, such as ``bayer_rggb8``. Bilinear, in
    integers, rounded half up.
    """
    height, width = mosaic.shape
    order = encoding.removeprefix("bayer_")[:4]
    image = np.empty((height, width, 3), np.uint8)
    for channel, name in enumerate("rgb"):
        mask = np.zeros((height, width), np.uint16)
        for place, colour in enumerate(order):
            if colour == name:
                mask[place // 2 :: 2, place % 2 :: 2] = 1
        corner = 0 if name == "g" else 1  # greens have greens at their corners
        total = _weighted(mosaic * mask, corner)
        weight = _weighted(mask, corner)
        # A picture of one row or column may have no such pixel near.
        image[:, :, channel] = (2 * total + weight) // np.maximum(2 * weight, 1)
    return image


def _weighted(values: NDArray[np.uint16], corner: int) -> NDArray[np.uint16]:
    """Sums over 3×3 pixels with the weights 4, 2 beside and 1 at corners; without, 4 and 1."""
    height, width = values.shape
    padded = np.pad(values, 1)
    sums = 4 * values
    for down in (0, 1, 2):
        for right in (0, 1, 2):
            beside = (down == 1) + (right == 1)
            weight = (corner, 1 + corner, 0)[beside]
            if weight:
                sums = sums + weight * padded[down : down + height, right : right + width]
    return sums.astype(np.uint16)
