"""One step of training, and what every training shares."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from deal.training.config import TrainConfig
from deal.training.losses import joint_loss
from deal.training.preparation import poly_factor

__all__ = ["ALIGN_CORNERS", "training_step"]

ALIGN_CORNERS = True  # as in the released code of DEAL


def training_step(
    config: TrainConfig,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    inputs: Tensor | tuple[Tensor, ...],
    labels: Tensor,
    *,
    progress: tuple[int, int],
    ignore_index: int,
    class_weights: Tensor | None,
) -> Tensor:
    """Set the learning rate, run the network forwards and backwards, and update the parameters.

    Parameters
    ----------
    config : TrainConfig
        Only ``precision``, ``alpha`` and ``warmup`` are used.
    module : Module
        A :class:`deal.training.difficulty.WithDifficulty`, compiled or not; or a
        :class:`deal.training.features.OnFeatures`.
    optimizer
    inputs : Tensor of uint8 [B, 3, H, W], channels last; or what ``module`` takes
    labels : Tensor of int64 [B, H, W]
    progress : (step, of)
        Step, counted from 0, and the number of steps; they set the learning rate by
        :func:`deal.training.preparation.poly_factor`.
    ignore_index : int
    class_weights : Tensor [C] or None

    Returns
    -------
    Tensor of float32 [3]
        The loss, its segmentation part and its difficulty part, on the device, without gradients.
    """
    factor = poly_factor(*progress, config.warmup)
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    with torch.autocast(labels.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        logits, difficulty = module(inputs)
    loss = joint_loss(
        logits,
        difficulty,
        labels,
        ignore_index=ignore_index,
        align_corners=ALIGN_CORNERS,
        alpha=config.alpha,
        class_weights=class_weights,
    )
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss.total)
    optimizer.step()
    return torch.stack([loss.total, loss.segmentation, loss.difficulty]).detach()
