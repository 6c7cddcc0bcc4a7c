"""mIoU by hand; AUROC, average precision and AURC against their definitions; rank correlation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deal.metrics import Confusion, ScoreCurve, spearman


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
    curve = ScoreCurve()
    middle = len(score) // 2
    curve.update(score[:middle], wrong[:middle])
    curve.update(score[middle:], wrong[middle:])
    assert curve.auroc() == pytest.approx(pairs(score, wrong), abs=1e-12)


def test_auroc_tells_tiny_scores_apart():
    score = np.array([1e-7, 1.01e-7, 3e-5, 3.1e-5], np.float32)
    wrong = np.array([False, True, False, True])
    curve = ScoreCurve()
    curve.update(score, wrong)
    assert curve.auroc() == pairs(score, wrong) == 0.75


def test_scores_outside_the_unit_interval_are_clipped_to_it():
    curve = ScoreCurve()
    curve.update(np.array([-0.5, 1.5, -0.0], np.float32), np.array([False, True, False]))
    assert curve.auroc() == 1


def test_a_score_may_stand_for_many_pixels():
    score = np.array([0.25, 0.5, 0.5, 0.75], np.float32)
    wrong = np.array([False, False, True, True])
    counts = np.array([5, 3, 2, 4])
    curve = ScoreCurve()
    curve.update(score, wrong, counts)
    each = np.repeat(score, counts), np.repeat(wrong, counts)
    assert curve.auroc() == pairs(*each)
    assert curve.pixels == 14


@pytest.mark.parametrize("area", ["auroc", "average_precision", "aurc"])
@pytest.mark.parametrize("flag", [True, False])
def test_areas_need_right_and_wrong_pixels(area, flag):
    curve = ScoreCurve()
    curve.update(np.array([0.5, 0.25], np.float32), np.array([flag, flag]))
    assert math.isnan(getattr(curve, area)())


def curve_of(score: np.ndarray, wrong: np.ndarray) -> ScoreCurve:
    curve = ScoreCurve()
    curve.update(score.astype(np.float32), wrong)
    return curve


def precision_area(score: np.ndarray, wrong: np.ndarray) -> float:
    """The definition: at every distinct score, precision times the growth of recall."""
    area, recall = 0.0, 0.0
    for threshold in sorted(set(score.tolist()), reverse=True):
        taken = score >= threshold
        grown = wrong[taken].sum() / wrong.sum()
        area += (grown - recall) * wrong[taken].mean()
        recall = grown
    return area


def risk_area(wrong_by_score: np.ndarray) -> float:
    """The definition, for pixels in ascending order of their score."""
    return float(np.mean(np.cumsum(wrong_by_score) / np.arange(1, len(wrong_by_score) + 1)))


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(1, 3), st.booleans()), min_size=2, max_size=6).filter(
        lambda pixels: len({wrong for _, wrong in pixels}) == 2
    )
)
def test_precision_and_risk_of_equal_scores_follow_their_definitions(pixels):
    score = np.array([value / 4 for value, _ in pixels])
    wrong = np.array([flag for _, flag in pixels])
    curve = curve_of(score, wrong)
    assert curve.average_precision() == pytest.approx(precision_area(score, wrong), abs=1e-12)
    orders = [list(order) for order in itertools.permutations(range(len(score)))]
    ascending = [order for order in orders if (np.diff(score[order]) >= 0).all()]
    expected = np.mean([risk_area(wrong[order]) for order in ascending])
    assert curve.aurc() == pytest.approx(expected, abs=1e-9)


def test_areas_of_many_pixels_are_within_the_stated_accuracy():
    rng = np.random.default_rng(5)
    score = rng.beta(2, 5, 40_000).astype(np.float32)
    wrong = rng.random(len(score)) < 0.02 + 0.5 * score**2
    order = np.argsort(score, kind="stable")
    ranks = np.empty(len(score))
    ranks[order] = np.arange(1, len(score) + 1)
    n_wrong, n_right = wrong.sum(), (~wrong).sum()
    auroc = (ranks[wrong].sum() - n_wrong * (n_wrong + 1) / 2) / (n_wrong * n_right)
    found = wrong[order[::-1]]
    precision = np.cumsum(found) / np.arange(1, len(score) + 1)
    curve = curve_of(score, wrong)
    assert curve.auroc() == pytest.approx(auroc, abs=2e-5)
    assert curve.average_precision() == pytest.approx(precision[found].mean(), abs=2e-4)
    assert curve.aurc() == pytest.approx(risk_area(wrong[order]), abs=2e-5)


def test_curves_of_separate_pixels_add():
    rng = np.random.default_rng(6)
    score, wrong = rng.random(500), rng.random(500) < 0.3
    parts = curve_of(score[:200], wrong[:200])
    parts += curve_of(score[200:], wrong[200:])
    whole = curve_of(score, wrong)
    assert (parts.auroc(), parts.aurc()) == (whole.auroc(), whole.aurc())
    assert (parts.pixels, parts.wrong) == (500, wrong.sum())


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ([1, 2, 3], [10, 20, 30], 1),
        ([1, 2, 3], [3, 2, 1], -1),
        ([1, 2, 2, 3], [1, 2, 3, 4], math.sqrt(0.9)),
        ([1, 2, 3, 4, 5], [2, 1, 4, 3, 5], 0.8),
        ([1, 1], [2, 2], 1),
        ([1, 1], [2, 3], 0),
    ],
)
def test_spearman_known_values(left, right, expected):
    assert spearman(np.array(left, float), np.array(right, float)) == pytest.approx(expected)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=2, max_size=30))
def test_spearman_sees_order_only_and_is_symmetric(pairs):
    left, right = np.array(pairs, float).T
    found = spearman(left, right)
    assert found == pytest.approx(spearman(right, left))
    assert found == pytest.approx(spearman(np.exp(left / 10), right**3))
    assert -1 - 1e-9 <= found <= 1 + 1e-9


def test_calibration_by_hand():
    curve = ScoreCurve()
    score = np.array([0, 0.0625, 0.0625, 0.75, 0.75, 1], np.float32)
    curve.update(score, np.array([False, False, True, True, False, True]))
    found = curve.calibration(bins=4)
    assert [(part.low, part.high, part.pixels) for part in found.bins] == [
        (0, 0.25, 3),
        (0.25, 0.5, 0),
        (0.5, 0.75, 0),
        (0.75, 1, 3),
    ]
    first, empty, _, last = found.bins
    assert first.mean_score == pytest.approx(0.125 / 3, rel=1e-3)
    assert (first.wrong_share, last.wrong_share) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert (empty.mean_score, empty.wrong_share) == (None, None)
    # three pixels off by 0.875/3 each, three by 0.5/3
    assert found.error == pytest.approx((0.875 + 0.5) / 6, rel=1e-3)


def test_calibration_is_that_of_single_scores():
    rng = np.random.default_rng(5)
    score = rng.beta(0.5, 1, 4000).astype(np.float32)
    wrong = rng.random(4000) < score**2
    index = np.minimum((score * 10).astype(int), 9)
    error = sum(abs((score - wrong)[index == number].sum()) for number in range(10)) / 4000
    assert curve_of(score, wrong).calibration().error == pytest.approx(error, abs=1e-3)


@pytest.mark.parametrize("odds", [0.25, 1, 8])
def test_weights_of_a_loss_are_undone(odds):
    p = np.linspace(0, 1, 1001)
    learned = odds * p / (odds * p + 1 - p)
    wrong = np.random.default_rng(1).random(1001) < p
    found = curve_of(learned, wrong).calibration(odds=odds)
    assert sum(part.mean_score * part.pixels for part in found.bins) / 1001 == pytest.approx(
        0.5, abs=1e-3
    )
    assert found.error == pytest.approx(curve_of(p, wrong).calibration().error, abs=2e-3)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.booleans()), min_size=1))
def test_risk_is_the_share_of_wrong_pixels_among_those_accepted_first(pixels):
    scores, wrong = (np.array(values) for values in zip(*pixels, strict=True))
    curve = ScoreCurve()
    curve.update(scores.astype(np.float32), wrong.astype(bool))
    coverages = [number / len(pixels) for number in range(1, len(pixels) + 1)]
    # by definition, pixel by pixel: equal scores have their mean each
    rates = [wrong[scores == score].mean() for score in np.sort(scores)]
    expected = np.cumsum(rates) / np.arange(1, len(pixels) + 1)
    np.testing.assert_allclose(curve.risks(coverages), expected, atol=1e-12)


def test_the_area_below_the_risks_is_the_aurc():
    rng = np.random.default_rng(0)
    scores = rng.random(2000).astype(np.float32)
    curve = ScoreCurve()
    curve.update(scores, rng.random(2000) < scores)
    coverages = [number / 2000 for number in range(1, 2001)]
    assert np.mean(curve.risks(coverages)) == pytest.approx(curve.aurc(), abs=1e-4)
