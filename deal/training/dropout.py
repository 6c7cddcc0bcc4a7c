"""Run a network's dropout layers with masks that the caller gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from deal.errors import ModelError
from deal.model.dropout import DropoutLayer

__all__ = ["dropout_layers", "masked"]


def _modules(network: nn.Module) -> list[nn.Dropout]:
    return [m for m in network.modules() if isinstance(m, nn.Dropout) and m.p > 0]


def dropout_layers(network: nn.Module, side: int = 64) -> tuple[DropoutLayer, ...]:
    """Dropout layers of a network for RGB [B,3,H,W], in the order of its modules.

    Layers with p = 0 are left out. The network runs once, on ``side`` × ``side`` pixels, to find
    the number of channels of each layer.

    Raises
    ------
    ModelError
        A layer drops something other than feature maps [B,C,h,w], or never runs.
    """
    modules = _modules(network)
    channels: dict[nn.Module, int] = {}

    def note(module: nn.Module, _: Any, output: Tensor) -> None:
        if output.ndim != 4:
            raise ModelError(
                f"the network drops tensors of shape {list(output.shape)}, but masks need feature "
                "maps [B,C,h,w]: export it without dropout"
            )
        channels[module] = output.shape[1]

    handles = [module.register_forward_hook(note) for module in modules]
    was_training = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, side, side))
    finally:
        network.train(was_training)
        for handle in handles:
            handle.remove()
    if len(channels) < len(modules):
        raise ModelError(
            f"the network never runs {len(modules) - len(channels)} of its {len(modules)} dropout "
            "layers: give those p = 0, or export it without dropout"
        )
    return tuple(
        DropoutLayer(f"dropout_{index}", channels[module], module.p)
        for index, module in enumerate(modules)
    )


@contextmanager
def masked(network: nn.Module, masks: Sequence[Tensor]) -> Iterator[None]:
    """Multiply the output of each dropout layer by its mask [1,C,1,1]; nothing without masks."""
    handles = []
    if masks:
        for module, mask in zip(_modules(network), masks, strict=True):
            handles.append(
                module.register_forward_hook(lambda _, inputs, output, mask=mask: output * mask)
            )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
