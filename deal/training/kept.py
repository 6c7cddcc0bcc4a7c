"""Features of a frozen encoder for whole splits: computed once, kept in files, read by any run."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deal.errors import OutputError
from deal.machine.files import replacing
from deal.training.data import Sample
from deal.training.networks import SegmentationNetwork

__all__ = ["KeptFeatures", "encoder_digest"]


def encoder_digest(network: SegmentationNetwork) -> str:
    """SHA-256 of what the features of an image depend on: weights, statistics, normalisation."""
    digest = hashlib.sha256()
    parts = (network.normalization.mean, network.normalization.std)
    for tensor in (*parts, *network.backbone.state_dict().values()):
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


class KeptFeatures:
    """Features of the images of one split, float16 in one file.

    Images are not augmented. The name of the file tells the encoder and the content of the images,
    so that any run, seed and experiment may share it, and none can take a wrong one.

    Parameters
    ----------
    network : SegmentationNetwork
        Its encoder is run in evaluation mode, on the CPU.
    samples : sequence of Sample, not empty
        Images of one size.
    folder : Path
        Where files lie.
    split : str
        Begins the name of the file.

    Attributes
    ----------
    path : Path
        The file, made by :meth:`compute`.
    shapes : tuple of (C, h, w)
        Of the features, the finest scale first.
    grid : (h, w)
        Size of the finest features, which is that of the logits.
    """

    def __init__(
        self, network: SegmentationNetwork, samples: Sequence[Sample], folder: Path, split: str
    ) -> None:
        self._network, self._samples, self._folder = network, samples, folder
        digest = hashlib.sha256(encoder_digest(network).encode())
        for sample in samples:
            digest.update(sample.image.tobytes())
        self.path = folder / f"{split}-{digest.hexdigest()[:20]}.npy"
        with torch.inference_mode():
            found = self._run(samples[0])
        self.shapes = tuple((each.shape[1], each.shape[2], each.shape[3]) for each in found)
        self.grid = self.shapes[0][1:]
        self._row = sum(int(np.prod(shape)) for shape in self.shapes)
        self._scales: list[NDArray[np.float16]] | None = None
        self._statistics: list[tuple[Tensor, Tensor]] | None = None

    def __len__(self) -> int:
        return len(self._samples)

    def compute(self, say: Callable[[str], None] = lambda text: None) -> None:
        """Make the file unless it is there; OutputError if it does not fit on the disk."""
        if not self.path.exists():
            needed = 2 * self._row * len(self)
            free = shutil.disk_usage(self._folder).free
            if needed > free:
                raise OutputError(
                    f"the features of {len(self)} images need {needed / 1e9:.1f} GB in "
                    f"{self._folder}, and {free / 1e9:.1f} GB are free: use another output, or "
                    "smaller images ([data] size)"
                )
            say(f"computing the features of {len(self)} images, {needed / 1e6:.0f} MB")
            with replacing(self.path, alone=True) as file, torch.inference_mode():
                header = {"descr": "<f2", "fortran_order": False, "shape": (len(self), self._row)}
                np.lib.format.write_array_header_1_0(file, header)
                for sample in self._samples:
                    for part in self._run(sample):
                        file.write(part[0].permute(1, 2, 0).half().contiguous().numpy().tobytes())

    def image(self, index: int) -> NDArray[np.uint8]:
        """An image, uint8 [H, W, 3]."""
        return self._samples[index].image

    def maps(self, images: Sequence[int]) -> tuple[Tensor, ...]:
        """Features of some images for a decoder: float32 [B, C, h, w] in channels-last layout."""
        return tuple(
            torch.from_numpy(scale[list(images)]).float().permute(0, 3, 1, 2)
            for scale in self._opened()
        )

    def columns(
        self, images: NDArray[np.int64], y: NDArray[np.int64], x: NDArray[np.int64]
    ) -> tuple[Tensor, ...]:
        """Features of n single cells of :attr:`grid`, for a decoder that works cell by cell.

        Coarser features are resized bilinearly, with aligned corners.

        Parameters
        ----------
        images, y, x : ndarray of int64 [n]

        Returns
        -------
        tuple of Tensor, float32 [1, C, n, 1] in channels-last layout
        """
        found = []
        for scale in self._opened():
            y0, y1, wy = _taps(y, self.grid[0], scale.shape[1])
            x0, x1, wx = _taps(x, self.grid[1], scale.shape[2])
            value = _cells(scale, images, y0, x0)
            if scale.shape[1:3] != self.grid:
                value = torch.lerp(value, _cells(scale, images, y0, x1), wx)
                below = torch.lerp(_cells(scale, images, y1, x0), _cells(scale, images, y1, x1), wx)
                value = torch.lerp(value, below, wy)
            found.append(value[None, :, None].permute(0, 3, 1, 2))
        return tuple(found)

    def statistics(self) -> list[tuple[Tensor, Tensor]]:
        """Mean and variance of every channel over all images, float32 [C], for each scale."""
        if self._statistics is None:
            self._statistics = self._measured()
        return self._statistics

    def label_at_cells(self, label: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The label [h, w] of every cell of :attr:`grid`, from a label [H, W] of any size."""
        rows, columns = (
            np.rint(np.arange(cells) * ((size - 1) / max(cells - 1, 1))).astype(np.int64)
            for cells, size in zip(self.grid, label.shape, strict=True)
        )
        cells: NDArray[np.uint8] = label[rows[:, None], columns]
        return cells

    def _measured(self) -> list[tuple[Tensor, Tensor]]:
        found = []
        for scale in self._opened():
            total = np.zeros(scale.shape[-1])
            squares = np.zeros(scale.shape[-1])
            for image in scale:
                values = image.reshape(-1, scale.shape[-1]).astype(np.float64)
                total += values.sum(axis=0)
                squares += (values**2).sum(axis=0)
            count = scale.size // scale.shape[-1]
            mean = total / count
            variance = np.maximum(squares / count - mean**2, 0)
            found.append((torch.tensor(mean).float(), torch.tensor(variance).float()))
        return found

    def _run(self, sample: Sample) -> tuple[Tensor, ...]:
        backbone = self._network.backbone.eval()
        image = torch.from_numpy(np.ascontiguousarray(sample.image)).permute(2, 0, 1)[None]
        found: tuple[Tensor, ...] = backbone(self._network.normalization(image))
        return found

    def _opened(self) -> list[NDArray[np.float16]]:
        if self._scales is None:
            rows = np.load(self.path, mmap_mode="r")
            self._scales, start = [], 0
            for channels, height, width in self.shapes:
                stop = start + channels * height * width
                self._scales.append(rows[:, start:stop].reshape(len(rows), height, width, channels))
                start = stop
        return self._scales


def _taps(
    at: NDArray[np.int64], fine: int, coarse: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], Tensor]:
    """The two coarse cells around a fine one, and the weight of the second, [n, 1]."""
    source = at * ((coarse - 1) / (fine - 1)) if fine > 1 else np.zeros(len(at))
    first = np.minimum(source.astype(np.int64), coarse - 1)
    weight = torch.from_numpy((source - first).astype(np.float32))[:, None]
    return first, np.minimum(first + 1, coarse - 1), weight


def _cells(
    scale: NDArray[np.float16],
    images: NDArray[np.int64],
    y: NDArray[np.int64],
    x: NDArray[np.int64],
) -> Tensor:
    return torch.from_numpy(scale[images, y, x]).float()
