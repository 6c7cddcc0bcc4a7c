"""Features of an encoder's frozen stages, computed once and kept for every epoch."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deal.errors import OutputError
from deal.training.batches import BatchMaker
from deal.training.difficulty import WithDifficulty
from deal.training.networks import SegmentationNetwork

__all__ = ["FeatureBatches", "OnFeatures"]


class OnFeatures(nn.Module):
    """The part of a network behind its frozen stages.

    Parameters
    ----------
    module : WithDifficulty
        Around a :class:`SegmentationNetwork`.
    last : int
        The last frozen stage of its encoder.
    """

    def __init__(self, module: WithDifficulty, last: int) -> None:
        super().__init__()
        self.module, self._last = module, last
        assert isinstance(module.module, SegmentationNetwork)
        self._network = module.module

    def head_of(self, images: Tensor) -> tuple[Tensor, ...]:
        """Run the frozen stages: their output, and the features before it; no gradients."""
        with torch.no_grad():
            x, found = self._network.backbone.upto(self._last, self._network.normalization(images))
        return (x, *(feature for feature in found if feature is not x))

    def forward(self, kept: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Logits and difficulty from what :meth:`head_of` has returned."""
        x, *found = kept
        if self._last in self._network.backbone.taps:
            found.append(x)
        features = self._network.backbone.onwards(self._last + 1, x, tuple(found))
        logits = self._network.decode(features)
        return logits, self.module.difficulty(logits)


class FeatureBatches:
    """Makes batches of features and labels; each variant of an image is computed once.

    Features are float16 in a file without a name, which vanishes with the process. They are
    computed image by image, so that a run which continues after a kill gets the same bits.

    Parameters
    ----------
    make : BatchMaker
        Makes the images.
    network : OnFeatures
    images : int
        Number of images.
    variants : int
        Different augmentations of each image.
    folder : Path
        Where the file lies.
    autocast : bool
        Whether the frozen stages run in bfloat16.

    Raises
    ------
    OutputError
        Raised by the first call: the file does not fit on the disk.
    """

    def __init__(
        self,
        make: BatchMaker,
        network: OnFeatures,
        *,
        images: int,
        variants: int,
        folder: Path,
        autocast: bool,
    ) -> None:
        self._make, self._network = make, network
        self._room = images * variants
        self._folder, self._autocast = folder, autocast
        self._slots: dict[tuple[int, ...], int] = {}
        self._shapes: list[torch.Size] = []
        self._features: NDArray[np.float16] | None = None
        self._labels: NDArray[np.uint8] | None = None

    def __call__(
        self, indices: Sequence[int], seeds: Sequence[tuple[int, ...]]
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Features and labels of these images, each augmented by its own seed."""
        slots = [self._slot(index, seed) for index, seed in zip(indices, seeds, strict=True)]
        assert self._features is not None
        assert self._labels is not None
        device = next(self._network.parameters()).device
        rows = torch.from_numpy(self._features[slots]).to(device).float()
        sizes = [shape.numel() for shape in self._shapes]
        features = tuple(
            part.view(len(slots), *shape).contiguous(memory_format=torch.channels_last)
            for part, shape in zip(torch.split(rows, sizes, dim=1), self._shapes, strict=True)
        )
        return features, torch.from_numpy(self._labels[slots]).to(device).long()

    def _slot(self, index: int, seed: tuple[int, ...]) -> int:
        known = self._slots.get((index, *seed))
        if known is not None:
            return known
        images, labels = self._make([index], [seed])
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self._autocast):
            parts = [part[0].half().cpu() for part in self._network.head_of(images)]
        if self._features is None:
            self._open(parts, labels[0])
        assert self._features is not None
        assert self._labels is not None
        slot = self._slots[(index, *seed)] = len(self._slots)
        self._features[slot] = np.concatenate([part.numpy().ravel() for part in parts])
        self._labels[slot] = labels[0].cpu().numpy()
        return slot

    def _open(self, parts: Sequence[Tensor], label: Tensor) -> None:
        self._shapes = [part.shape for part in parts]
        row = sum(part.numel() for part in parts)
        needed = self._room * (2 * row + label.numel())
        free = shutil.disk_usage(self._folder).free
        if needed > free:
            raise OutputError(
                f"the cache of features needs {needed / 1e9:.1f} GB in {self._folder}, and "
                f"{free / 1e9:.1f} GB are free: keep fewer variants per image, or use a larger disk"
            )
        with tempfile.TemporaryFile(dir=self._folder) as file:
            self._features = np.memmap(file, np.float16, "w+", shape=(self._room, row))
        with tempfile.TemporaryFile(dir=self._folder) as file:
            self._labels = np.memmap(file, np.uint8, "w+", shape=(self._room, *label.shape))
