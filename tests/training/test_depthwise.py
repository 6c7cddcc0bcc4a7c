"""Depthwise convolutions with a backward pass of their own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from deal.training.depthwise import DepthwiseConv2d

_CASES = [(5, 1), (5, 2), (3, 2), (3, 12)]


def _pair(channels, kernel, dilation):
    torch.manual_seed(0)
    padding = dilation * (kernel // 2)
    ours = DepthwiseConv2d(channels, kernel, 1, padding, dilation)
    theirs = nn.Conv2d(
        channels, channels, kernel, 1, padding, dilation, groups=channels, bias=False
    )
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def _gradients(layer, x, enabled=False):
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
        y = layer(x)
    y.float().square().sum().backward()
    return y.detach(), x.grad, layer.weight.grad


@pytest.mark.parametrize(("kernel", "dilation"), _CASES)
def test_gradients_are_those_of_pytorch_in_float64(kernel, dilation):
    ours, theirs = (layer.double() for layer in _pair(7, kernel, dilation))
    x = torch.randn(2, 7, 9, 11, dtype=torch.float64)
    for mine, its in zip(_gradients(ours, x), _gradients(theirs, x), strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kernel", "dilation"), _CASES)
def test_gradients_of_bfloat16_are_as_close_to_float32_as_those_of_pytorch(kernel, dilation):
    ours, theirs = _pair(7, kernel, dilation)
    x = torch.randn(2, 7, 9, 11)
    exact = _gradients(theirs, x)
    theirs.weight.grad = None
    for mine, right in zip(_gradients(ours, x, enabled=True), exact, strict=True):
        torch.testing.assert_close(
            mine.float(), right, rtol=0.05, atol=0.03 * float(right.abs().max())
        )


def test_only_layers_that_gain_have_it():

    x = torch.randn(1, 4, 8, 8)
    assert type(DepthwiseConv2d(4, 5, 1, 2)(x).grad_fn).__name__ == "_DepthwiseBackward"
    assert type(DepthwiseConv2d(4, 3, 1, 2, 2)(x).grad_fn).__name__ == "_DepthwiseBackward"
    for plain in (DepthwiseConv2d(4, 3, 1, 1), DepthwiseConv2d(4, 5, 2, 2)):
        assert type(plain(x).grad_fn).__name__ == "ConvolutionBackward0"
