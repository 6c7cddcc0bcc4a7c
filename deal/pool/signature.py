"""Signatures: thumbnails of 12×16 grey levels, which tell whether two images show the same.

A signature is taken from the decoded, upright image, before a model resizes, boxes or crops it. So
it does not depend on the model, and all of it is integer arithmetic: the same pixels give the same
192 bytes everywhere. A JPEG that is decoded at 1/2, 1/4 or 1/8 of its size has other pixels, and
so a signature that may be off by a grey level or two; within one output every image is decoded
alike, since its fingerprint says how.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from deal import _native

__all__ = [
    "BYTES",
    "MOST_LEVELS",
    "SHAPE",
    "Thumbnail",
    "centred",
    "difference",
    "distance",
    "limit_of",
    "thumbnail",
]

SHAPE = (12, 16)
"""Rows and columns of a thumbnail."""
BYTES = SHAPE[0] * SHAPE[1]
"""Length of a signature: the pixels of a thumbnail, row by row."""
MOST_LEVELS = 255
"""No two thumbnails differ by more grey levels."""

Thumbnail = NDArray[np.uint8]


def thumbnail(image: NDArray[np.uint8]) -> Thumbnail:
    """Rounded mean grey of 12×16 areas of an image [H, W, 3], uint8 [12, 16].

    Area (i, j) has the rows from ⌊i·H/12⌋ to ⌊(i+1)·H/12⌋ and the columns from ⌊j·W/16⌋ to
    ⌊(j+1)·W/16⌋, and at least one of each; of more than 32 rows, 32 that are spread evenly count.
    It is ``deal_thumbnail`` of the C library.
    """
    return _native.thumbnail(image)


def difference(a: Thumbnail, b: Thumbnail) -> float:
    """Mean absolute difference of two thumbnails in grey levels, after subtracting their means.

    So a mere change of exposure counts little.
    """
    return distance(a, b) / BYTES**2


def distance(a: Thumbnail, b: Thumbnail) -> int:
    """`difference` in whole numbers: Σ|192·(aᵢ − bᵢ) − Σ(a − b)|, that is 192² per grey level."""
    return int(np.abs(centred(a.reshape(1, -1)) - centred(b.reshape(1, -1))).sum())


def centred(signatures: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Signatures uint8 [n, 192] without their means, times 192: int32 [n, 192].

    The L1 distance of two rows is `distance`.
    """
    wide = signatures.astype(np.int32)
    return np.asarray(BYTES * wide - wide.sum(axis=1, keepdims=True, dtype=np.int32))


def limit_of(levels: float | Fraction) -> int:
    """The greatest `distance` of two thumbnails that differ by at most so many grey levels."""
    return math.floor(Fraction(levels) * BYTES**2)
