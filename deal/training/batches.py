"""Batches of augmented crops, made by the CPU, or on a GPU from samples in the GPU's memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from deal.training.augment import Augmentation, Span
from deal.training.data import Sample

__all__ = ["Batch", "BatchMaker", "DeviceBatches", "HostBatches", "batch_maker"]

_SHARE = 0.5  # largest share of a device's free memory for samples
_TINY = 1e-6  # below any sum of weights except those of rows outside the image
_NO_BLUR = 1e-3  # pixels; a Gaussian this narrow changes no pixel


class BatchMaker(Protocol):
    """Makes batches of the samples that it was opened with."""

    def __call__(self, indices: Sequence[int], seeds: Sequence[tuple[int, ...]]) -> Batch:
        """Make crops of the samples with these indices, each with its own random seed."""


Batch = tuple[Tensor, Tensor]
"""Images, uint8 [B, 3, h, w] in channels-last layout, and labels, int64 [B, h, w]."""


def batch_maker(
    samples: Sequence[Sample], augment: Augmentation, device: torch.device
) -> BatchMaker:
    """Return :class:`DeviceBatches` on CUDA, :class:`HostBatches` elsewhere."""
    if device.type == "cuda":
        return DeviceBatches(samples, augment, device)
    return HostBatches(samples, augment, device)


class HostBatches:
    """Makes crops with Pillow and sends them to the device."""

    def __init__(
        self, samples: Sequence[Sample], augment: Augmentation, device: torch.device
    ) -> None:
        self._samples, self._augment, self._device = samples, augment, device

    def __call__(self, indices: Sequence[int], seeds: Sequence[tuple[int, ...]]) -> Batch:
        """As :class:`BatchMaker` says."""
        crops = []
        for index, seed in zip(indices, seeds, strict=True):
            sample = self._samples[index]
            draw = self._augment.draw(sample, np.random.default_rng(seed))
            crops.append(self._augment.apply(sample, draw))
        images = torch.from_numpy(np.stack([image for image, _ in crops]))
        labels = torch.from_numpy(np.stack([label for _, label in crops]))
        # NHWC memory seen as NCHW is the channels-last layout of the network.
        return images.to(self._device).permute(0, 3, 1, 2), labels.to(self._device).long()


class DeviceBatches:
    """Makes the same crops on the device, for a whole batch at once.

    Zoom, crop, flip and blur act on rows and columns separately, so a crop is ``Y @ image @ Xᵀ``.
    Pixels differ from Pillow's because Pillow rounds between the steps and blurs by boxes; labels
    differ if a centre lies on the edge between two of their pixels. Samples are kept on the device
    if they fill at most half of its free memory.

    Parameters
    ----------
    samples : sequence of Sample
        Images of one size.
    augment : Augmentation
    device : torch.device
    """

    def __init__(
        self, samples: Sequence[Sample], augment: Augmentation, device: torch.device
    ) -> None:
        self._samples, self._augment, self._device = samples, augment, device
        largest = np.max([sample.label.shape for sample in samples], axis=0)
        labels = np.full((len(samples), *largest), augment.ignore_index, np.uint8)
        for whole, sample in zip(labels, samples, strict=True):
            height, width = sample.label.shape
            whole[:height, :width] = sample.label
        images = np.stack([sample.image for sample in samples])
        home = _home(images.nbytes + labels.nbytes, device)
        self._images = torch.from_numpy(images).to(home)
        self._labels = torch.from_numpy(labels).to(home)
        self._outside = torch.tensor(augment.outside, dtype=torch.float32, device=device)

    def __call__(self, indices: Sequence[int], seeds: Sequence[tuple[int, ...]]) -> Batch:
        """As :class:`BatchMaker` says."""
        samples = [self._samples[index] for index in indices]
        draws = [
            self._augment.draw(sample, np.random.default_rng(seed))
            for sample, seed in zip(samples, seeds, strict=True)
        ]
        # One copy for all random choices, since each copy costs a GPU as much as a small kernel.
        told = [
            (
                *_span(draw.y, False),
                sample.label.shape[0],
                *_span(draw.x, draw.mirrored),
                sample.label.shape[1],
                draw.radius,
                *draw.color,
            )
            for draw, sample in zip(draws, samples, strict=True)
        ]
        there = torch.tensor(told, dtype=torch.float64).to(self._device)
        y_told, x_told, radius, color = torch.split(there, [6, 6, 1, 3], dim=1)
        height, width = self._images.shape[1:3]
        y = _Axis(y_told, self._augment.crop[0], height)
        x = _Axis(x_told, self._augment.crop[1], width)
        chosen = torch.as_tensor(indices, device=self._images.device)
        images = self._images[chosen].to(self._device)
        labels = self._labels[chosen].to(self._device)
        inside = y.inside[:, :, None] & x.inside[:, None, :]
        pixels = self._pixels(images, y, x, inside, radius.float(), color.float())
        batch = torch.arange(len(indices), device=self._device)
        found = labels[batch[:, None, None], y.nearest[:, :, None], x.nearest[:, None, :]]
        return pixels, found.masked_fill(~inside, self._augment.ignore_index).long()

    def _pixels(
        self, images: Tensor, y: _Axis, x: _Axis, inside: Tensor, radius: Tensor, color: Tensor
    ) -> Tensor:
        rows, columns = y.weights(radius)[:, None], x.weights(radius)[:, None].mT
        values = rows @ (images.permute(0, 3, 1, 2).float() @ columns)
        inside = inside[:, None]
        if self._augment.color_jitter:
            brightness, contrast, saturation = torch.split(color[..., None, None], 1, dim=1)
            values = values * brightness
            grey = values.mean(dim=1, keepdim=True)
            values = grey + (values - grey) * saturation
            area = inside.sum(dim=(2, 3), keepdim=True)
            mean = (grey * inside).sum(dim=(2, 3), keepdim=True) / area
            values = mean + (values - mean) * contrast
        values = torch.where(inside, values, self._outside[:, None, None])
        crops = (values + 0.5).clamp_(0, 255).to(torch.uint8)
        return crops.contiguous(memory_format=torch.channels_last)


def _span(span: Span, mirrored: bool) -> tuple[float, ...]:
    """The numbers of a span that :class:`_Axis` needs, without the size of the label."""
    scale = (span.stop - span.start) / span.length
    return span.start, scale, span.offset, span.length, float(mirrored)


class _Axis:
    """One axis of a batch: the part of each image that is shown, and its place in the crop.

    Attributes
    ----------
    inside : Tensor of bool [B, crop]
        Whether a pixel of the crop shows the image.
    nearest : Tensor of int64 [B, crop]
        Pixel of the label at each pixel of the crop.
    """

    def __init__(self, told: Tensor, crop: int, size: int) -> None:
        start, self._scale, offset, length, mirrored, label = torch.split(told, 1, dim=1)
        places = torch.arange(crop, device=told.device)
        steps = torch.where(mirrored > 0, crop - 1 - places, places) - offset
        self.inside = (steps >= 0) & (steps < length)
        # Position in the image of the centre of each pixel of the crop.
        self._centers = start + (steps + 0.5) * self._scale
        nearest = (self._centers * (label / size)).floor()
        self.nearest = nearest.clamp(min=0).minimum(label - 1).long()
        self._size = size

    def weights(self, radius: Tensor) -> Tensor:
        """Weight of every pixel of the image in every pixel of the crop: float32 [B, crop, size].

        The filter is a triangle as wide as the reduction, as in Pillow, followed by a Gaussian of
        ``radius`` [B, 1] pixels of the crop. Rows outside the image are 0.
        """
        pixels = torch.arange(self._size, device=radius.device) + 0.5
        distance = (pixels - self._centers[:, :, None]) / self._scale[:, :, None].clamp(min=1)
        shares = self._normalized((1 - distance.abs()).clamp(min=0).float())
        places = torch.arange(self.inside.shape[1], device=radius.device)
        steps = (places[:, None] - places) / radius.clamp(min=_NO_BLUR)[:, :, None]
        blur: Tensor = (-0.5 * steps.square()).exp()
        return self._normalized(blur @ shares)

    def _normalized(self, weights: Tensor) -> Tensor:
        sums = weights.sum(dim=2, keepdim=True)
        return weights * (self.inside[:, :, None] / sums.clamp(min=_TINY))


def _home(size: int, device: torch.device) -> torch.device:
    """The place for ``size`` bytes of samples: the device if it has enough memory, else the CPU."""
    if device.type != "cuda":
        return device
    free, _ = torch.cuda.mem_get_info(device)
    return device if size <= _SHARE * free else torch.device("cpu")
