"""Brush masks of Label Studio: runs of RGBA values in a stream of bits (thi.ng/rle-pack).

A stream is the number of values (32 bits), the bits of a value less 1 (5), four sizes less 1 (4
each), and records: 1 bit that tells a repeated value from single ones, 2 bits that choose the size,
the number of values less 1 in that size, and the value or values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["brush_of", "from_brush"]

_SIZES = (3, 4, 8, 16)
_LONGEST = 1 << _SIZES[-1]
_INSIDE = 128  # alpha from which on Label Studio's own exports count a pixel


def brush_of(mask: NDArray[np.bool_]) -> list[int]:
    """The bytes of a mask, bool [H, W]: 255 in all four channels inside, 0 outside."""
    flat = mask.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate([[0], changes])
    lengths = 4 * np.diff(starts, append=flat.size)
    pieces = -(-lengths // _LONGEST)
    values = np.repeat(np.where(flat[starts], 255, 0), pieces)
    long = np.full(len(values), _LONGEST)
    long[np.cumsum(pieces) - 1] = lengths - (pieces - 1) * _LONGEST
    choice = np.searchsorted([1 << size for size in _SIZES[:-1]], long, side="left")
    widths = np.array(_SIZES)[choice]
    records = ((4 + choice) << widths | (long - 1)) << 8 | values
    header = [(flat.size * 4, 32), (7, 5), *((size - 1, 4) for size in _SIZES)]
    numbers = np.concatenate([[number for number, _ in header], records])
    widths = np.concatenate([[width for _, width in header], widths + 11])
    return np.packbits(_bits(numbers, widths)).tolist()


def from_brush(stream: Sequence[int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Invert :func:`brush_of`: the mask, bool [H, W], where alpha is 128 or more.

    Raises
    ------
    ValueError
        The stream is not bytes, is cut off, or holds another number of values than 4 × H × W.
    """
    bits = np.unpackbits(_bytes(stream))
    position = 0

    def read(width: int) -> int:
        nonlocal position
        taken = bits[position : position + width]
        position += width
        if len(taken) < width:
            raise ValueError("its brush is cut off")
        return int.from_bytes(np.packbits(taken).tobytes(), "big") >> (-width % 8)

    count = read(32)
    if count != 4 * size[0] * size[1]:
        raise ValueError(f"its brush has {count} values instead of 4x{size[1]}x{size[0]}")
    word = read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values = np.zeros(count, dtype=np.uint8)
    done = 0
    while done < count:
        repeated = read(1)
        number = read(sizes[read(2)]) + 1
        end = done + number
        if end > count:
            raise ValueError(f"its brush has more than {count} values")
        if repeated:
            values[done:end] = min(read(word), 255)
        else:
            taken = bits[position : position + word * number]
            position += word * number
            if len(taken) < word * number:
                raise ValueError("its brush is cut off")
            digits = 1 << np.arange(word - 1, -1, -1, dtype=np.int64)
            values[done:end] = np.minimum(taken.reshape(number, word) @ digits, 255)
        done = end
    inside: NDArray[np.bool_] = values.reshape(*size, 4)[:, :, 3] >= _INSIDE
    return inside


def _bytes(stream: Iterable[int]) -> NDArray[np.uint8]:
    listed = list(stream)
    if not all(type(value) is int and 0 <= value < 256 for value in listed):
        raise ValueError("its brush is not a list of bytes")
    return np.array(listed, dtype=np.uint8)


def _bits(numbers: NDArray[np.int64], widths: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The bits of numbers one after the other, each in its width, highest first."""
    ends = np.cumsum(widths)
    bits = np.zeros(int(ends[-1]), dtype=np.uint8)
    for width in np.unique(widths).tolist():
        chosen = widths == width
        places = (ends[chosen] - width)[:, None] + np.arange(width)
        bits[places] = (numbers[chosen][:, None] >> np.arange(width - 1, -1, -1)) & 1
    return bits
