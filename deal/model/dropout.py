"""Reproducible masks for Monte-Carlo dropout.

Gal & Ghahramani, "Dropout as a Bayesian approximation", ICML 2016, run a network several times
with dropout left on. Here the graph takes the masks as inputs, one [1, C, 1, 1] per layer. Whole
channels are kept or dropped (spatial dropout, Tompson et al., CVPR 2015), the same ones for every
pixel, image and batch, so that each pass is one fixed network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["DropoutLayer", "Masks", "draw_masks", "keep_all"]

Masks = tuple[NDArray[np.float32], ...]
"""One mask per layer, float32 [1, C, 1, 1], in the order of the layers."""


@dataclass(frozen=True, slots=True)
class DropoutLayer:
    """A dropout layer whose mask is an input of the graph.

    Attributes
    ----------
    input : str
        Name of the graph's input, float32 [1, ``channels``, 1, 1].
    channels : int
    rate : float
        Probability that a channel is dropped, above 0 and below 1.
    """

    input: str
    channels: int
    rate: float


def keep_all(layers: Sequence[DropoutLayer]) -> Masks:
    """Masks of ones, with which the network is deterministic."""
    return tuple(np.ones((1, layer.channels, 1, 1), np.float32) for layer in layers)


def draw_masks(layers: Sequence[DropoutLayer], seed: int, index: int) -> Masks:
    """Masks of pass ``index``: 0 where a channel is dropped, else 1 / (1 − rate).

    Bits come from the counter-based generator Philox (Salmon et al., SC 2011), with ``seed`` as key
    and layer and pass as counter, so they are the same in every run, on every machine.
    """
    masks = []
    for number, layer in enumerate(layers):
        philox = np.random.Philox(key=seed, counter=[0, 0, number, index])
        kept = philox.random_raw(layer.channels) >= np.uint64(int(layer.rate * 2**64))
        scaled = np.where(kept, np.float32(1 / (1 - layer.rate)), np.float32(0))
        masks.append(scaled.reshape(1, -1, 1, 1))
    return tuple(masks)
