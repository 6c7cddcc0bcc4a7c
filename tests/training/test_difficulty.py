"""The difficulty branch against the paper's formulation."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.attention import SDPBackend, sdpa_kernel

from deal.errors import ModelError
from deal.kernel.statistics import difficulty_grid
from deal.training.difficulty import DifficultyBranch, WithDifficulty


def branch_with(
    num_classes: int, grid=None, align_corners=True, gamma=0.7, uncertainty=False
) -> DifficultyBranch:
    torch.manual_seed(1)
    branch = DifficultyBranch(num_classes, grid, align_corners, uncertainty)
    with torch.no_grad():
        branch.gamma.fill_(gamma)
        branch.weight.normal_()
        branch.bias.fill_(-0.3)
        if uncertainty:
            branch.uncertainty_weight.normal_()
    return branch


@pytest.mark.parametrize("num_classes", [2, 5, 11])
@pytest.mark.parametrize("gamma", [0.0, 0.7, -1.5])
def test_branch_equals_attend_add_and_convolve(num_classes, gamma):
    branch = branch_with(num_classes, gamma=gamma)
    logits = 4 * torch.randn(2, num_classes, 6, 7, generator=torch.Generator().manual_seed(2))
    p = logits.double().softmax(1).flatten(2)  # [B, C, N]
    attention = (p.transpose(1, 2) @ p).softmax(dim=2)  # [B, N, N], rows sum to 1
    attended = p @ attention.transpose(1, 2)
    features = (gamma * attended + p).reshape(2, num_classes, 6, 7)
    convolution = nn.Conv2d(num_classes, 1, 1).double()
    with torch.no_grad():
        convolution.weight.copy_(branch.weight.reshape(1, -1, 1, 1))
        convolution.bias.copy_(branch.bias.reshape(1))
    torch.testing.assert_close(branch(logits).double(), convolution(features), rtol=0, atol=2e-6)


@pytest.mark.parametrize("align_corners", [True, False])
def test_logits_are_resized_to_the_grid_before_the_softmax(align_corners):
    branch = branch_with(4, (3, 5), align_corners)
    own = branch_with(4)
    logits = torch.randn(1, 4, 8, 9)
    resized = F.interpolate(logits, size=(3, 5), mode="bilinear", align_corners=align_corners)
    assert branch(logits).shape == (1, 1, 3, 5)
    torch.testing.assert_close(branch(logits), own(resized))


@pytest.mark.parametrize("grid", [None, (5, 9)])
@pytest.mark.parametrize("uncertainty", [False, True])
def test_the_branch_computes_what_scoring_does(grid, uncertainty):
    module = WithDifficulty(Network(5, False), 5)
    module.difficulty = branch_with(5, grid, uncertainty=uncertainty)
    logits = 3 * torch.randn(2, 5, 8, 11, generator=torch.Generator().manual_seed(3))
    expected = difficulty_grid(logits.numpy(), module.head())
    found = module.difficulty(logits).detach().numpy()[:, 0]
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("grid", [None, (4, 5)])
@pytest.mark.parametrize("uncertainty", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_attention_holds_no_matrix_of_all_pairs_of_cells(grid, uncertainty, layout):
    logits = torch.randn(2, 3, 6, 8).contiguous(memory_format=layout).requires_grad_()
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # an error where the inputs do not suit it
        branch_with(3, grid, uncertainty=uncertainty)(logits).sum().backward()


def test_weights_of_uncertainty_start_at_zero_and_draw_no_random_number():
    torch.manual_seed(5)
    plain, after = DifficultyBranch(4), torch.rand(1)
    torch.manual_seed(5)
    branch = DifficultyBranch(4, uncertainty=True)
    assert torch.equal(torch.rand(1), after)
    assert torch.equal(branch.weight, plain.weight)
    assert branch.uncertainty_weight.tolist() == [0, 0, 0, 0]
    assert "uncertainty_weight" not in plain.state_dict()
    logits = torch.randn(1, 4, 3, 3)
    torch.testing.assert_close(branch(logits), plain(logits))


def test_weights_of_uncertainty_learn_from_the_variances():
    branch = DifficultyBranch(3, uncertainty=True)
    logits = torch.tensor([[200.0, -200.0, 0.0], [1.0, 1.0, 1.0]]).T.reshape(1, 3, 1, 2)
    branch(logits).sum().backward()
    torch.testing.assert_close(branch.uncertainty_weight.grad, torch.full((3,), 2 / 9))


def test_branch_starts_without_attention():
    branch = DifficultyBranch(3)
    assert branch.gamma.item() == 0
    assert branch.weight.abs().max() > 0


class Network(nn.Module):
    def __init__(self, classes: int, wrapped: bool) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, classes, 1)
        self.wrapped = wrapped

    def forward(self, pixel_values):
        logits = self.layer(pixel_values)
        return SimpleNamespace(logits=logits) if self.wrapped else logits


@pytest.mark.parametrize("wrapped", [False, True])
def test_any_network_that_returns_logits_gets_a_difficulty(wrapped):
    module = WithDifficulty(Network(4, wrapped), 4, grid=(2, 2))
    logits, difficulty = module(pixel_values=torch.rand(2, 3, 8, 8))
    assert logits.shape == (2, 4, 8, 8)
    assert difficulty.shape == (2, 1, 2, 2)


def test_gradients_of_difficulty_reach_the_network():
    module = WithDifficulty(Network(4, False), 4)
    module(torch.rand(1, 3, 4, 4))[1].sum().backward()
    assert module.module.layer.weight.grad.abs().max() > 0


def test_a_network_that_returns_no_logits_is_refused():
    with pytest.raises(ModelError, match="it returned tuple"):
        WithDifficulty(nn.LSTM(3, 3), 3)(torch.zeros(1, 3))
    with pytest.raises(ModelError, match="returns 4 classes"):
        WithDifficulty(Network(4, False), 5)(torch.zeros(1, 3, 2, 2))


def test_head_carries_the_parameters_of_the_branch():
    module = WithDifficulty(Network(3, False), 3, grid=(6, 8))
    with torch.no_grad():
        module.difficulty.gamma.fill_(0.5)
        module.difficulty.weight.copy_(torch.tensor([1.0, -2.0, 0.25]))
        module.difficulty.bias.fill_(-0.75)
    head = module.head()
    assert (head.gamma, head.weight, head.bias) == (0.5, (1.0, -2.0, 0.25), -0.75)
    assert head.grid == (6, 8)
    assert head.uncertainty_weight is None


def test_head_carries_the_weights_of_uncertainty():
    module = WithDifficulty(Network(3, False), 3, uncertainty=True)
    with torch.no_grad():
        module.difficulty.uncertainty_weight.copy_(torch.tensor([0.5, -1.0, 2.0]))
    assert module.head().uncertainty_weight == (0.5, -1.0, 2.0)
