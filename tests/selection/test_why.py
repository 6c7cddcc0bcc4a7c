"""The column *why*, by hand: what is said of the picks of every function."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deal import acquisition, select
from deal.acquisitions import acquisition_names
from deal.acquisitions.registry import _REGISTRY
from deal.selection.reasons import class_levels, usual_levels
from deal.selection.sources import Sources

CLASSES = ("road", "sky", "car", "pole")
HISTOGRAM = [1] * 240


def pool(*rows: dict[str, Any]) -> pa.Table:
    """Rows with every column that a function may read; ``rows`` change some."""
    usual: dict[str, Any] = {
        "status": "ok",
        "n_pixels": 100,
        "class_pixels": [60, 30, 8, 2],
        "class_difficulty_sum": [10.0, 1.0, 25.0, 14.0],
        "class_entropy_sum": [70.0, 1.0, 2.0, 27.0],
        "class_difficulty_weighted_entropy_sum": [2.0, 96.0, 1.0, 1.0],
        "difficulty_hist": HISTOGRAM,
        "difficulty_hist_image": HISTOGRAM,
        "entropy_hist": HISTOGRAM,
        "boundary_pixels": 10,
    }
    for name in ("difficulty", "entropy", "margin", "least_confidence", "vote_entropy"):
        usual[f"{name}_mean"] = 0.5
    for name in ("entropy", "margin", "least_confidence"):
        usual[f"difficulty_weighted_{name}_mean"] = 0.25
    usual |= {"mutual_information_mean": 0.1, "consensus_entropy_mean": 0.6}
    filled = [{"id": f"{n}.png", **usual, **row} for n, row in enumerate(rows)]
    table = pa.Table.from_pylist(filled)
    return table.replace_schema_metadata({"deal.classes": '["road", "sky", "car", "pole"]'})


def why(table: pa.Table, name: str, **options: Any) -> dict[str, str | None]:
    return {row["id"]: row["why"] for row in select(table, acquisition=name, **options).records()}


DIFFICULTY = "car 50 %, pole 28 %, road 20 %"
ENTROPY = "road 70 %, pole 27 %"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ds", DIFFICULTY),
        ("ds:entropy", "sky 96 %"),
        ("ds:margin", "most difficulty × entropy in sky 96 %"),
        ("ds:least-confidence", "most difficulty × entropy in sky 96 %"),
        ("de", f"most difficulty in {DIFFICULTY}"),
        ("tail:difficulty", f"most difficulty in {DIFFICULTY}"),
        ("entropy", ENTROPY),
        ("ripu", ENTROPY),
        ("margin", f"most entropy in {ENTROPY}"),
        ("least-confidence", f"most entropy in {ENTROPY}"),
        ("tail:entropy", f"most entropy in {ENTROPY}"),
        ("vote-entropy", f"most entropy in {ENTROPY}"),
        ("bald", f"most entropy in {ENTROPY}"),
        ("kl-to-mean", f"most entropy in {ENTROPY}"),
        ("consensus-entropy", f"most entropy in {ENTROPY}"),
        ("random", "random draw"),
        ("core-set", "far from everything picked"),
    ],
)
def test_every_function_says_why(name: str, expected: str) -> None:
    assert why(pool({}), name) == {"0.png": expected}


def test_no_function_of_the_package_is_silent() -> None:
    for name in acquisition_names():
        options = {"focus": "pole"} if name.startswith("focus:") else {}
        assert all(why(pool({}), name, **options).values()), name


@pytest.fixture
def boundary() -> Any:
    @acquisition("boundary of a test", requires=["boundary_pixels", "n_pixels"])
    def function(columns: Any) -> Any:
        return columns["boundary_pixels"] / columns["n_pixels"]

    yield "boundary of a test"
    del _REGISTRY["boundary of a test"]


def test_a_function_of_your_own_tells_what_covers_more_than_usual(boundary: str) -> None:
    table = pool(
        {"class_pixels": [70, 20, 8, 2]},
        {"class_pixels": [60, 29, 8, 3]},
        {"class_pixels": [50, 9, 20, 21]},
        {"class_pixels": [1, 1, 1, 97], "status": "error"},  # does not count
    )
    # Medians by hand: road 60 %, sky 20 %, car 8 %, pole 3 %.
    assert why(table, boundary) == {
        "0.png": "more road 70 % (usually 60 %)",
        "1.png": "more sky 29 % (usually 20 %)",
        "2.png": "more pole 21 % (usually 3 %), car 20 % (usually 8 %)",
    }


def test_an_image_like_the_others_says_so(boundary: str) -> None:
    table = pool({"class_pixels": [60, 30, 8, 2]}, {"class_pixels": [60, 30, 8, 2]})
    assert set(why(table, boundary).values()) == {"no class above its usual share"}


def test_a_function_of_your_own_with_parts_by_class_keeps_them() -> None:
    @acquisition("car of a test", requires=["n_pixels"], class_sums="class_pixels")
    def function(columns: Any) -> Any:
        return columns["n_pixels"] * 1.0

    try:
        assert why(pool({}), "car of a test") == {"0.png": "road 60 %, sky 30 %, car 8 %"}
    finally:
        del _REGISTRY["car of a test"]


def test_a_table_without_the_columns_says_nothing(boundary: str) -> None:
    assert why(pool({}).drop_columns(["class_pixels"]), boundary) == {"0.png": None}
    assert why(pool({}).drop_columns(["class_entropy_sum"]), "margin") == {"0.png": None}


@pytest.mark.parametrize("name", ["ds", "ds:margin", "entropy", "margin", "boundary"])
def test_rows_that_all_lack_sums_say_nothing(name: str, boundary: str) -> None:
    table = pool({}, {})
    lists = [n for n in table.column_names if n.startswith("class_")]
    for column in lists:
        place = table.column_names.index(column)
        nulls = pa.nulls(len(table), table.column(column).type)
        table = table.set_column(place, column, nulls)
    assert set(why(table, boundary if name == "boundary" else name).values()) == {None}


def test_a_row_without_sums_says_nothing_and_the_others_do() -> None:
    table = pool({}, {"class_entropy_sum": None}, {"class_entropy_sum": [0.0] * 4})
    assert why(table, "margin") == {
        "0.png": f"most entropy in {ENTROPY}",
        "1.png": None,
        "2.png": None,
    }


@given(st.lists(st.lists(st.integers(0, 50), min_size=3, max_size=3), min_size=1, max_size=20))
def test_usual_shares_are_the_lower_median_of_shares_in_thousandths(rows: list[list[int]]) -> None:
    pixels = np.array(rows, np.int64)
    total = np.maximum(pixels.sum(axis=1), 1)
    table = pa.table(
        {
            "id": [str(n) for n in range(len(rows))],
            "status": ["ok"] * len(rows),
            "class_pixels": pa.array(rows, pa.list_(pa.int64())),
            "n_pixels": total,
        }
    )
    levels = class_levels(pixels, total)
    assert np.abs(levels - 1000 * pixels / total[:, None]).max() <= 0.5
    expected = np.sort(levels, axis=0)[(len(rows) - 1) // 2]
    for sources in (table, [table.slice(0, 1), table.slice(1)]):
        usual = usual_levels(Sources(sources))
        assert usual is not None
        assert usual.tolist() == expected.tolist()
