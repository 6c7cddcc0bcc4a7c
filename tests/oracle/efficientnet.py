"""EfficientNet-Lite as the released weights were trained, written down once more."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional as F  # noqa: N812

# Of each block of Lite0: kernel, stride.
_BLOCKS = [
    (3, 1),
    (3, 2), (3, 1),
    (5, 2), (5, 1),
    (3, 2), (3, 1), (3, 1),
    (5, 1), (5, 1), (5, 1),
    (5, 2), (5, 1), (5, 1), (5, 1),
    (3, 1),
]  # fmt: skip


def block_outputs(weights: Mapping[str, Tensor], images: Tensor) -> list[Tensor]:
    """Outputs of the 16 blocks of Lite0 at output stride 32, for RGB in 0…255.

    ``weights`` have their released names. Padding is TensorFlow's SAME.
    """
    x = _activated(
        weights, "_bn0", _same(images.float().sub(127).div(128), weights["_conv_stem.weight"], 2)
    )
    outputs = []
    for index, (_, stride) in enumerate(_BLOCKS):
        name = f"_blocks.{index}."
        y = x
        if f"{name}_expand_conv.weight" in weights:
            y = F.conv2d(y, weights[f"{name}_expand_conv.weight"])
            y = _activated(weights, f"{name}_bn0", y)
        kernel = weights[f"{name}_depthwise_conv.weight"]
        y = _activated(weights, f"{name}_bn1", _same(y, kernel, stride, groups=len(kernel)))
        y = _normed(weights, f"{name}_bn2", F.conv2d(y, weights[f"{name}_project_conv.weight"]))
        x = x + y if stride == 1 and x.shape == y.shape else y
        outputs.append(x)
    return outputs


def _same(x: Tensor, kernel: Tensor, stride: int, groups: int = 1) -> Tensor:
    total = [
        max((math.ceil(size / stride) - 1) * stride + kernel.shape[-1] - size, 0)
        for size in x.shape[-2:]
    ]
    before = [count // 2 for count in total]
    after = [count - count // 2 for count in total]
    x = F.pad(x, (before[1], after[1], before[0], after[0]))
    return F.conv2d(x, kernel, stride=stride, groups=groups)


def _normed(weights: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.batch_norm(
        x,
        weights[f"{name}.running_mean"],
        weights[f"{name}.running_var"],
        weights[f"{name}.weight"],
        weights[f"{name}.bias"],
        eps=1e-3,
    )


def _activated(weights: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.relu6(_normed(weights, name, x))
