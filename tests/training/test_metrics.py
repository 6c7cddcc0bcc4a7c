"""mIoU by hand, AUROC by counting pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deal.training.metrics import Auroc, Confusion


def test_iou_of_a_small_image():
    confusion = Confusion(3, ignore_index=7)
    label = np.array([[0, 0, 1], [2, 7, 7]])
    prediction = np.array([[0, 1, 1], [0, 2, 1]])
    confusion.update(prediction, label)
    np.testing.assert_allclose(confusion.iou(), [1 / 3, 1 / 2, 0])
    assert confusion.miou() == pytest.approx((1 / 3 + 1 / 2) / 3)
    assert confusion.accuracy() == pytest.approx(2 / 4)


def test_images_add_up():
    both, one = Confusion(2, 255), Confusion(2, 255)
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 2, (2, 2, 4, 4))
    for prediction, label in zip(predictions, labels, strict=True):
        both.update(prediction, label)
    one.update(predictions.reshape(8, 4), labels.reshape(8, 4))
    np.testing.assert_array_equal(both.counts, one.counts)


def test_a_class_that_never_occurs_has_no_iou_and_no_part_in_the_mean():
    confusion = Confusion(3, 255)
    confusion.update(np.array([0, 0, 1]), np.array([0, 0, 0]))
    assert math.isnan(confusion.iou()[2])
    assert confusion.miou() == pytest.approx(2 / 3)
    assert math.isnan(Confusion(2, 255).miou())


def pairs(score: np.ndarray, wrong: np.ndarray) -> float:
    """The definition: every wrong pixel against every right one, ties a half."""
    difference = score[wrong][:, None] - score[~wrong][None]
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 64), st.booleans()), min_size=2, max_size=60).filter(
        lambda pixels: len({wrong for _, wrong in pixels}) == 2
    )
)
def test_auroc_equals_the_count_of_pairs(pixels):
    score = np.array([value / 64 for value, _ in pixels], np.float32)
    wrong = np.array([flag for _, flag in pixels])
    curve = Auroc()
    middle = len(score) // 2
    curve.update(score[:middle], wrong[:middle])
    curve.update(score[middle:], wrong[middle:])
    assert curve.value() == pytest.approx(pairs(score, wrong), abs=1e-12)


def test_auroc_tells_tiny_scores_apart():
    score = np.array([1e-7, 1.01e-7, 3e-5, 3.1e-5], np.float32)
    wrong = np.array([False, True, False, True])
    curve = Auroc()
    curve.update(score, wrong)
    assert curve.value() == pairs(score, wrong) == 0.75


def test_scores_outside_the_unit_interval_are_clipped_to_it():
    curve = Auroc()
    curve.update(np.array([-0.5, 1.5, -0.0], np.float32), np.array([False, True, False]))
    assert curve.value() == 1


def test_auroc_needs_right_and_wrong_pixels():
    curve = Auroc()
    curve.update(np.array([0.5, 0.25], np.float32), np.array([True, True]))
    assert math.isnan(curve.value())
