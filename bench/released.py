"""The scoring loop of the released DEAL code, written anew: PyTorch eager, DataLoader, NumPy.

It does what https://github.com/Shuai-Xie/DEAL does to rank a pool (commit 00a2779), repaired where
that does not run: Pillow reads and resizes, worker processes normalise in float32, the network's
logits are upsampled to the raster, the probability attention module holds its N×N matrix,
probabilities and difficulty go to NumPy as whole maps and are scored image by image. It reads no
label files, which the released loop does for every unlabeled image and then ignores: that favours
this peer.
"""

from __future__ import annotations

import multiprocessing
import pickle
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, Dataset

from deal.training.difficulty import WithDifficulty

__all__ = ["BATCH", "LEVELS", "WORKERS", "ReleasedLoop", "ReleasedNetwork", "released_scores"]

BATCH = 8
WORKERS = 4
LEVELS = 8
"""What the released code sets: images a batch, loader processes, difficulty levels on CamVid."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_SKIPPED_GAMMA = -0.01


class ReleasedNetwork(nn.Module):
    """A network of this project run as the released model runs: whole maps on the raster.

    Parameters
    ----------
    trained : WithDifficulty
        Around a ``DeepLab``, which normalises RGB in 0…255 itself; this one takes images as the
        released loader normalises them.
    """

    def __init__(self, trained: WithDifficulty) -> None:
        super().__init__()
        self.network: Any = trained.module
        self.branch = trained.difficulty

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Map normalised [B,3,H,W] to logits [B,C,H,W] and difficulty [B,1,H,W] in 0…1."""
        size = image.shape[-2:]
        low, high = self.network.backbone(image)
        z = self.network.decoder(low, self.network.aspp(high))
        a = self._attention(_resized(z, self.branch.grid or z.shape[-2:]))
        return _resized(z, size), torch.sigmoid(_resized(a, size))

    def _attention(self, z: Tensor) -> Tensor:
        """Difficulty before the sigmoid [B,1,h,w], by the N×N matrix of all pairs of cells."""
        p = z.softmax(dim=1)
        gamma = self.branch.gamma
        out = p
        if gamma >= _SKIPPED_GAMMA:
            values = p.flatten(2)  # [B,C,N]
            pairs = torch.bmm(values.transpose(1, 2), values).softmax(dim=-1)  # [B,N,N]
            out = gamma * torch.bmm(values, pairs.transpose(1, 2)).view_as(p) + p
        weight = self.branch.weight.view(1, -1, 1, 1)
        return F.conv2d(out, weight, self.branch.bias.view(1))


def _resized(x: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)


class _Images(Dataset[Tensor]):
    def __init__(self, paths: Sequence[Path], size: tuple[int, int]) -> None:
        self._paths, self._size = paths, size

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Tensor:
        with Image.open(self._paths[index]) as file:
            image = file.convert("RGB").resize(self._size[::-1], Image.Resampling.BILINEAR)
        values = np.array(image).astype(np.float32) / 255.0
        values -= MEAN
        values /= STD
        return torch.from_numpy(values.transpose(2, 0, 1)).float()


def released_scores(
    model: ReleasedNetwork,
    paths: Sequence[Path],
    size: tuple[int, int],
    acquisition: str = "ds",
    *,
    workers: int = WORKERS,
    device: str = "cpu",
) -> NDArray[np.float64]:
    """Score images as the released loop does, float64 [n].

    Parameters
    ----------
    model : ReleasedNetwork
        In evaluation mode, on the device.
    paths : sequence of Path
        Images that Pillow reads.
    size : (H, W)
        Images are resized to it.
    acquisition : ``ds`` (as released: no uncertainty), ``ds:entropy`` or ``de``
    workers : int
        Processes of the loader; the released code has 4 on any machine.
    device : str
        Where the network runs; its maps come back to the host, whole.
    """
    uncertainty = _UNCERTAINTIES.get(acquisition)
    scores: list[float] = []
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")  # it wants one a core
        loader = DataLoader(_Images(paths, size), batch_size=BATCH, num_workers=workers)
        for batch in loader:
            logits, difficulty = model(batch.to(device))
            maps = difficulty.cpu().numpy().squeeze(1)
            if uncertainty is None:
                scores += [_histogram_entropy(d) for d in maps]
            else:
                probabilities = np.transpose(logits.softmax(dim=1).cpu().numpy(), (0, 2, 3, 1))
                both = zip(probabilities, maps, strict=True)
                scores += [float(np.mean(uncertainty(p) * d)) for p, d in both]
    return np.array(scores)


def _entropy(p: NDArray[Any]) -> NDArray[Any]:
    entropy: NDArray[Any] = -np.nansum(np.multiply(p, np.log(p + 1e-12)), axis=-1)
    return entropy


def _histogram_entropy(difficulty: NDArray[Any]) -> float:
    counts, _ = np.histogram(difficulty, bins=LEVELS)
    share = counts / counts.sum()
    return float(-np.nansum(share * np.log(share + 1e-12)))


_UNCERTAINTIES: dict[str, Callable[[NDArray[Any]], Any]] = {
    "ds": lambda p: 1.0,
    "ds:entropy": _entropy,
}


class ReleasedLoop:
    """The released loop over the same images, in a process of its own that has its network ready.

    Its loader forks four processes. Where the forking process holds a decoded pool and other
    engines, the loop waits for copies of that memory.

    Parameters
    ----------
    trained : WithDifficulty
        Around a ``DeepLab``, in evaluation mode.
    paths : sequence of Path
        Images that Pillow reads.
    size : (H, W)
        Images are resized to it.

    Raises
    ------
    EOFError
        The process has died.
    """

    def __init__(
        self, trained: WithDifficulty, paths: Sequence[Path], size: tuple[int, int]
    ) -> None:
        network = ReleasedNetwork(trained).eval()
        # As bytes, since multiprocessing would share the tensors of a module with this process.
        state = pickle.dumps((network, tuple(paths), size, torch.get_num_threads()))
        context = multiprocessing.get_context("spawn")
        self._asks, end = context.Pipe()
        self._process = context.Process(target=_serve, args=(end, state))
        self._process.start()
        end.close()
        self._score(1)

    def __call__(self) -> NDArray[np.float64]:
        """``ds`` of the images, float64 [n]."""
        return self._score(None)

    def _score(self, images: int | None) -> NDArray[np.float64]:
        self._asks.send(images)
        scores: NDArray[np.float64] = self._asks.recv()
        return scores

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._asks.close()
        self._process.join()


def _serve(asked: Connection, state: bytes) -> None:
    """Score as many of the images as each message says, until the other end is closed."""
    network, paths, size, threads = pickle.loads(state)
    torch.set_num_threads(threads)
    with suppress(EOFError, BrokenPipeError):
        while True:
            images = asked.recv()
            asked.send(released_scores(network, paths[:images], size))
