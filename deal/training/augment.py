"""The paper's augmentations: flip, scaled crop, blur; and colour jitter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from deal.training.data import Sample

__all__ = ["Augmentation", "Draw", "Span"]


@dataclass(frozen=True)
class Span:
    """Source interval along one axis, in pixels of the image, and its place in the crop.

    Attributes
    ----------
    start, stop : float
    offset, length : int
        The interval is resized to ``length`` pixels of the crop, beginning at ``offset``.
    """

    start: float
    stop: float
    offset: int
    length: int

    @classmethod
    def draw(cls, size: int, zoom: float, crop: int, rng: np.random.Generator) -> Span:
        """Choose the part of a zoomed axis of ``size`` pixels that a crop shows, and its place."""
        zoomed = max(1, round(size * zoom))
        length = min(zoomed, crop)
        first = int(rng.integers(zoomed - length + 1))
        offset = int(rng.integers(crop - length + 1))
        ratio = size / zoomed
        return cls(first * ratio, min((first + length) * ratio, size), offset, length)


@dataclass(frozen=True)
class Draw:
    """The random choices for one sample.

    Attributes
    ----------
    y, x : Span
    radius : float
        Radius of the Gaussian blur, in pixels of the crop; 0 for no blur.
    color : (brightness, contrast, saturation)
        Factors; 1 changes nothing.
    mirrored : bool
    """

    y: Span
    x: Span
    radius: float
    color: tuple[float, ...]
    mirrored: bool


@dataclass(frozen=True)
class Augmentation:
    """Random flip, scale, crop, blur and colour.

    Attributes
    ----------
    crop : (h, w) of the result
    scale : (low, high)
        Uniform zoom relative to the sample's own image.
    blur : float
        Probability of a Gaussian blur with a radius of 0 to 1 pixel.
    color_jitter : float
        Brightness, contrast and saturation are multiplied by 1 ± up to this; 0 changes nothing.
    mean : (r, g, b) in 0…1
        Colour outside the image, if a zoomed image is smaller than the crop.
    ignore_index : int
        Label outside the image.
    """

    crop: tuple[int, int]
    scale: tuple[float, float]
    blur: float
    color_jitter: float
    mean: tuple[float, float, float]
    ignore_index: int

    def draw(self, sample: Sample, rng: np.random.Generator) -> Draw:
        """Choose at random what :meth:`apply` does to a sample."""
        height, width = sample.image.shape[:2]
        zoom = rng.uniform(*self.scale)
        x = Span.draw(width, zoom, self.crop[1], rng)
        y = Span.draw(height, zoom, self.crop[0], rng)
        radius = rng.random() if rng.random() < self.blur else 0.0
        color = rng.uniform(-1, 1, 3) * self.color_jitter + 1 if self.color_jitter else np.ones(3)
        return Draw(y, x, radius, tuple(color.tolist()), bool(rng.random() < 0.5))

    def apply(self, sample: Sample, draw: Draw) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Make the chosen crop: image [h, w, 3] and label [h, w]."""
        height, width = sample.image.shape[:2]
        x, y = draw.x, draw.y
        picture = Image.fromarray(sample.image).resize(
            (x.length, y.length),
            Image.Resampling.BILINEAR,
            box=(x.start, y.start, x.stop, y.stop),
        )
        # The label may have another size than the image the network gets.
        fx, fy = sample.label.shape[1] / width, sample.label.shape[0] / height
        target = Image.fromarray(sample.label).resize(
            (x.length, y.length),
            Image.Resampling.NEAREST,
            box=(x.start * fx, y.start * fy, x.stop * fx, y.stop * fy),
        )
        if draw.radius:
            picture = picture.filter(ImageFilter.GaussianBlur(draw.radius))
        pixels = np.asarray(picture)
        if self.color_jitter:
            pixels = _jitter(pixels, np.array(draw.color))
        image = np.empty((*self.crop, 3), np.uint8)
        image[:] = self.outside
        label = np.full(self.crop, self.ignore_index, np.uint8)
        where = np.s_[y.offset : y.offset + y.length, x.offset : x.offset + x.length]
        image[where] = pixels
        label[where] = np.asarray(target)
        if draw.mirrored:
            image, label = image[:, ::-1], label[:, ::-1]
        return image, label

    @property
    def outside(self) -> tuple[int, int, int]:
        """The colour outside the image."""
        r, g, b = (round(255 * channel) for channel in self.mean)
        return r, g, b


def _jitter(pixels: NDArray[np.uint8], factors: NDArray[np.float64]) -> NDArray[np.uint8]:
    brightness, contrast, saturation = factors.astype(np.float32)
    values = pixels.astype(np.float32) * brightness
    grey = values.mean(axis=2, keepdims=True)
    values = grey + (values - grey) * saturation
    mean = grey.mean()
    values = mean + (values - mean) * contrast
    jittered: NDArray[np.uint8] = np.clip(values + 0.5, 0, 255).astype(np.uint8)
    return jittered
