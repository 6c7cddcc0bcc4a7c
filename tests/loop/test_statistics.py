"""Intervals, pairs, areas and wins, by hand and by printed tables."""

from __future__ import annotations

import math

import pytest

from deal.loop.statistics import (
    area_under_curve,
    labels_needed,
    mean_interval,
    paired_differences,
    seeds_needed,
    significant_wins,
    student_cdf,
    student_quantile,
    wins,
)

CURVES = {
    "random": {0: [0.3, 0.40, 0.50], 1: [0.2, 0.30, 0.40], 2: [0.1, 0.20, 0.30]},
    "ds": {0: [0.3, 0.42, 0.50], 1: [0.2, 0.33, 0.38], 2: [0.1, 0.24, 0.36]},
}


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    # Two-sided 95 % and 99 %, as tables of Student's t print them.
    [
        ((1, 0.975), 12.706),
        ((2, 0.975), 4.303),
        ((3, 0.975), 3.182),
        ((4, 0.975), 2.776),
        ((9, 0.975), 2.262),
        ((30, 0.975), 2.042),
        ((5, 0.995), 4.032),
        ((10, 0.995), 3.169),
    ],
)
def test_quantiles_are_those_of_the_printed_tables(freedom, quantile):
    assert student_quantile(freedom[1], freedom[0]) == pytest.approx(quantile, abs=5e-4)


def test_the_distribution_is_symmetric_and_cauchy_with_one_degree_of_freedom():
    for t in (-3.0, -0.5, 0.0, 1.0, 20.0):
        assert student_cdf(t, 1) == pytest.approx(0.5 + math.atan(t) / math.pi, abs=1e-14)
        assert student_cdf(t, 7) == pytest.approx(1 - student_cdf(-t, 7), abs=1e-14)
        assert student_cdf(t, 2) == pytest.approx(0.5 + t / (2 * math.sqrt(2 + t * t)), abs=1e-14)


def test_an_interval_of_three_values_is_that_by_hand():
    # Mean 2, standard deviation 1: 4.303 / sqrt(3).
    found = mean_interval([1.0, 2.0, 3.0])
    assert (found.mean, found.count) == (2.0, 3)
    assert found.half == pytest.approx(2.484, abs=1e-3)
    assert (found.low, found.high) == (found.mean - found.half, found.mean + found.half)


def test_two_values_have_no_interval_and_none_no_mean():
    assert mean_interval([0.5]).mean == 0.5
    assert mean_interval([0.5, 0.7]).mean == pytest.approx(0.6)
    assert math.isnan(mean_interval([0.5]).half)
    assert math.isnan(mean_interval([0.5, 0.7]).half)
    assert math.isnan(mean_interval([]).mean)


def test_differences_are_paired_by_seed_and_begin_with_the_second_round():
    rounds, average = paired_differences(CURVES, "ds", "random")
    assert [each.mean for each in rounds] == pytest.approx([0.03, 0.04 / 3])
    # Differences of round 2 are 0.02, 0.03, 0.04: sd 0.01.
    assert rounds[0].half == pytest.approx(4.3027 * 0.01 / math.sqrt(3), abs=1e-6)
    # Averaged over rounds: 0.01, 0.005, 0.05.
    assert average.mean == pytest.approx(0.065 / 3)


def test_a_seed_that_only_one_method_has_does_not_count():
    curves = {**CURVES, "ds": {**CURVES["ds"], 7: [0.9, 0.9, 0.9]}}
    assert paired_differences(curves, "ds", "random") == paired_differences(CURVES, "ds", "random")
    alone = paired_differences({"a": {0: [0.1, 0.2]}, "b": {1: [0.1, 0.2]}}, "a", "b")
    assert alone[0] == []
    assert alone[1].count == 0


def test_a_run_that_has_only_begun_takes_nothing_from_the_others():
    begun = {name: {**of, 7: [0.5]} for name, of in CURVES.items()}
    assert paired_differences(begun, "ds", "random") == paired_differences(CURVES, "ds", "random")
    assert significant_wins(begun) == significant_wins(CURVES)
    assert wins(begun) == wins(CURVES)


def test_a_round_counts_for_the_seeds_that_have_it_and_the_average_for_whole_runs():
    curves = {**CURVES, "ds": {**CURVES["ds"], 2: [0.1, 0.24]}}
    rounds, average = paired_differences(curves, "ds", "random")
    assert [each.count for each in rounds] == [3, 2]
    assert rounds[1].mean == pytest.approx(-0.01)
    assert (average.count, average.mean) == (2, pytest.approx(0.0075))


def test_area_is_a_mean_metric_by_trapezoids():
    assert area_under_curve([10, 20, 40], [0.2, 0.4, 0.4]) == pytest.approx((3 + 8) / 30)
    assert area_under_curve([1, 5], [0.7, 0.7]) == pytest.approx(0.7)
    assert math.isnan(area_under_curve([10], [0.2]))


def test_labels_needed_lie_on_the_line_between_rounds():
    assert labels_needed([10, 20, 40], [0.2, 0.4, 0.5], 0.3) == pytest.approx(15)
    assert labels_needed([10, 20, 40], [0.2, 0.4, 0.5], 0.1) == 10
    assert labels_needed([10, 20, 40], [0.2, 0.4, 0.5], 0.6) is None


def test_wins_count_pairs_of_seed_and_round_with_half_for_equals():
    found = wins(CURVES)
    # ds: above in 2/2 (seed 2), 1/2 (seed 1: 0.38 < 0.40), 1 and an equal one (seed 0).
    assert found["ds"]["random"] == pytest.approx(4.5 / 6)
    assert found["random"]["ds"] == pytest.approx(1.5 / 6)
    assert found["ds"]["ds"] is None


def test_a_significant_win_is_an_interval_above_zero():
    # Round 2: 0.03 ± 0.0248 lies above 0; round 3: 0.013 ± 0.1 does not.
    assert significant_wins(CURVES)["ds"]["random"] == 0.5
    assert significant_wins(CURVES)["random"]["ds"] == 0.0
    one = {name: {0: of[0]} for name, of in CURVES.items()}
    assert significant_wins(one)["ds"]["random"] is None


def test_the_seeds_that_narrow_an_interval_are_enough_and_one_less_is_not():
    # Standard deviation 0.03: t(35) 0.03 / 6 = 0.01015 with t 2.0301, t(36) 0.03 / √37 = 0.0100.
    values = mean_interval([0.0, 0.03, 0.06])
    assert seeds_needed(values, 0.0101) == 37
    assert seeds_needed(values, 0.0102) == 36
    assert seeds_needed(mean_interval([0.1, 0.1, 0.1]), 0.01) == 3
