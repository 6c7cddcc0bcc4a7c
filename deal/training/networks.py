"""Segmentation networks: DeepLabv3+ on MobileNetV2, and EfficientNet-Lite with several decoders."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from deal.errors import UsageError
from deal.training.decoders import LrAsppDecoder, MlpDecoder
from deal.training.depthwise import DepthwiseConv2d
from deal.training.efficientnet import EfficientNetLite
from deal.training.encoder import Encoder
from deal.training.mobilenet import MobileNetV2, scaled_channels
from deal.training.recipe import NETWORKS, last_stage, normalization_of

__all__ = ["DeepLab", "InputNormalization", "SegmentationNetwork", "build_network"]

_RATES = (6, 12, 18)
_LOW_LEVEL_CHANNELS = 48
_HEAD_CHANNELS = 256
_LITE_HEAD_CHANNELS = 128
_UNDECIDED = 0.01  # deviation of the weights that make logits


class InputNormalization(nn.Module):
    """Normalises RGB in 0…255 to zero mean and unit deviation, as part of the network.

    Parameters
    ----------
    mean, std : sequence of 3 float
        Mean and deviation of values in 0…1.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [B,3,H,W] of uint8 or float in 0…255 to float32."""
        return (x.float() - self.mean) / self.std


def _convolution(
    inputs: int, outputs: int, kernel: int, *, dilation: int = 1, separable: bool = False
) -> nn.Sequential:
    padding = dilation * (kernel - 1) // 2
    if not separable or kernel == 1:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel, 1, padding, dilation, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )
    return nn.Sequential(
        DepthwiseConv2d(inputs, kernel, 1, padding, dilation),
        nn.BatchNorm2d(inputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class _ImagePooling(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.project = _convolution(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        # A mean and an expand export for any H, W; adaptive pooling and interpolate do not.
        pooled: Tensor = self.project(x.mean(dim=(2, 3), keepdim=True))
        return pooled.expand(-1, -1, x.shape[2], x.shape[3])


class _Aspp(nn.Module):
    def __init__(self, inputs: int, outputs: int, *, separable: bool) -> None:
        super().__init__()
        dilated = [
            _convolution(inputs, outputs, 3, dilation=rate, separable=separable) for rate in _RATES
        ]
        self.branches = nn.ModuleList(
            [_convolution(inputs, outputs, 1), *dilated, _ImagePooling(inputs, outputs)]
        )
        self.project = _convolution(len(self.branches) * outputs, outputs, 1)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(torch.cat([branch(x) for branch in self.branches], dim=1))
        out: Tensor = self.dropout(y)
        return out


class _Decoder(nn.Module):
    def __init__(
        self, low: int, high: int, outputs: int, num_classes: int, *, separable: bool
    ) -> None:
        super().__init__()
        self.low_level = _convolution(low, _LOW_LEVEL_CHANNELS, 1)
        # The separable decoder has a fourteenth of the parameters and underfits with dropout.
        self.convolutions = nn.Sequential(
            _convolution(high + _LOW_LEVEL_CHANNELS, outputs, 3, separable=separable),
            nn.Dropout(0.0 if separable else 0.5),
            _convolution(outputs, outputs, 3, separable=separable),
            nn.Dropout(0.0 if separable else 0.1),
        )
        self.classifier = nn.Conv2d(outputs, num_classes, 1)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        high = F.interpolate(high, size=low.shape[-2:], mode="bilinear", align_corners=True)
        y: Tensor = self.convolutions(torch.cat([high, self.low_level(low)], dim=1))
        logits: Tensor = self.classifier(y)
        return logits


class SegmentationNetwork(nn.Module):
    """Normalisation, an encoder and a decoder.

    Parameters
    ----------
    backbone : Encoder
    mean, std : sequence of 3 float
        Mean and deviation of the input, of values in 0…1.
    """

    backbone: Encoder
    decoder: nn.Module

    def __init__(self, backbone: Encoder, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.normalization = InputNormalization(mean, std)
        self.backbone = backbone

    def forward(self, x: Tensor) -> Tensor:
        """Map RGB [B,3,H,W] in 0…255 to logits [B,C,h,w], on the grid of stride 4 or 8."""
        return self.decode(self.backbone(self.normalization(x)))

    def decode(self, features: tuple[Tensor, ...]) -> Tensor:
        """Map the encoder's features to logits."""
        logits: Tensor = self.decoder(features)
        return logits


