"""EfficientNet-Lite as a feature extractor for segmentation."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import cast

from torch import Tensor, nn

from deal.training.depthwise import DepthwiseConv2d
from deal.training.encoder import Encoder
from deal.training.mobilenet import ReLU6, scaled_channels

__all__ = ["EfficientNetLite"]

# Kernel, expansion, output channels, blocks, stride: table 1 of Tan and Le, arXiv 1905.11946.
_STAGES = (
    (3, 1, 16, 1, 1),
    (3, 6, 24, 2, 2),
    (5, 6, 40, 2, 2),
    (3, 6, 80, 3, 2),
    (5, 6, 112, 3, 1),
    (5, 6, 192, 4, 2),
    (3, 6, 320, 1, 1),
)
# Multipliers of channels and of blocks, in the released Lite variants.
_SCALING = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2)}
_STEM_CHANNELS = 32
_TAPS = (2, 3, 5, 7)  # stages that end at strides 4, 8 and 16, and the dilated last one
_OUTPUT_STRIDE = 16
_EPS, _MOMENTUM = 1e-3, 0.01

# Names of the released weights, and ours.
_STEM = {"conv_stem": "conv", "bn0": "norm"}
_LAYERS = {
    "expand_conv": "expand.conv",
    "bn0": "expand.norm",
    "depthwise_conv": "depthwise.conv",
    "bn1": "depthwise.norm",
    "project_conv": "project.conv",
    "bn2": "project.norm",
}


class _ConvNorm(nn.Sequential):
    """Convolution and batch norm; names are ``conv`` and ``norm``."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        activation: bool = True,
    ) -> None:
        super().__init__()
        before = dilation * (kernel - 1) // 2
        if stride > 1:
            # TensorFlow's SAME for even sizes: one pixel fewer before, and enough for odd ones.
            self.add_module("pad", nn.ZeroPad2d((before - 1, before + 1) * 2))
            before = 0
        if groups > 1:
            conv: nn.Conv2d = DepthwiseConv2d(outputs, kernel, stride, before, dilation)
        else:
            conv = nn.Conv2d(inputs, outputs, kernel, stride, before, dilation, bias=False)
        self.add_module("conv", conv)
        self.add_module("norm", nn.BatchNorm2d(outputs, eps=_EPS, momentum=_MOMENTUM))
        if activation:
            self.add_module("activation", ReLU6(inplace=True))


class _Block(nn.Module):
    """Inverted residual without squeeze-and-excite."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, expansion: int, stride: int, dilation: int
    ) -> None:
        super().__init__()
        hidden = inputs * expansion
        if expansion > 1:
            self.expand: nn.Module = _ConvNorm(inputs, hidden, 1)
        else:
            self.expand = nn.Identity()
        self.depthwise = _ConvNorm(
            hidden, hidden, kernel, stride=stride, dilation=dilation, groups=hidden
        )
        self.project = _ConvNorm(hidden, outputs, 1, activation=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class EfficientNetLite(Encoder):
    """Features at strides 4, 8, 16 and 16; the last two stages are dilated instead of strided.

    Stage 0 is the stem, stages 1 to 7 are those of EfficientNet. The layers after the last stage
    serve classification only and are left out. The features equal those of the released networks
    where every strided layer gets an even size; for odd sizes TensorFlow pads one pixel earlier.
    Source: Tan and Le, arXiv 1905.11946; the Lite variants have ReLU6, no squeeze-and-excite, and
    stem and head of fixed width.

    Parameters
    ----------
    name : ``lite0``, ``lite1`` or ``lite2``
    width : float
        Multiplies the channels; ImageNet weights exist for 1.
    stages : int
        Stages to build after the stem. 5 leaves out the two dilated ones, and with them the last
        of the four features.
    """

    def __init__(self, name: str = "lite0", width: float = 1.0, stages: int = 7) -> None:
        super().__init__()
        self.source = f"the released EfficientNet-{name.capitalize()}"
        self.width, self.last = width, stages
        wider, deeper = _SCALING[name]
        channels = scaled_channels(_STEM_CHANNELS, width)
        parts: list[nn.Module] = [_ConvNorm(3, channels, 3, stride=2)]
        found = []
        reached, dilation = 2, 1
        for number, (kernel, expansion, base, repeats, first) in enumerate(_STAGES[:stages], 1):
            outputs = scaled_channels(base, wider * width)
            fixed = number in (1, len(_STAGES))
            blocks: list[nn.Module] = []
            for index in range(repeats if fixed else math.ceil(deeper * repeats)):
                stride, here = first if index == 0 else 1, dilation
                if reached * stride > _OUTPUT_STRIDE:
                    # The block that would have strided still sees the undilated grid.
                    dilation, stride = dilation * stride, 1
                reached *= stride
                blocks.append(
                    _Block(
                        channels, outputs, kernel, expansion=expansion, stride=stride, dilation=here
                    )
                )
                channels = outputs
            parts.append(nn.Sequential(*blocks))
            if number in _TAPS:
                found.append(channels)
        self.stages = nn.ModuleList(parts)
        self.channels = tuple(found)
        self.taps = tuple(tap for tap in _TAPS if tap <= stages)

    def stage(self, number: int) -> nn.Module:
        """The module of a stage."""
        return self.stages[number]

    def renamed(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Released weights by the names of this module, without those of the classifier."""
        places = [
            f"stages.{number}.{index}"
            for number, stage in enumerate(self.stages[1:], 1)
            for index in range(len(cast(nn.Sequential, stage)))
        ]
        found = {}
        for name, value in values.items():
            if match := re.fullmatch(r"_(conv_stem|bn0)\.(\w+)", name):
                found[f"stages.0.{_STEM[match[1]]}.{match[2]}"] = value
            match = re.fullmatch(r"_blocks\.(\d+)\._(\w+)\.(\w+)", name)
            if match and int(match[1]) < len(places) and match[2] in _LAYERS:
                found[f"{places[int(match[1])]}.{_LAYERS[match[2]]}.{match[3]}"] = value
        return found
