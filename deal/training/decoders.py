"""Decoders for the features of a pretrained encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

__all__ = ["LrAsppDecoder", "MlpDecoder"]

_HIDDEN = 128
_DROPOUT = 0.25


def _resized(x: Tensor, like: Tensor) -> Tensor:
    if x.shape[-2:] == like.shape[-2:]:
        return x
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=True)


class MlpDecoder(nn.Module):
    """A perceptron with one hidden layer on the features of every scale, per pixel at stride 4.

    Features are standardised and projected at their own scale, then resized and added. That equals
    a projection of the resized and concatenated features, for a fraction of the arithmetic.

    Parameters
    ----------
    channels : tuple of int
        Channels of the features, the finest scale first.
    num_classes : int
    hidden : int
    """

    def __init__(self, channels: tuple[int, ...], num_classes: int, hidden: int = _HIDDEN) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(count, affine=False) for count in channels)
        self.projections = nn.ModuleList(
            nn.Conv2d(count, hidden, 1, bias=index == 0) for index, count in enumerate(channels)
        )
        self.dropout = nn.Dropout(_DROPOUT)
        self.classifier = nn.Conv2d(hidden, num_classes, 1)

    def forward(self, features: tuple[Tensor, ...]) -> Tensor:
        """Map the features to logits [B,C,h,w] on the grid of the first."""
        projected = [
            projection(norm(x))
            for norm, projection, x in zip(self.norms, self.projections, features, strict=True)
        ]
        total = projected[0]
        for x in projected[1:]:
            total = total + _resized(x, total)
        logits: Tensor = self.classifier(self.dropout(torch.relu(total)))
        return logits


class LrAsppDecoder(nn.Module):
    """LR-ASPP: a gated projection of the last scale, and a classifier of a finer one.

    Logits lie on the grid of the finer scale, stride 8. Source: Howard et al., arXiv 1905.02244,
    section 6.4.

    Parameters
    ----------
    low, high : int
        Channels of the finer scale and of the last one.
    num_classes : int
    hidden : int
    """

    def __init__(self, low: int, high: int, num_classes: int, hidden: int = _HIDDEN) -> None:
        super().__init__()
        # Standardised, since an encoder's features differ in scale and the classifier sees them.
        self.norms = nn.ModuleList(nn.BatchNorm2d(count, affine=False) for count in (low, high))
        self.project = nn.Sequential(
            nn.Conv2d(high, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU(inplace=True)
        )
        self.gate = nn.Conv2d(high, hidden, 1, bias=False)
        self.classifier = nn.ModuleDict(
            {
                "low": nn.Conv2d(low, num_classes, 1),
                "high": nn.Conv2d(hidden, num_classes, 1),
            }
        )

    def forward(self, features: tuple[Tensor, ...]) -> Tensor:
        """Map the features to logits [B,C,h,w] on the grid of the second one."""
        low, high = self.norms[0](features[1]), self.norms[1](features[-1])
        gate = torch.sigmoid(self.gate(high.mean(dim=(2, 3), keepdim=True)))
        gated = self.project(high) * gate
        logits: Tensor = self.classifier["low"](low) + self.classifier["high"](_resized(gated, low))
        return logits
