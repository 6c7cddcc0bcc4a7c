"""Depthwise convolutions with a backward pass of their own on the CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

__all__ = ["DepthwiseConv2d"]


class _Depthwise(torch.autograd.Function):
    """Stride 1 and padding that keeps the size.

    The gradient of the input is the convolution of the output's gradient with the flipped kernel;
    the gradient of the kernel is one product per tap, summed over images and pixels.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        return _convolve(x, weight, dilation)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        of_input = of_weight = None
        if ctx.needs_input_grad[0]:
            of_input = _convolve(gradient, weight.flip(2, 3), ctx.dilation)
        if ctx.needs_input_grad[1]:
            of_weight = _of_taps(x, gradient, weight.shape[-1], ctx.dilation).to(weight.dtype)
        return of_input, of_weight, None


def _convolve(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    padding = dilation * (weight.shape[-1] // 2)
    return F.conv2d(x, weight, None, 1, padding, dilation, groups=len(weight))


def _of_taps(x: Tensor, gradient: Tensor, kernel: int, dilation: int) -> Tensor:
    height, width = x.shape[-2:]
    padding = dilation * (kernel // 2)
    offsets = range(0, dilation * kernel, dilation)
    # In float32, since products of two types, and sums of bfloat16, take several times as long.
    gradient = gradient.float()
    padded = F.pad(x.float(), (padding,) * 4)
    taps = [
        (gradient * padded[:, :, row : row + height, column : column + width]).sum(dim=(0, 2, 3))
        for row in offsets
        for column in offsets
    ]
    return torch.stack(taps, dim=1).view(-1, 1, kernel, kernel)


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution without bias.

    Kernels of 5×5 and dilated ones have their own backward pass on the CPU, since PyTorch's takes
    several times as long in bfloat16. Its gradients differ from PyTorch's by rounding only.

    Parameters
    ----------
    channels, kernel, stride, padding, dilation : int

    Attributes
    ----------
    own_backward : bool
        Whether steps on the CPU use it; False where PyTorch's is as fast.
    """

    def __init__(
        self, channels: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1
    ) -> None:
        super().__init__(
            channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False
        )
        same = stride == 1 and padding == dilation * (kernel // 2)
        self.own_backward = same and (kernel == 5 or dilation > 1)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002, D102 (as in the base class)
        if (
            not self.own_backward
            or input.device.type != "cpu"
            or not torch.is_grad_enabled()
            or torch.compiler.is_compiling()  # also while exporting
        ):
            return super().forward(input)
        weight = self.weight
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            input, weight = input.to(dtype), weight.to(dtype)  # noqa: A001
        result: Tensor = _Depthwise.apply(input, weight, self.dilation[0])  # type: ignore[no-untyped-call]
        return result
