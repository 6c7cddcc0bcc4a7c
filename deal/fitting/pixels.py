"""Maps on a network's grid → values at raster pixels; class and uncertainty of each pixel.

Maps are resized as PyTorch's bilinear ``interpolate`` does it, in float32, and in bands of rows, so
that the probabilities of a large image are never in memory all at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PixelScores", "bands", "pixel_scores", "resize", "sample", "softmax"]

Float = NDArray[np.float32]
Size = tuple[int, int]

_BAND_VALUES = 1 << 20


@dataclass(frozen=True)
class PixelScores:
    """Class and uncertainties of some pixels; arrays of one shape.

    Attributes
    ----------
    predicted : ndarray of int64
        The class with the largest logit; the lowest class if several are equal.
    entropy : ndarray of float32
        In 0…1: nats divided by ln C.
    margin, least_confidence : ndarray of float32
        ``1 − (P₁ − P₂)`` and ``1 − P₁``.
    """

    predicted: NDArray[np.int64]
    entropy: Float
    margin: Float
    least_confidence: Float


def _taps(n_in: int, n_out: int, align_corners: bool) -> tuple[Any, Any, Float]:
    """Source cells of each output and the weight of the second."""
    i = np.arange(n_out, dtype=np.float64)
    if align_corners:
        source = i * ((n_in - 1) / (n_out - 1)) if n_out > 1 else np.zeros(1)
    else:
        source = np.maximum((i + 0.5) * (n_in / n_out) - 0.5, 0.0)
    first = np.minimum(source.astype(np.int64), n_in - 1)
    return first, np.minimum(first + 1, n_in - 1), (source - first).astype(np.float32)


def resize(maps: Float, size: Size, align_corners: bool, rows: slice = slice(None)) -> Float:
    """Resize float32 [K, h, w] to [K, H, W], or to some rows of it."""
    y0, y1, wy = (tap[rows] for tap in _taps(maps.shape[1], size[0], align_corners))
    top, bottom = maps[:, y0], maps[:, y1]
    lines = top + wy[:, None] * (bottom - top)
    x0, x1, wx = _taps(maps.shape[2], size[1], align_corners)
    left, right = np.take(lines, x0, axis=2), np.take(lines, x1, axis=2)
    right -= left
    right *= wx
    right += left
    return np.asarray(right)


def sample(maps: Float, pixels: NDArray[np.int64], size: Size, align_corners: bool) -> Float:
    """Values of float32 [K, h, w] at raster pixels.

    Parameters
    ----------
    maps : ndarray of float32 [K, h, w]
    pixels : ndarray of int64 [n]
        Row-major indices into the raster.
    size : (H, W) of the raster
    align_corners : bool

    Returns
    -------
    ndarray of float32 [n, K]
    """
    y, x = np.divmod(pixels, size[1])
    y0, y1, wy = (tap[y] for tap in _taps(maps.shape[1], size[0], align_corners))
    x0, x1, wx = (tap[x] for tap in _taps(maps.shape[2], size[1], align_corners))
    top = maps[:, y0, x0] + wx * (maps[:, y0, x1] - maps[:, y0, x0])
    bottom = maps[:, y1, x0] + wx * (maps[:, y1, x1] - maps[:, y1, x0])
    return np.ascontiguousarray((top + wy * (bottom - top)).T)


def softmax(logits: Float) -> Float:
    """Softmax over axis 0 of [C, ...]."""
    powers = np.exp(logits - logits.max(axis=0))
    return np.asarray(powers / powers.sum(axis=0))


def bands(channels: int, size: Size) -> Iterator[slice]:
    """Rows of a raster in bands whose [channels, rows, W] stay within the caches."""
    step = max(1, _BAND_VALUES // (channels * size[1]))
    for start in range(0, size[0], step):
        yield slice(start, min(start + step, size[0]))


def pixel_scores(logits: Float) -> PixelScores:
    """Predicted class and uncertainties of float32 logits [C, ...], C at least 2; overwrites them.

    The sums leave out the largest term, so that values near 0 keep their digits.
    """
    predicted = logits.argmax(axis=0)
    where = predicted[None]
    logits -= np.take_along_axis(logits, where, axis=0)
    powers = np.exp(logits)
    np.put_along_axis(powers, where, 0, axis=0)
    rest = powers.sum(axis=0)
    total = 1 + rest
    second = powers.max(axis=0)
    logits *= powers
    entropy = np.log1p(rest) - logits.sum(axis=0) / total
    return PixelScores(
        predicted,
        entropy / np.float32(np.log(len(logits))),
        (rest + second) / total,
        rest / total,
    )
