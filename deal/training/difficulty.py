"""The difficulty branch: probability attention and a 1×1 convolution on a network's logits."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from deal.errors import ModelError
from deal.model.head import DifficultyHead

__all__ = ["DifficultyBranch", "WithDifficulty", "logits_of"]


class DifficultyBranch(nn.Module):
    """Difficulty of every grid cell, before the sigmoid.

    With the class probabilities ``p_i`` of the cells::

        a_j = gamma · w·(Σ_i exp(p_j·p_i) p_i / Σ_i exp(p_j·p_i)) + w·p_j + b

    Source: Xie et al., arXiv 2010.08705, section 3.2 (attend, add, 1×1 convolution). The fused
    attention of PyTorch avoids the N×N matrix in memory. With ``uncertainty``, the variances
    p(1 − p) are further inputs beside the probabilities, with their own weights that start at 0
    (:class:`deal.DifficultyHead`).

    Parameters
    ----------
    num_classes : int
    grid : (h, w) or None
        Logits are resized to this grid first; None keeps the grid of the logits.
    align_corners : bool
        The convention of that resize, as in PyTorch's ``interpolate``.
    uncertainty : bool
    """

    def __init__(
        self,
        num_classes: int,
        grid: tuple[int, int] | None = None,
        align_corners: bool = True,
        uncertainty: bool = False,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.align_corners = align_corners
        self.gamma = nn.Parameter(torch.zeros(()))
        bound = 1 / math.sqrt(num_classes)  # as PyTorch initialises a 1×1 convolution
        self.weight = nn.Parameter(torch.empty(num_classes).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(()))
        self.uncertainty_weight = nn.Parameter(torch.zeros(num_classes)) if uncertainty else None

    def forward(self, logits: Tensor) -> Tensor:
        """Map logits [B,C,h,w] to difficulty before the sigmoid, float32 [B,1,h',w']."""
        with torch.autocast(logits.device.type, enabled=False):
            z = logits.float()
            if self.grid is not None and z.shape[-2:] != self.grid:
                z = F.interpolate(
                    z, size=self.grid, mode="bilinear", align_corners=self.align_corners
                )
            height, width = z.shape[-2:]
            p = z.softmax(dim=1).flatten(2).transpose(1, 2).unsqueeze(1)  # [B, 1, N, C]
            p = p.contiguous()  # the fused attention takes no other layout
            if self.uncertainty_weight is None:
                attended = F.scaled_dot_product_attention(p, p, p, scale=1.0)
                a = (self.gamma * attended + p) @ self.weight + self.bias  # [B, 1, N]
            else:
                v = p * (
                    self.weight + self.uncertainty_weight * (1 - p)
                )  # summed over C at the end
                attended = F.scaled_dot_product_attention(p, p, v, scale=1.0)
                a = (self.gamma * attended + v).sum(dim=-1) + self.bias
            return a.reshape(-1, 1, height, width)


def logits_of(output: Any, num_classes: int) -> Tensor:
    """Logits [B,C,h,w] from a network's output: a tensor, or an object with ``.logits``.

    Raises
    ------
    ModelError
        The output is something else, or has another number of classes.
    """
    logits = output if isinstance(output, Tensor) else getattr(output, "logits", None)
    if not isinstance(logits, Tensor) or logits.ndim != 4:
        raise ModelError(
            "the network must return logits [B,C,h,w], as a tensor or as an object with "
            f".logits; it returned {type(output).__name__}"
        )
    if logits.shape[1] != num_classes:
        raise ModelError(
            f"the network returns {logits.shape[1]} classes; "
            f"WithDifficulty was built for num_classes={num_classes}"
        )
    return logits


class WithDifficulty(nn.Module):
    """Add the difficulty branch to any segmentation network.

    Parameters
    ----------
    module : nn.Module
        A network that returns logits [B,C,h,w], as a tensor or as an object with ``.logits``.
    num_classes : int
    grid, align_corners, uncertainty
        See :class:`DifficultyBranch`.
    """

    def __init__(
        self,
        module: nn.Module,
        num_classes: int,
        *,
        grid: tuple[int, int] | None = None,
        align_corners: bool = True,
        uncertainty: bool = False,
    ) -> None:
        super().__init__()
        self.module = module
        self.num_classes = num_classes
        self.difficulty = DifficultyBranch(num_classes, grid, align_corners, uncertainty)

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Return logits [B,C,h,w], and difficulty before the sigmoid [B,1,h',w'].

        Raises
        ------
        ModelError
            The network returns something else, or another number of classes.
        """
        logits = logits_of(self.module(*args, **kwargs), self.num_classes)
        return logits, self.difficulty(logits)

    def head(self) -> DifficultyHead:
        """The branch as a head of C + 2 numbers (2C + 2 with uncertainty), for scoring."""
        branch = self.difficulty
        extra = branch.uncertainty_weight
        return DifficultyHead(
            gamma=branch.gamma.item(),
            weight=branch.weight.tolist(),
            bias=branch.bias.item(),
            grid=branch.grid,
            uncertainty_weight=None if extra is None else extra.tolist(),
        )
