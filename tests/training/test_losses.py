"""Error mask, weighted difficulty loss and their sum."""

from __future__ import annotations

import math

import pytest
import torch

from deal.training.losses import (
    difficulty_loss,
    error_mask,
    joint_loss,
    segmentation_loss,
)

VOID = 9


def test_error_mask_marks_wrong_pixels_and_leaves_void_out():
    logits = torch.tensor([[[[2.0, 0.0, 3.0, 1.0]], [[1.0, 5.0, 0.0, 2.0]]]])
    labels = torch.tensor([[[0, 0, VOID, 1]]])
    wrong, right = error_mask(logits, labels, VOID)
    assert wrong.tolist() == [[[False, True, False, False]]]
    assert right.tolist() == [[[True, False, False, True]]]


def test_difficulty_loss_of_one_wrong_and_three_right_pixels():
    difficulty = torch.tensor([[[0.0, -math.log(3), -math.log(3), -math.log(3), 50.0]]])
    wrong = torch.tensor([[[True, False, False, False, False]]])
    right = torch.tensor([[[False, True, True, True, False]]])
    # Weights 1/√2 and 1/√4, normalised: 0.5858 and 0.4142; losses ln 2 and ln 4/3.
    expected = 0.5857864376 * 0.6931471806 + 0.4142135624 * 0.2876820724
    assert difficulty_loss(difficulty, wrong, right).item() == pytest.approx(expected, abs=1e-6)


def test_difficulty_loss_without_wrong_pixels_is_that_of_the_right_ones():
    right = torch.ones(1, 1, 3, dtype=torch.bool)
    # Weights 1/√1 and 1/√4, normalised: 2/3 and 1/3.
    loss = difficulty_loss(torch.zeros(1, 1, 3), ~right, right)
    assert loss.item() == pytest.approx(math.log(2) / 3, abs=1e-6)


def test_segmentation_loss_is_the_mean_over_labeled_pixels():
    logits = torch.tensor([[[[0.0, 8.0]], [[math.log(3), 0.0]]]])
    labels = torch.tensor([[[1, VOID]]])
    assert segmentation_loss(logits, labels, VOID).item() == pytest.approx(math.log(4 / 3))


def test_class_weights_weigh_pixels_by_their_label():
    logits = torch.tensor([[[[0.0, 0.0]], [[math.log(3), math.log(3)]]]])
    labels = torch.tensor([[[0, 1]]])
    loss = segmentation_loss(logits, labels, VOID, torch.tensor([3.0, 1.0]))
    assert loss.item() == pytest.approx((3 * math.log(4) + math.log(4 / 3)) / 4)


def test_images_of_void_alone_give_no_loss_and_no_gradient():
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    labels = torch.full((1, 4, 4), VOID)
    loss = joint_loss(
        logits, torch.zeros(1, 1, 2, 2), labels, ignore_index=VOID, align_corners=True
    )
    loss.total.backward()
    assert loss.total.item() == 0
    assert logits.grad.abs().max() == 0


def test_void_pixels_change_nothing():
    torch.manual_seed(0)
    logits, difficulty = torch.randn(1, 3, 4, 4), torch.randn(1, 1, 4, 4)
    labels = torch.randint(0, 3, (1, 4, 4))
    labels[0, 1] = VOID
    other, harder = logits.clone(), difficulty.clone()
    other[:, :, 1] += 5 * torch.randn(3, 4)
    harder[:, :, 1] += 7
    options = {"ignore_index": VOID, "align_corners": True}
    first = joint_loss(logits, difficulty, labels, **options)
    second = joint_loss(other, harder, labels, **options)
    assert first.total.item() == second.total.item()


def test_total_is_segmentation_plus_alpha_times_difficulty_at_label_size():
    torch.manual_seed(0)
    logits, difficulty = torch.randn(2, 3, 4, 5), torch.randn(2, 1, 3, 3)
    labels = torch.randint(0, 3, (2, 8, 10))
    loss = joint_loss(logits, difficulty, labels, ignore_index=VOID, align_corners=True, alpha=0.25)
    expected = loss.segmentation + 0.25 * loss.difficulty
    torch.testing.assert_close(loss.total, expected)
    assert loss.difficulty > 0


def test_difficulty_loss_reaches_the_logits_through_the_branch():
    from deal.training.difficulty import DifficultyBranch

    torch.manual_seed(0)
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = joint_loss(
        logits,
        DifficultyBranch(3)(logits),
        torch.randint(0, 3, (1, 8, 8)),
        ignore_index=VOID,
        align_corners=True,
    )
    loss.difficulty.backward()
    assert logits.grad.abs().max() > 0
