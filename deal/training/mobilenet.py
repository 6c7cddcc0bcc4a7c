"""MobileNetV2 as a feature extractor for segmentation, with torchvision's parameter names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from deal.errors import ModelError, UsageError

__all__ = ["MobileNetV2", "load_imagenet_weights", "scaled_channels"]

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
_LOW_LEVEL_BLOCKS = 4  # features.0 to features.3 end at stride 4
_OUTPUT_STRIDE = 16
# torchvision's network also has a 1280-channel convolution and a classifier, unused here.
_UNUSED_PREFIXES = ("features.18.", "classifier.")


def scaled_channels(channels: int, width: float) -> int:
    """Channels times width, rounded to a multiple of 8 and never below 90 % of the product."""
    scaled = channels * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


class _ReLU6(nn.ReLU6):
    """ReLU6 that is exported faster, since the exporter is slow to decompose hardtanh."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (its name in the base class)
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
            nn.Conv2d(
                inputs, outputs, kernel, stride, padding, dilation, groups=groups, bias=False
            ),
            nn.BatchNorm2d(outputs),
            _ReLU6(inplace=True),
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


class MobileNetV2(nn.Module):
    """Features at stride 4 and stride 16; the last stage is dilated instead of strided.

    Parameter names are those of torchvision's ``mobilenet_v2`` (``features.0.0.weight`` …) up to
    ``features.17``; the 1280-channel convolution after it serves classification only.

    Parameters
    ----------
    width : float
        Channel multiplier; ImageNet weights exist for 1.

    Attributes
    ----------
    width : float
    low_channels, high_channels : int
        Channels of the two outputs: 24 and 320 at width 1.
    """

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
        self.low_channels = scaled_channels(24, width)
        self.high_channels = channels

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map [B,3,H,W] to features at stride 4 and 16, [B,24,⌈H/4⌉,⌈W/4⌉] and [B,320,…]."""
        low: Tensor = self.features[:_LOW_LEVEL_BLOCKS](x)
        return low, self.features[_LOW_LEVEL_BLOCKS:](low)


def load_imagenet_weights(backbone: MobileNetV2, path: str | Path) -> None:
    """Load torchvision's MobileNetV2 state dict from a file into ``backbone``.

    Parameters
    ----------
    backbone : MobileNetV2
        A backbone of width 1.
    path : path of the state dict, read with ``weights_only=True``.

    Raises
    ------
    ModelError
        The file cannot be read, or names or shapes are not those of torchvision's network.
    UsageError
        The backbone has another width.
    """
    try:
        values: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises pickle, zip, OS and runtime errors alike
        reason = error.strerror if isinstance(error, OSError) else "it is none, or is damaged"
        raise ModelError(f"weights {path} cannot be read as a state dict: {reason}") from error
    if not isinstance(values, Mapping) or not all(isinstance(v, Tensor) for v in values.values()):
        raise ModelError(f"weights {path}: expected a state dict of torchvision's mobilenet_v2")
    if backbone.width != 1:
        raise UsageError(f"weights {path} are of width 1, not {backbone.width}: leave out width")
    found = {key: v for key, v in values.items() if not key.startswith(_UNUSED_PREFIXES)}
    wanted = backbone.state_dict()
    # Old checkpoints lack the counters of batch normalisation; they do not matter here.
    missing = [
        key for key in wanted if key not in found and not key.endswith("num_batches_tracked")
    ]
    unknown = [key for key in found if key not in wanted]
    shapes = [
        f"{key} is {list(found[key].shape)}, not {list(wanted[key].shape)}"
        for key in wanted
        if key in found and found[key].shape != wanted[key].shape
    ]
    if missing or unknown or shapes:
        parts = (
            f"{len(missing)} missing (first {missing[0]})" if missing else "",
            f"{len(unknown)} unknown (first {unknown[0]})" if unknown else "",
            shapes[0] if shapes else "",
        )
        raise ModelError(
            f"weights {path} do not fit torchvision's mobilenet_v2 at width 1: "
            + "; ".join(part for part in parts if part)
        )
    backbone.load_state_dict(found, strict=False)