class DeepLab(SegmentationNetwork):
    """DeepLabv3+ at output stride 16; logits stay on the stride-4 grid.

    ASPP with rates 6, 12, 18 and image pooling; a decoder with a 48-channel low-level branch and
    two 3×3 convolutions. Source: Chen et al., arXiv 1802.02611, as used by DEAL (arXiv 2010.08705).

    Parameters
    ----------
    backbone : Encoder
    num_classes : int
    separable : bool
        Depthwise-separable ASPP and decoder convolutions.
    channels : int
        Channels of ASPP and decoder.
    mean, std : sequence of 3 float
        Mean and deviation of the input, of values in 0…1.
    """

    def __init__(
        self,
        backbone: Encoder,
        num_classes: int,
        *,
        separable: bool,
        channels: int = _HEAD_CHANNELS,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        super().__init__(backbone, mean, std)
        low, *_, high = backbone.channels
        self.aspp = _Aspp(high, channels, separable=separable)
        self.decoder = _Decoder(low, channels, channels, num_classes, separable=separable)

    def decode(self, features: tuple[Tensor, ...]) -> Tensor:
        """Map the encoder's features to logits."""
        logits: Tensor = self.decoder(features[0], self.aspp(features[-1]))
        return logits


def build_network(
    name: str,
    num_classes: int,
    *,
    width: float = 1.0,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> SegmentationNetwork:
    """Build one of :data:`deal.training.recipe.NETWORKS`, freshly initialised.

    Parameters
    ----------
    name : str
    num_classes : int
    width : float
        Multiplies the channels of the encoder, and those of ASPP and decoder of ``paper`` and
        ``light``.
    mean, std : sequence of 3 float, optional
        Mean and deviation of the input, of values in 0…1; by default those of the encoder's
        ImageNet weights.

    Raises
    ------
    UsageError
        The name is unknown.
    """
    if name not in NETWORKS:
        raise UsageError(f"network {name!r} is unknown; choose one of {', '.join(NETWORKS)}")
    own_mean, own_std = normalization_of(name)
    normalization = {"mean": mean or own_mean, "std": std or own_std}
    encoder, _, decoder = name.partition("-")
    if encoder in ("paper", "light"):
        network: SegmentationNetwork = DeepLab(
            MobileNetV2(width),
            num_classes,
            separable=encoder == "light",
            channels=scaled_channels(_HEAD_CHANNELS, width),
            **normalization,
        )
        return _initialized(network)
    backbone = EfficientNetLite(encoder, width, last_stage(name))
    channels = backbone.channels
    if decoder == "aspp":
        network = DeepLab(
            backbone, num_classes, separable=True, channels=_LITE_HEAD_CHANNELS, **normalization
        )
        return _undecided(_initialized(network))
    network = SegmentationNetwork(backbone, **normalization)
    if decoder in ("lraspp", "fast"):
        network.decoder = LrAsppDecoder(channels[1], channels[-1], num_classes)
    else:
        network.decoder = MlpDecoder(channels, num_classes)
    return _undecided(_initialized(network))


def _initialized(network: SegmentationNetwork) -> SegmentationNetwork:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


def _undecided(network: SegmentationNetwork) -> SegmentationNetwork:
    """Start with about equal logits: large ones cost a pretrained encoder hundreds of steps."""
    for name, module in network.decoder.named_modules():
        if name.startswith("classifier") and isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=_UNDECIDED)
    return network
