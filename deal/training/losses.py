"""Segmentation loss, error mask and the loss of the difficulty branch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

__all__ = ["Loss", "difficulty_loss", "error_mask", "joint_loss", "segmentation_loss"]


@dataclass(frozen=True)
class Loss:
    """``total = segmentation + alpha · difficulty``; scalars that carry gradients."""

    total: Tensor
    segmentation: Tensor
    difficulty: Tensor


def error_mask(logits: Tensor, labels: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Masks of the pixels whose prediction is wrong, and right.

    Parameters
    ----------
    logits : Tensor [B, C, H, W], at label size
    labels : Tensor of int64 [B, H, W]
    ignore_index : int
        Label of void pixels, which are neither right nor wrong.

    Returns
    -------
    wrong, right : Tensor of bool [B, H, W]
    """
    valid = labels != ignore_index
    # On the CPU `max` finds the index of the first maximum ten times as fast as `argmax`.
    equal = logits.max(dim=1).indices == labels
    return valid & ~equal, valid & equal


def segmentation_loss(
    logits: Tensor, labels: Tensor, ignore_index: int, class_weights: Tensor | None = None
) -> Tensor:
    """Mean cross entropy over pixels that are not void; 0 if all pixels are void.

    Parameters
    ----------
    logits : Tensor [B, C, H, W]
    labels : Tensor of int64 [B, H, W]
    ignore_index : int
    class_weights : Tensor [C], optional
        If given, the mean is weighted by the weight of each pixel's label.
    """
    total = F.cross_entropy(
        logits, labels, weight=class_weights, ignore_index=ignore_index, reduction="sum"
    )
    labeled = labels[labels != ignore_index]
    if labeled.numel() == 0:
        return total
    if class_weights is None:
        return total / labeled.numel()
    return total / class_weights[labeled].sum()


def difficulty_loss(difficulty: Tensor, wrong: Tensor, right: Tensor) -> Tensor:
    """Weighted binary cross entropy of difficulty against the error mask.

    Right and wrong pixels contribute one mean each. The weights of the two means are proportional
    to 1/√(n+1), where n is the number of such pixels in the batch, and sum to 1. Source: the
    released code of DEAL.

    Parameters
    ----------
    difficulty : Tensor [B, H, W]
        Difficulty before the sigmoid, at the size of the labels.
    wrong, right : Tensor of bool [B, H, W]
    """
    counts = torch.stack([wrong.sum(), right.sum()])
    weights = (counts + 1.0).rsqrt()
    weights = weights / weights.sum()
    # softplus(−a) = −log sigmoid(a) where the target is 1, softplus(a) where it is 0.
    sums = torch.stack(
        [
            (F.softplus(-difficulty) * wrong).sum(),
            (F.softplus(difficulty) * right).sum(),
        ]
    )
    return (weights * sums / counts.clamp(min=1)).sum()


def joint_loss(
    logits: Tensor,
    difficulty: Tensor,
    labels: Tensor,
    *,
    ignore_index: int,
    align_corners: bool,
    alpha: float = 1.0,
    class_weights: Tensor | None = None,
) -> Loss:
    """Compute ``L = L_seg + alpha · L_dif`` at label size; gradients of both reach the network.

    Parameters
    ----------
    logits : Tensor [B, C, h, w]
    difficulty : Tensor [B, 1, h', w'], before the sigmoid
    labels : Tensor of int64 [B, H, W]
    ignore_index : int
    align_corners : bool
        The convention for upsampling to H×W.
    alpha : float
    class_weights : Tensor [C], optional
    """
    size = labels.shape[-2:]
    z = F.interpolate(logits.float(), size=size, mode="bilinear", align_corners=align_corners)
    a = F.interpolate(difficulty.float(), size=size, mode="bilinear", align_corners=align_corners)
    segmentation = segmentation_loss(z, labels, ignore_index, class_weights)
    hardness = difficulty_loss(a[:, 0], *error_mask(z, labels, ignore_index))
    return Loss(segmentation + alpha * hardness, segmentation, hardness)
