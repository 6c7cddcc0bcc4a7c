"""A colour and label canvas for synthetic scenes: convex shapes, haze, noise; NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Camera", "Canvas", "Color", "mix", "squared_uniform", "value_noise"]

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, CAR, PEDESTRIAN = range(9)

Color = tuple[float, float, float]
"""Red, green and blue in 0…1."""


@dataclass(frozen=True)
class Camera:
    """Pinhole camera above a flat road; x to the right, y down, z ahead, in metres.

    Attributes
    ----------
    focal : float
        Focal length in pixels.
    horizon, center : float
        Row and column of the vanishing point.
    height : float
        Height above the road, in metres.
    """

    focal: float
    horizon: float
    center: float
    height: float

    def column(self, x: float, z: float) -> float:
        """Image column of a point."""
        return self.center + x * self.focal / z

    def row(self, y: float, z: float) -> float:
        """Image row of a point ``y`` metres above the road."""
        return self.horizon + (self.height - y) * self.focal / z


def mix(first: Color, second: Color, share: float) -> Color:
    """Mix ``first`` with the share ``share`` of ``second``."""
    r, g, b = (a + (c - a) * share for a, c in zip(first, second, strict=True))
    return r, g, b


def squared_uniform(rng: np.random.Generator) -> float:
    """The square of a uniform number in 0…1: most are small, a few are near 1."""
    value = float(rng.random())
    return value * value  # pow() differs between C libraries in the last bit


def value_noise(rng: np.random.Generator, size: tuple[int, int], cell: int) -> NDArray[np.float32]:
    """Smooth noise in −1…1, [H, W], with features of about ``cell`` pixels."""
    height, width = size
    knots = rng.random((height // cell + 2, width // cell + 2), np.float32) * 2 - 1
    columns = np.arange(width, dtype=np.float32) / np.float32(cell)
    rows = np.arange(height, dtype=np.float32) / np.float32(cell)
    left, top = columns.astype(np.intp), rows.astype(np.intp)
    across = knots[:, left] + (knots[:, left + 1] - knots[:, left]) * (columns - left)
    down = (rows - top)[:, None].astype(np.float32)
    noise: NDArray[np.float32] = across[top] + (across[top + 1] - across[top]) * down
    return noise


class Canvas:
    """Pixels and labels that are painted from far to near.

    Parameters
    ----------
    size : (H, W)
    camera : Camera
    haze : Color
        Colour to which distant things fade.
    fog_distance : float
        Distance in metres at which a thing is half haze.
    rng : numpy Generator
        Generator for the grain of surfaces.

    Attributes
    ----------
    rgb : ndarray of float32 [H, W, 3]
    label : ndarray of uint8 [H, W]
    grain : ndarray of float32 [H, W]
        Surface texture in −1…1.
    """

    def __init__(
        self,
        size: tuple[int, int],
        camera: Camera,
        haze: Color,
        fog_distance: float,
        rng: np.random.Generator,
    ) -> None:
        self.size = size
        self.camera = camera
        self.haze = haze
        self.fog_distance = fog_distance
        self.rgb = np.zeros((*size, 3), np.float32)
        self.label = np.zeros(size, np.uint8)
        coarse = value_noise(rng, size, max(2, size[0] // 24))
        fine = rng.random(size, np.float32) * 2 - 1
        self.grain = ((coarse + fine) / 2).astype(np.float32, copy=False)
        self._rng = rng

    def faded(self, color: Color, z: float) -> Color:
        """``color`` as seen at a distance of ``z`` metres."""
        return mix(color, self.haze, z / (z + self.fog_distance))

    def rectangle(
        self, left: float, top: float, right: float, bottom: float, color: Color, label: int
    ) -> None:
        """Fill a rectangle; at least one pixel wide and high, clipped to the canvas."""
        x0, x1 = _interval(left, right, self.size[1])
        y0, y1 = _interval(top, bottom, self.size[0])
        self.rgb[y0:y1, x0:x1] = color
        self.label[y0:y1, x0:x1] = label

    def ellipse(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float,
        color: Color,
        label: int,
        *,
        ragged: float = 0,
    ) -> None:
        """Fill an ellipse; ``ragged`` roughens edge and colour, as of leaves."""
        x0, x1 = _interval(x - rx, x + rx, self.size[1])
        y0, y1 = _interval(y - ry, y + ry, self.size[0])
        dx = (np.arange(x0, x1, dtype=np.float32) + 0.5 - x) / max(rx, 0.5)
        dy = (np.arange(y0, y1, dtype=np.float32) + 0.5 - y) / max(ry, 0.5)
        distance = dx * dx + (dy * dy)[:, None]
        rgb, labels = self.rgb[y0:y1, x0:x1], self.label[y0:y1, x0:x1]
        if not ragged:
            inside = distance <= 1
            rgb[inside] = color
        else:
            grain = self.grain[y0:y1, x0:x1]
            inside = distance <= 1 + ragged * grain
            # Leaves are lit from above.
            light = (
                1
                + ragged * grain[inside]
                - 0.2 * np.broadcast_to(dy[:, None], inside.shape)[inside]
            )
            rgb[inside] = np.asarray(color, np.float32) * light[:, None]
        labels[inside] = label

    def polygon(self, points: Sequence[tuple[float, float]], color: Color, label: int) -> None:
        """Fill a convex polygon given by its corners (x, y) in either direction."""
        xs, ys = zip(*points, strict=True)
        x0, x1 = _interval(min(xs), max(xs), self.size[1])
        y0, y1 = _interval(min(ys), max(ys), self.size[0])
        px = np.arange(x0, x1, dtype=np.float32) + 0.5
        py = (np.arange(y0, y1, dtype=np.float32) + 0.5)[:, None]
        area = sum(
            a[0] * b[1] - b[0] * a[1] for a, b in zip(points, (*points[1:], points[0]), strict=True)
        )
        inside = np.ones((y1 - y0, x1 - x0), bool)
        for a, b in zip(points, (*points[1:], points[0]), strict=True):
            side = (b[0] - a[0]) * (py - a[1]) - (b[1] - a[1]) * (px - a[0])
            inside &= side >= 0 if area >= 0 else side <= 0
        self.rgb[y0:y1, x0:x1][inside] = color
        self.label[y0:y1, x0:x1][inside] = label

    def shadow(self, x: float, y: float, rx: float, ry: float, strength: float) -> None:
        """Darken an ellipse on the ground; labels stay."""
        x0, x1 = _interval(x - rx, x + rx, self.size[1])
        y0, y1 = _interval(y - ry, y + ry, self.size[0])
        dx = (np.arange(x0, x1, dtype=np.float32) + 0.5 - x) / max(rx, 0.5)
        dy = (np.arange(y0, y1, dtype=np.float32) + 0.5 - y) / max(ry, 0.5)
        depth = np.clip(1 - dx * dx - (dy * dy)[:, None], 0, 1) * np.float32(strength)
        self.rgb[y0:y1, x0:x1] *= (1 - depth)[:, :, None]

    def develop(self, exposure: float, tint: Color, noise: float, rain: float) -> NDArray[np.uint8]:
        """Turn the canvas into a photograph: grain, rain, optics, exposure, sensor noise.

        Parameters
        ----------
        exposure : float
            Brightness factor.
        tint : Color
            Factor per channel.
        noise : float
            Amplitude of the sensor noise in 0…255.
        rain : float
            Opacity of rain streaks.

        Returns
        -------
        ndarray of uint8 [H, W, 3]
        """
        rng = self._rng
        height, width = self.size
        picture = self.rgb * (1 + 0.07 * self.grain)[:, :, None]
        if rain:
            drops = rng.random((height // 8 + 1, width), np.float32) > 0.985
            streaks = np.repeat(drops, 8, axis=0)[:height].astype(np.float32) * np.float32(rain)
            picture += (np.float32(0.8) - picture) * streaks[:, :, None]
        # A lens never draws a one-pixel edge: (1 2 1)/4 both ways.
        for inner, before, after in (
            (picture[:, 1:-1], picture[:, :-2], picture[:, 2:]),
            (picture[1:-1], picture[:-2], picture[2:]),
        ):
            around = before + after
            around *= np.float32(0.25)
            inner *= np.float32(0.5)
            inner += around
        picture *= np.asarray(tint, np.float32) * np.float32(255 * exposure)
        picture += (rng.random(picture.shape, np.float32) - np.float32(0.5)) * np.float32(2 * noise)
        return np.clip(picture, 0, 255).astype(np.uint8)


def _interval(low: float, high: float, size: int) -> tuple[int, int]:
    """Pixels whose centre lies between two positions; at least one if any is on the canvas."""
    first = min(max(int(low + 0.5), 0), size)
    last = min(max(int(high + 0.5), 0), size)
    if first == last and first < size and high > 0 and low < size:
        last += 1
    return first, last
