"""The oracle against the paper's own formulation, PyTorch and cases done by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

import deal
from tests.oracle import reference


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize(
    ("shape", "size"), [((5, 7), (20, 33)), ((9, 8), (4, 5)), ((1, 6), (3, 1))]
)
def test_resize_is_pytorchs_interpolate(align_corners, shape, size):
    torch = pytest.importorskip("torch")
    maps = np.random.default_rng(0).normal(size=(2, 3, *shape))
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(maps), size, mode="bilinear", align_corners=align_corners
    ).numpy()
    np.testing.assert_allclose(reference.resize(maps, size, align_corners), expected, atol=1e-12)


def test_attention_equals_attend_add_convolve():
    """The paper: softmax(PᵀP) attends over P, the result times γ is added to P, then 1×1 conv."""
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(6), size=50).T
    head = deal.DifficultyHead(0.7, rng.normal(size=6), 0.3)
    scores = np.exp(p.T @ p)
    weights = scores / scores.sum(axis=1, keepdims=True)
    attended = head.gamma * (p @ weights.T) + p
    expected = np.asarray(head.weight) @ attended + head.bias
    np.testing.assert_allclose(reference.attention(p, head), expected, atol=1e-12)


def test_equal_logits_are_as_uncertain_as_can_be():
    stats = reference.statistics(np.zeros((1, 4, 2, 2)), size=(3, 5))
    assert stats.images["entropy_mean"][0] == pytest.approx(math.log(4))
    assert stats.images["margin_mean"][0] == pytest.approx(1.0)
    assert stats.images["least_confidence_mean"][0] == pytest.approx(0.75)
    assert stats.images["class_pixels"].tolist() == [[15, 0, 0, 0]]
    assert stats.images["boundary_pixels"][0] == 0


def test_statistics_of_a_two_pixel_image_by_hand():
    logits = np.log([[0.7, 0.2], [0.3, 0.8]])[None, :, None, :]  # two pixels, two classes
    difficulty = np.log([[3.0, 1.0]])[None]  # sigmoid: 0.75 and 0.5
    stats = reference.statistics(logits, size=(1, 2), difficulty=difficulty).images
    entropy = [
        -(0.7 * math.log(0.7) + 0.3 * math.log(0.3)),
        -(0.2 * math.log(0.2) + 0.8 * math.log(0.8)),
    ]
    assert stats["entropy_mean"][0] == pytest.approx(sum(entropy) / 2)
    assert stats["margin_mean"][0] == pytest.approx((0.6 + 0.4) / 2)
    assert stats["least_confidence_mean"][0] == pytest.approx((0.3 + 0.2) / 2)
    assert stats["difficulty_mean"][0] == pytest.approx(0.625)
    assert stats["difficulty_weighted_entropy_mean"][0] == pytest.approx(
        (0.75 * entropy[0] + 0.5 * entropy[1]) / 2
    )
    assert stats["class_difficulty_sum"][0].tolist() == pytest.approx([0.75, 0.5])
    assert stats["boundary_pixels"][0] == 2
    assert np.flatnonzero(stats["difficulty_hist"][0]).tolist() == [120, 180]
    assert np.flatnonzero(stats["difficulty_hist_image"][0]).tolist() == [0, 239]


def test_a_constant_difficulty_is_level_zero_of_its_own_range():
    levels = reference.histogram_levels(np.full(7, 0.4), 0.4, 0.4)
    assert levels.tolist() == [0] * 7


def test_a_boundary_needs_both_sides_unmasked():
    classes = np.array([[0, 1, 1], [0, 0, 1]])
    everything = np.ones((2, 3), dtype=bool)
    assert reference._boundary(classes, everything).sum() == 4
    masked = np.array([[True, False, True], [True, True, True]])
    assert reference._boundary(classes, masked).tolist() == [
        [False, False, False],
        [False, True, True],
    ]
