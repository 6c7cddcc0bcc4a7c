"""Embeddings: the input of a network's classifier, averaged over the image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from deal.errors import ModelError

__all__ = ["classifier_name", "embedding_size", "pooled_input"]


def classifier_name(network: nn.Module, num_classes: int) -> str:
    """Name of a network's classifier: its last 1×1 convolution to ``num_classes`` channels.

    Raises
    ------
    ModelError
        There is no such convolution.
    """
    names: list[str] = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d)
        and module.kernel_size == (1, 1)
        and module.out_channels == num_classes
    ]
    if not names:
        raise ModelError(
            f"the network has no 1×1 convolution to {num_classes} classes to take the embedding "
            "from; name the module whose input should be averaged"
        )
    return names[-1]


def embedding_size(network: nn.Module, name: str, side: int = 64) -> int:
    """Find E by running a network for RGB [B,3,H,W] once, on ``side`` × ``side`` pixels.

    Raises
    ------
    ModelError
        There is no module of this name, it does not run exactly once, or its input is not
        [B,E,h,w].
    """
    if name not in dict(network.named_modules()):
        raise ModelError(
            f"the network has no module {name!r} to take the embedding from; named_modules() "
            "lists its modules"
        )
    was_training = network.training
    try:
        with torch.no_grad(), pooled_input(network, name) as pooled:
            network.eval()(torch.zeros(1, 3, side, side))
    finally:
        network.train(was_training)
    if len(pooled) != 1:
        raise ModelError(
            f"module {name!r} runs {len(pooled)} times per image; an embedding needs a module that "
            "runs once"
        )
    return int(pooled[0].shape[1])


@contextmanager
def pooled_input(network: nn.Module, name: str) -> Iterator[list[Tensor]]:
    """Collect the mean over the pixels, [B,E] float32, of each input of a module.

    Raises
    ------
    ModelError
        Raised while the network runs: the input is not a feature map [B,E,h,w].
    """
    pooled: list[Tensor] = []

    def note(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        x = inputs[0] if inputs else None
        if not isinstance(x, Tensor) or x.ndim != 4:
            raise ModelError(
                f"the input of module {name!r} is not a feature map [B,E,h,w], so it gives no "
                "embedding; name another"
            )
        pooled.append(x.float().mean(dim=(2, 3)))

    handle = network.get_submodule(name).register_forward_pre_hook(note)
    try:
        yield pooled
    finally:
        handle.remove()
