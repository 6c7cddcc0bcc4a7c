"""Fit a decoder on single labeled cells of kept features, without running the encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F  # noqa: N812

from deal.errors import DealError
from deal.training.config import TrainConfig
from deal.training.decoders import MlpDecoder
from deal.training.difficulty import WithDifficulty
from deal.training.kept import KeptFeatures
from deal.training.networks import SegmentationNetwork
from deal.training.preparation import balanced_weights, build_optimizer, poly_factor

__all__ = ["LabeledCells", "fit_decoder", "labeled_cells"]

_CELLS = 5  # this stream of random numbers is independent of those of the loop


@dataclass(frozen=True, slots=True)
class LabeledCells:
    """Cells of the finest features that have a label; four arrays of one length."""

    images: NDArray[np.int64]
    y: NDArray[np.int64]
    x: NDArray[np.int64]
    labels: NDArray[np.int64]


def labeled_cells(
    features: KeptFeatures,
    images: Sequence[int],
    labels: Sequence[NDArray[np.uint8]],
    ignore_index: int,
) -> LabeledCells:
    """Find the labeled cells of some images.

    Parameters
    ----------
    features : KeptFeatures
    images : sequence of int
        Indices into ``features``.
    labels : sequence of ndarray of uint8 [H, W]
        The label of each of the images; each cell takes the label at its place.
    ignore_index : int
    """
    parts: list[tuple[NDArray[np.int64], ...]] = []
    for index, label in zip(images, labels, strict=True):
        at = features.label_at_cells(label)
        y, x = np.nonzero(at != ignore_index)
        parts.append((np.full(len(y), index), y, x, at[y, x].astype(np.int64)))
    return LabeledCells(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def fit_decoder(
    config: TrainConfig,
    module: WithDifficulty,
    features: KeptFeatures,
    cells: LabeledCells,
    *,
    steps: int,
    pixels: int,
    say: Callable[[str], None],
) -> None:
    """Fit an :class:`MlpDecoder` by cross entropy on cells that are drawn at random.

    The decoder's inputs are standardised by the statistics of all images in ``features``, labeled
    or not. Everything else of the module stays as it is.

    Parameters
    ----------
    config : TrainConfig
        Optimizer, learning rate, warm-up, class weights and seed.
    module : WithDifficulty
        Around a :class:`SegmentationNetwork` with such a decoder.
    features : KeptFeatures
    cells : LabeledCells
    steps : int
    pixels : int
        Cells per step, drawn with replacement.
    say : callable
        Gets the mean loss of every quarter.

    Raises
    ------
    DealError
        No cell is labeled, or the loss is no longer finite.
    """
    network = module.module
    assert isinstance(network, SegmentationNetwork)
    decoder = network.decoder
    assert isinstance(decoder, MlpDecoder)
    if not len(cells.labels):
        raise DealError("no labeled pixel lies at a cell of the features: label larger regions")
    for norm, (mean, variance) in zip(decoder.norms, features.statistics(), strict=True):
        norm.running_mean, norm.running_var = mean.clone(), variance.clone()
    module.train()
    network.backbone.eval()
    decoder.norms.eval()
    weights = None
    if config.class_balance:
        counts = np.bincount(cells.labels, minlength=module.num_classes)
        weights = balanced_weights(counts)
    optimizer = build_optimizer(config, module)
    quarter, total = max(1, steps // 4), 0.0
    for step in range(steps):
        rng = np.random.default_rng((config.seed, _CELLS, step))
        drawn = rng.integers(len(cells.labels), size=pixels)
        columns = features.columns(cells.images[drawn], cells.y[drawn], cells.x[drawn])
        factor = poly_factor(step, steps, config.warmup)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        logits = decoder(columns)[0, :, :, 0].T
        loss = F.cross_entropy(logits, torch.from_numpy(cells.labels[drawn]), weight=weights)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        total += float(loss.detach())
        if (step + 1) % quarter == 0:
            if not np.isfinite(total):
                raise DealError(f"the loss is not finite at step {step + 1}: lower lr")
            say(f"step {step + 1}/{steps}: loss {total / quarter:.3f}")
            total = 0.0
    module.eval()
