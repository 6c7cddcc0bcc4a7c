"""MobileNetV2 as a feature extractor for segmentation, with torchvision's parameter names."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from deal.training.depthwise import DepthwiseConv2d
from deal.training.encoder import Encoder

__all__ = ["MobileNetV2", "ReLU6", "scaled_channels"]

# Expansion, output channels, blocks, stride: table 2 of Sandler et al., arXiv 1801.04381.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_LOW_LEVEL = 2  # the stage that ends at stride 4; stage 0 is the stem
_ENDS = (0, *itertools.accumulate((blocks for _, _, blocks, _ in _STAGES), initial=1))
_OUTPUT_STRIDE = 16
# torchvision's network also has a 1280-channel convolution and a classifier, unused here.
_UNUSED_PREFIXES = ("features.18.", "classifier.")


def scaled_channels(channels: int, width: float) -> int:
    """Channels times width, rounded to a multiple of 8 and never below 90 % of the product."""
    scaled = channels * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


class ReLU6(nn.ReLU6):
    """ReLU6 that is exported faster, since the exporter is slow to decompose hardtanh."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002, D102 (as in the base class)
        if torch.compiler.is_exporting():
            return torch.clamp(input, 0.0, 6.0)
        return super().forward(input)


class _ConvNormActivation(nn.Sequential):
    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
    ) -> None:
        padding = dilation * (kernel - 1) // 2
        super().__init__(
            DepthwiseConv2d(outputs, kernel, stride, padding, dilation)
            if groups > 1
            else nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False),
            nn.BatchNorm2d(outputs),
            ReLU6(inplace=True),
        )


class _InvertedResidual(nn.Module):
    def __init__(
        self, inputs: int, outputs: int, *, expansion: int, stride: int, dilation: int
    ) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = [_ConvNormActivation(inputs, hidden, 1)] if expansion != 1 else []
        self.conv = nn.Sequential(
            *expand,
            _ConvNormActivation(hidden, hidden, 3, stride=stride, dilation=dilation, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.residual else y


class MobileNetV2(Encoder):
    """Features at stride 4 and stride 16; the last stage is dilated instead of strided.

    Parameter names are those of torchvision's ``mobilenet_v2`` (``features.0.0.weight`` …) up to
    ``features.17``; the 1280-channel convolution after it serves classification only.

    Parameters
    ----------
    width : float
        Channel multiplier; ImageNet weights exist for 1.
    """

    source = "torchvision's mobilenet_v2"
    last = len(_STAGES)
    taps = (_LOW_LEVEL, len(_STAGES))

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.width = width
        channels = scaled_channels(32, width)
        blocks: list[nn.Module] = [_ConvNormActivation(3, channels, 3, stride=2)]
        reached, dilation = 2, 1
        for expansion, base, repeats, first_stride in _STAGES:
            outputs = scaled_channels(base, width)
            for index in range(repeats):
                stride = first_stride if index == 0 else 1
                block_dilation = dilation
                if reached * stride > _OUTPUT_STRIDE:
                    # The block that would have strided still sees the undilated grid.
                    dilation, stride = dilation * stride, 1
                reached *= stride
                blocks.append(
                    _InvertedResidual(
                        channels,
                        outputs,
                        expansion=expansion,
                        stride=stride,
                        dilation=block_dilation,
                    )
                )
                channels = outputs
        self.features = nn.Sequential(*blocks)
        self.channels = scaled_channels(24, width), channels

    def stage(self, number: int) -> nn.Module:
        """The module of a stage."""
        return self.features[_ENDS[number] : _ENDS[number + 1]]

    def renamed(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Released weights by the names of this module, without those of the classifier."""
        return {key: v for key, v in values.items() if not key.startswith(_UNUSED_PREFIXES)}
