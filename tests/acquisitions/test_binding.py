from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deal.acquisitions import (
    Columns,
    Scores,
    acquisition,
    acquisition_names,
    acquisition_scores,
    canonical_name,
    columns,
    registry,
    required_columns,
)
from deal.errors import ResultsError, UsageError

MEANS = {
    "ds": "difficulty_mean",
    "ds:none": "difficulty_mean",
    "ds:entropy": "difficulty_weighted_entropy_mean",
    "ds:margin": "difficulty_weighted_margin_mean",
    "ds:least-confidence": "difficulty_weighted_least_confidence_mean",
    "entropy": "entropy_mean",
    "margin": "margin_mean",
    "least-confidence": "least_confidence_mean",
}


@pytest.fixture
def own_registry() -> Iterator[None]:
    """Forget afterwards what a test registers."""
    before = registry.registered()
    yield
    registry._REGISTRY.clear()
    registry._REGISTRY.update(before)


def histogram(*levels: int) -> list[int]:
    """240 levels holding one pixel at each of ``levels``."""
    counts = [0] * 240
    for level in levels:
        counts[level] += 1
    return counts


@pytest.mark.parametrize(("name", "column"), MEANS.items())
def test_means_are_read_from_their_column(name: str, column: str) -> None:
    columns = {other: np.array([9.0, 9.0]) for other in MEANS.values()}
    columns[column] = np.array([0.25, 0.5])
    assert acquisition_scores(columns, name).tolist() == [0.25, 0.5]
    assert required_columns(name) == (column,)


def test_names_are_those_of_the_design() -> None:
    assert {*MEANS, "de", "random"} < set(acquisition_names())
    assert canonical_name("ds") == "ds:none"


def test_de_is_the_entropy_of_the_coarse_histogram() -> None:
    # L = 8: levels 0 and 29 share a bin, 30 opens the next one.
    columns = {"difficulty_hist_image": np.array([histogram(0, 29, 30, 239)])}
    p = np.array([0.5, 0.25, 0.25])
    expected = float(-(p * np.log(p)).sum())
    assert acquisition_scores(columns, "de")[0] == pytest.approx(expected, rel=1e-15)
    assert acquisition_scores(columns, "de", levels=240)[0] == pytest.approx(math.log(4), rel=1e-15)


def test_de_edges_choose_the_histogram() -> None:
    columns = {
        "difficulty_hist_image": np.array([histogram(0, 239)]),
        "difficulty_hist": np.array([histogram(0, 0)]),
    }
    assert acquisition_scores(columns, "de", edges="image")[0] == pytest.approx(math.log(2))
    assert acquisition_scores(columns, "de", edges="fixed")[0] == 0.0
    assert required_columns("de", edges="fixed") == ("difficulty_hist",)
    assert required_columns("de") == ("difficulty_hist_image",)


def test_de_of_an_image_without_pixels_is_nan() -> None:
    assert np.isnan(acquisition_scores({"difficulty_hist_image": np.zeros((1, 240))}, "de"))[0]


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.lists(st.integers(0, 1000), min_size=240, max_size=240), min_size=1, max_size=4),
    st.sampled_from([n for n in range(2, 241) if 240 % n == 0]),
)
def test_de_lies_between_zero_and_log_levels(counts: list[list[int]], levels: int) -> None:
    columns = {"difficulty_hist_image": np.array(counts)}
    scores = acquisition_scores(columns, "de", levels=levels)
    defined = scores[~np.isnan(scores)]
    assert len(defined) == sum(any(row) for row in counts)
    assert np.all((defined >= 0) & (defined <= math.log(levels) + 1e-12))


def test_random_depends_on_seed_and_id_alone() -> None:
    ids = ["a.jpg", "b/ü.jpg", "line\nbreak", ""]
    scores = acquisition_scores({"id": ids}, "random", seed=3)
    backwards = acquisition_scores({"id": ids[::-1]}, "random", seed=3)
    alone = [acquisition_scores({"id": [item]}, "random", seed=3)[0] for item in ids]
    assert scores.tolist() == backwards[::-1].tolist() == alone
    assert set(scores).isdisjoint(acquisition_scores({"id": ids}, "random", seed=4))


def test_random_is_pinned_across_releases() -> None:
    assert acquisition_scores({"id": ["a"]}, "random", seed=0).tolist() == [0.8278145087896002]


def test_random_is_uniform() -> None:
    scores = acquisition_scores({"id": [f"{i}.jpg" for i in range(20_000)]}, "random")
    counts, _ = np.histogram(scores, bins=20, range=(0, 1))
    # Chi-square with 19 degrees of freedom exceeds 43.8 once in a thousand seeds; this one is 0.
    assert ((counts - 1000) ** 2 / 1000).sum() < 43.8


def test_rows_that_are_not_ok_or_null_are_nan() -> None:
    table = pa.table(
        {
            "status": ["ok", "error", "ok", "duplicate"],
            "entropy_mean": pa.array([0.5, None, None, 0.7], pa.float64()),
        }
    )
    scores = acquisition_scores(table, "entropy")
    assert scores[0] == 0.5
    assert np.isnan(scores[1:]).all()


@pytest.mark.parametrize("kind", [pa.list_(pa.int64()), pa.list_(pa.int64(), 240)])
def test_a_table_and_a_dict_score_alike(kind: pa.DataType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "CHUNK_ROWS", 3)
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 9, (10, 240))
    rows: list[list[int] | None] = counts.tolist()
    rows[4] = None
    status = ["ok"] * 10
    status[7] = "error"
    table = pa.table({"difficulty_hist_image": pa.array(rows, kind), "status": status})
    expected = acquisition_scores({"difficulty_hist_image": counts}, "de", levels=10)
    expected[[4, 7]] = np.nan
    np.testing.assert_array_equal(acquisition_scores(table, "de", levels=10), expected)


