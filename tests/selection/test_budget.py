from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deal.errors import ResultsError, UsageError
from deal.selection.budget import Budget, ClickModel, check_costs, cost_columns, costs, parse_budget


@pytest.mark.parametrize(
    ("budget", "rows", "expected"),
    [
        (None, 7, 7),
        ("50", 700, 50),
        (50, 700, 50),
        ("5%", 100, 5),
        ("5%", 101, 6),
        ("0.1%", 1000, 1),
        ("0.1%", 1001, 2),
        ("100%", 3, 3),
        ("5%", 0, 0),
        ("regions:2000", 10, 2000),
        ("images:5%", 101, 6),
        ("pixels:5e6", 10, 5_000_000),
        ("pixels:25%", 1001.0, 250.25),
        ("clicks:0.5", 10, 0.5),
    ],
)
def test_budget_is_an_amount_or_a_share(
    budget: str | int | None, rows: float, expected: float
) -> None:
    assert parse_budget(budget).resolve(rows) == expected


@given(st.integers(1, 10**6), st.integers(0, 10**9))
def test_percentages_are_exact(hundredths: int, rows: int) -> None:
    percent = Fraction(hundredths, 10_000)
    assert Budget(percent=percent).resolve(rows) == math.ceil(percent * rows / 100)


@pytest.mark.parametrize(
    "budget",
    [
        *("0", "-3", 0, "0%", "-5%", "100.1%", "five", "", "%", "1/0%", "2.5", "nan%", "inf%"),
        *("regions:2.5", "pixels:", "pixels:0", "clicks:-1", "clicks:nan", "clicks:inf"),
        *("pixels:1e400", "pixels:1e999999999", "pixels:1e-999999999", "9" * 20, "1e-999999999%"),
    ],
)
def test_budgets_that_make_no_sense_are_usage_errors(budget: str | int) -> None:
    with pytest.raises(UsageError, match="budget must be a positive number"):
        parse_budget(budget)


def test_an_unknown_unit_lists_the_units() -> None:
    with pytest.raises(UsageError, match="unknown unit 'click'; use one of images, regions"):
        parse_budget("click:5")


def test_the_text_of_a_budget_is_a_budget_again() -> None:
    for text in ("50", "5%", "0.25%", "regions:2000", "pixels:5000000", "clicks:10%"):
        assert str(parse_budget(text)) == text
        assert parse_budget(str(parse_budget(text))) == parse_budget(text)


def test_clicks_are_corners_length_and_a_fixed_part() -> None:
    columns = {"boundary_corners": np.array([4.0, 0.0]), "boundary_length": np.array([10.0, 2.0])}
    assert costs(columns, "clicks", ClickModel(), 2).tolist() == [5, 1]
    model = ClickModel(corner=2, length=0.5, fixed=3)
    assert costs(columns, "clicks", model, 2).tolist() == [16, 4]
    assert cost_columns("clicks", ClickModel()) == ("boundary_corners",)
    assert cost_columns("clicks", model) == ("boundary_corners", "boundary_length")


def test_rows_without_a_cost_are_counted() -> None:
    with pytest.raises(ResultsError, match="1 of 2 rows have no n_pixels, which their cost in pix"):
        check_costs(1, 2, "pixels", ClickModel())
    given = {"n_pixels": np.array([4.0, np.nan])}
    assert np.isnan(costs(given, "pixels", ClickModel(), 2)).tolist() == [False, True]


@pytest.mark.parametrize(
    "constants", [(0, 0, 0), (-1, 0, 1), (1, math.nan, 1), (1, 0, math.inf), ("1", 0, 1), (None,)]
)
def test_click_constants_that_make_no_sense(constants: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="click_corner, click_length and click_fixed"):
        ClickModel(*constants)