def test_an_empty_table_has_no_scores() -> None:
    table = pa.table({"status": pa.array([], pa.string()), "entropy_mean": pa.array([], "f8")})
    assert acquisition_scores(table, "entropy").shape == (0,)


def test_unknown_name_suggests_and_lists() -> None:
    with pytest.raises(UsageError, match=r"Did you mean 'entropy'\?.*least-confidence.*random"):
        acquisition_scores({}, "entrpy")


def test_missing_difficulty_names_the_remedy() -> None:
    with pytest.raises(ResultsError, match=r"lack difficulty_mean; .*deal fit-head"):
        acquisition_scores({"entropy_mean": np.ones(1)}, "ds")


def test_difficulty_null_everywhere_counts_as_missing() -> None:
    table = pa.table(
        {"status": ["ok", "error"], "difficulty_mean": pa.array([None, None], pa.float64())}
    )
    with pytest.raises(ResultsError, match=r"hold no values in difficulty_mean.*deal fit-head"):
        acquisition_scores(table, "ds")


def test_missing_column_of_another_kind_has_no_difficulty_hint() -> None:
    with pytest.raises(ResultsError, match="lack id; score the pool again"):
        acquisition_scores({"entropy_mean": np.ones(1)}, "random")


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("entropy", {"levels": 8}, "takes no levels; only de does"),
        ("ds", {"edges": "image"}, "'ds:none' takes no edges"),
        ("de", {"levels": 7}, "levels must divide 240: one of 2, 3, 4"),
        ("de", {"levels": 1}, "levels must divide 240"),
        ("de", {"levels": -8}, "levels must divide 240"),
        ("de", {"edges": "round"}, "edges must be image or fixed"),
    ],
)
def test_options_that_do_not_fit_are_usage_errors(
    name: str, options: dict[str, object], match: str
) -> None:
    with pytest.raises(UsageError, match=match):
        required_columns(name, **options)  # type: ignore[arg-type]


@pytest.mark.usefixtures("own_registry")
def test_a_users_function_joins_the_registry() -> None:
    @acquisition("boundary", requires=["boundary_pixels", "n_pixels"])
    def boundary(columns: Columns) -> Scores:
        """Share of boundary pixels."""
        share: Scores = columns["boundary_pixels"] / columns["n_pixels"]
        return share

    table = pa.table(
        {
            "status": ["ok", "error", "ok"],
            "boundary_pixels": pa.array([1, None, 3], pa.int64()),
            "n_pixels": pa.array([4, None, 4], pa.int64()),
        }
    )
    np.testing.assert_array_equal(acquisition_scores(table, "boundary"), [0.25, np.nan, 0.75])
    acquisition("boundary", requires=[])(boundary)  # a notebook cell that runs again
    for taken in ("boundary", "entropy", "ds"):
        with pytest.raises(UsageError, match="already registered"):
            acquisition(taken, requires=[])(lambda columns: columns["id"])


@pytest.mark.usefixtures("own_registry")
def test_a_function_of_the_wrong_shape_is_named() -> None:
    acquisition("bad", requires=["id"])(lambda columns: np.zeros(1))
    with pytest.raises(UsageError, match=r"'bad' returned shape \(1,\) for 2 rows"):
        acquisition_scores({"id": ["a", "b"]}, "bad")


@pytest.mark.usefixtures("own_registry")
@pytest.mark.parametrize(
    ("returned", "match"),
    [
        (lambda columns: 1 // 0, "'bad' fails .ZeroDivisionError: .*: repair the function"),
        (lambda columns: ["x", "y"], "'bad' fails .ValueError: "),
        (lambda columns: columns["n"] * np.inf, "'bad' returned infinite values"),
    ],
)
def test_a_function_that_fails_is_one_line(returned: Any, match: str) -> None:
    acquisition("bad", requires=["n"])(returned)
    with pytest.raises(UsageError, match=match):
        acquisition_scores({"n": [1.0, 2.0]}, "bad")


@pytest.mark.usefixtures("own_registry")
def test_totals_that_are_no_numbers_are_one_line() -> None:
    @acquisition("bad", requires=["n"], totals=lambda columns: "many")
    def bad(columns: Any, *, totals: Any) -> Any:
        return columns["n"]

    with pytest.raises(UsageError, match=r"'bad' fails .ValueError: "):
        acquisition_scores({"n": [1.0, 2.0]}, "bad")


@pytest.mark.usefixtures("own_registry")
def test_truth_values_are_read_from_text() -> None:
    @acquisition("flagged", requires=["n"])
    def flagged(columns: Any, *, flag: bool = True) -> Any:
        return columns["n"] * (1.0 if flag else -1.0)

    for flag in (False, "false", "False"):
        scores = acquisition_scores(
            {"n": [1.0, 2.0]}, "flagged", acquisition_options={"flag": flag}
        )
        np.testing.assert_array_equal(scores, [-1.0, -2.0])
    with pytest.raises(UsageError, match="flag must be true or false, not 'no'"):
        acquisition_scores({"n": [1.0, 2.0]}, "flagged", acquisition_options={"flag": "no"})


def test_names_in_other_letters_are_suggested() -> None:
    with pytest.raises(UsageError, match="Did you mean 'ds:entropy'"):
        acquisition_scores({}, "DS:Entropy")
    with pytest.raises(UsageError, match="Did you mean 'Pole'"):
        acquisition_scores({}, "focus:pixels", focus="POLE", classes=("Sky", "Pole"))
