"""Budgets, quotas, gaps and lists, against a plain loop over dicts; whatever the order stored."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deal import select
from deal.errors import ResultsError, UsageError
from deal.selection import Selection

SECOND = 1_000_000_000
Row = dict[str, Any]


@st.composite
def pools(draw: st.DrawFn) -> list[Row]:
    rows = []
    for number in range(draw(st.integers(0, 14))):
        folder = draw(st.sampled_from(["", "a/", "b/c/"]))
        rows.append(
            {
                "id": f"{folder}run2_{number:04d}.jpg",
                "status": draw(st.sampled_from(["ok"] * 5 + ["error"])),
                "entropy_mean": draw(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])),
                "camera": draw(st.sampled_from(["front", "rear", None])),
                "sequence": draw(st.sampled_from(["s", "t"])),
                "timestamp_ns": draw(st.integers(0, 8)) * SECOND,
                "attributes": [("weather", draw(st.sampled_from(["rain", "sun"])))],
                "n_pixels": draw(st.integers(1, 9)),
                "boundary_corners": draw(st.integers(0, 5)),
                "boundary_length": float(draw(st.integers(0, 5))),
            }
        )
    return rows


def table(rows: list[Row]) -> pa.Table:
    text, number = pa.string(), pa.int64()
    schema = {
        "id": text,
        "status": text,
        "entropy_mean": pa.float64(),
        "camera": text,
        "sequence": text,
        "timestamp_ns": number,
        "attributes": pa.map_(text, text),
        "n_pixels": number,
        "boundary_corners": number,
        "boundary_length": pa.float64(),
    }
    return pa.Table.from_pylist(rows, pa.schema(schema))


def run(rows: list[Row], **options: Any) -> Selection:
    return select(table(rows), acquisition="entropy", **options)


def cost(row: Row, unit: str) -> float:
    if unit == "clicks":
        return float(row["boundary_corners"] + 1)
    return float(row["n_pixels"]) if unit == "pixels" else 1.0


def expected(rows: list[Row], unit: str, limit: float, quota: float | None, gap: int) -> list[str]:
    """The greedy choice, in the words of the documentation."""

    def key(row: Row) -> tuple[float, bytes]:
        price = cost(row, unit) if unit in ("pixels", "clicks") else 1
        return -row["entropy_mean"] / price, row["id"].encode()

    taken: list[Row] = []
    for row in sorted((row for row in rows if row["status"] == "ok"), key=key):
        if sum(cost(other, unit) for other in [*taken, row]) > limit:
            continue
        same = [other for other in [*taken, row] if other["camera"] == row["camera"]]
        if quota is not None and sum(cost(other, unit) for other in same) > quota:
            continue
        if any(
            (other["sequence"], other["camera"]) == (row["sequence"], row["camera"])
            and abs(other["timestamp_ns"] - row["timestamp_ns"]) < gap
            for other in taken
        ):
            continue
        taken.append(row)
    return [row["id"] for row in taken]


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(pools(), st.sampled_from(["images", "pixels", "clicks"]), st.data())
def test_the_choice_is_greedy_and_keeps_to_budget_quota_and_gap(
    rows: list[Row], unit: str, data: st.DataObject
) -> None:
    limit = data.draw(st.integers(4, 30))
    percent = data.draw(st.none() | st.sampled_from([40, 50, 75]))
    gap = data.draw(st.integers(0, 3))
    smallest = min((cost(r, unit) for r in rows if r["status"] == "ok"), default=0)
    quota = None if percent is None else float(Fraction(percent * limit, 100))
    cameras = {row["camera"] for row in rows if row["status"] == "ok"}
    if quota is not None and (quota < smallest or cameras <= {None}):
        return
    selection = run(
        rows,
        budget=f"{unit}:{limit}",
        quota=() if percent is None else f"camera={percent}%",
        min_gap=f"{gap}s" if gap else None,
    )
    assert list(selection.ids) == expected(rows, unit, limit, quota, gap * SECOND)
    named = {row["id"]: row for row in rows}
    spent = sum(cost(named[name], unit) for name in selection.ids)
    assert selection.metadata["spent"] == spent <= limit
    assert [r["cost"] for r in selection.records()] == [cost(named[i], unit) for i in selection.ids]


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(pools(), st.data())
def test_order_of_storage_and_shards_change_no_byte(rows: list[Row], data: st.DataObject) -> None:
    mixed = data.draw(st.permutations(rows))
    cut = data.draw(st.integers(0, len(rows)))
    options: dict[str, Any] = data.draw(
        st.sampled_from(
            [
                {"budget": "pixels:20"},
                {"budget": "clicks:50%"},
                {"budget": 5, "min_gap": "2f"},
                {"budget": 6, "quota": ["folder=3", "weather:rain=50%"], "cost": "pixels"},
                {"budget": 4, "by": "score-per-cost", "cost": "clicks", "click_length": 0.1},
            ]
        )
    )
    whole = run(rows, **options)
    shards = [table(mixed[:cut]), table(mixed[cut:])]
    split = select(shards, acquisition="entropy", **options)
    assert split.to_csv() == whole.to_csv()
    assert split.to_json() == whole.to_json()


def simple(scores: dict[str, float], **columns: Any) -> pa.Table:
    return pa.table({"id": list(scores), "entropy_mean": list(scores.values()), **columns})


def test_a_row_that_does_not_fit_is_skipped_for_a_later_cheaper_one() -> None:
    rows = simple({"a": 0.9, "b": 0.8, "c": 0.7}, n_pixels=[3, 4, 2])
    selection = select(rows, acquisition="entropy", budget="pixels:5", by="score")
    assert selection.ids == ("a", "c")


def test_a_budget_that_pays_for_nothing_says_what_the_cheapest_costs() -> None:
    rows = simple({"a": 0.9, "b": 0.8}, n_pixels=[30, 40])
    selection = select(rows, acquisition="entropy", budget="pixels:5")
    assert len(selection) == 0
    assert selection.notes == (
        "the budget of 5 pixels pays for none of the 2 images: the cheapest costs 30",
    )


def test_score_per_cost_is_the_default_for_pixels_and_clicks_only() -> None:
    rows = simple({"dear": 0.9, "cheap": 0.5}, n_pixels=[10, 1])
    assert select(rows, acquisition="entropy", budget="pixels:50%").ids == ("cheap",)
    assert select(rows, acquisition="entropy", budget=1, cost="pixels").ids == ("dear",)


def test_a_quota_of_one_value_leaves_the_others_alone() -> None:
    rows = simple({"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6}, camera=["x", "x", "y", "y"])
    assert select(rows, acquisition="entropy", budget=3, quota="camera:x=1").ids == ("a", "c", "d")


def test_folders_are_those_of_the_id() -> None:
    rows = simple({"a/b/1": 0.9, "a/2": 0.8, "a/b/3": 0.7, "4": 0.6, "5": 0.5})
    selection = select(rows, acquisition="entropy", budget=4, quota="folder=1")
    assert selection.ids == ("a/b/1", "a/2", "4")
    assert selection.notes == (
        "the rules allow 3 of the budget of 4 images: no other may be taken",
    )


def test_frames_are_the_last_number_in_the_stem_of_the_id() -> None:
    names = ["d7/cam2_0010.mp4", "d7/cam2_0012.jp2", "clip.mp4#frame=15", "8/0021_left.png"]
    rows = simple({n: 1 - i / 10 for i, n in enumerate(names)}, sequence=["s"] * 4)
    chosen = select(rows, acquisition="entropy", min_gap="3f").ids
    assert chosen == (names[0], names[2], names[3])


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"quota": "camera:front=2"},
        {"stratify": "camera"},
        {"quota": "camera=2", "window": "1h", "window_budget": 2},
    ],
    ids=str,
)
def test_gaps_of_a_sequence_hold_among_its_cameras_whatever_else_groups_by_camera(
    other: dict[str, Any],
) -> None:
    rows = simple(
        {"f_1.jpg": 0.9, "f_2.jpg": 0.8, "f_30.jpg": 0.1},
        camera=["front", "rear", "front"],
        sequence=["s"] * 3,
        timestamp_ns=[0, 0, 0],
    )
    options: dict[str, Any] = {"acquisition": "entropy", "budget": 2, "min_gap": "10f", **other}
    assert select(rows, gap_per="sequence", **options).ids == ("f_1.jpg", "f_30.jpg")
    assert select(rows, gap_per="camera", **options).ids == ("f_1.jpg", "f_2.jpg")


def test_lists_leave_out_and_take_first(tmp_path: Path) -> None:
    labeled, wanted = tmp_path / "labeled.csv", tmp_path / "wanted.txt"
    labeled.write_text("rank,id,score\n1,a,0.9\n2,gone,0.8\n")
    wanted.write_text("d\nlost\nnull\n")
    rows = simple({"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.1, "null": np.nan})
    rows = rows.append_column("status", [["ok"] * 4 + ["error"]])
    selection = select(rows, acquisition="entropy", budget=2, exclude=labeled, include=[wanted])
    assert selection.ids == ("d", "b")
    assert selection.notes == (
        "1 of the 2 names to exclude are not in the results",
        "2 of the 3 names to include are no scored rows",
    )
    assert selection.metadata["exclude"]["names"] == 2
    wanted.write_text("a\nb\n")
    with pytest.raises(ResultsError, match="the 2 included rows cost 2, more than the budget of 1"):
        select(rows, acquisition="entropy", budget=1, include=wanted)
    with pytest.raises(UsageError, match="1 names are in exclude and include, such as 'a'"):
        select(rows, acquisition="entropy", exclude=labeled, include=wanted)


def test_included_rows_count_for_quotas_and_gaps(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("f3\n")
    rows = simple({"f1": 0.9, "f2": 0.8, "f8": 0.7}, sequence=["s"] * 3)
    rows = pa.concat_tables([rows, simple({"f3": 0.1}, sequence=["s"])])
    selection = select(rows, acquisition="entropy", min_gap="2f", include=tmp_path / "in.txt")
    assert selection.ids == ("f3", "f1", "f8")


def test_sequences_are_derived_when_selecting_and_stored_ones_stay_where_nothing_matches() -> None:
    scores = {"a/f1": 0.9, "a/f2": 0.8, "b/f1": 0.7, "f3": 0.6, "f4": 0.5}
    rows = simple(scores, sequence=["x", "x", "x", "s", "s"])
    options = {"acquisition": "entropy", "min_gap": "5f"}
    assert select(rows, **options).ids == ("a/f1", "f3")
    selection = select(rows, sequence_from="^([a-z]+)/", **options)
    assert selection.ids == ("a/f1", "b/f1", "f3")
    assert selection.metadata["sequence_from"] == "^([a-z]+)/"
    with pytest.raises(UsageError, match="no group"):
        select(rows, sequence_from="^[a-z]+/", **options)


@pytest.mark.parametrize(
    ("options", "columns", "match"),
    [
        ({"min_gap": "2s"}, {"sequence": ["s", "s"]}, "the table lacks the column timestamp_ns"),
        (
            {"min_gap": "2s"},
            {"sequence": ["s", "s"], "timestamp_ns": [1, None]},
            "1 of 2 rows have no timestamp_ns; .* or give the gap in frames",
        ),
        ({"min_gap": "2f"}, {"sequence": ["s", "s"]}, "1 of 2 rows have no number in the stem"),
        ({"min_gap": "2f"}, {"sequence": [None, "s"]}, "1 of 2 rows have no sequence; .*-from"),
        ({"quota": "camera=5"}, {"camera": pa.nulls(2, pa.string())}, "none of 2 rows has a cam"),
        ({"quota": "w=5"}, {}, "lacks the column attributes"),
        ({"quota": "id=5"}, {"attributes": pa.nulls(2)}, "none of 2 rows has a id"),
        (
            {"quota": "folder=20%", "budget": "60%"},
            {},
            "quota folder=20% of a budget of 2 is 0.4, less than any row costs",
        ),
        (
            {"quota": "folder=20%", "budget": "pixels:20"},
            {"n_pixels": [5, 5]},
            "quota folder=20% of a budget of 20 is 4, less than any row costs",
        ),
        ({"budget": "clicks:5"}, {"boundary_corners": [1, None]}, "1 of 2 rows have no boundary_c"),
        ({"budget": "pixels:5"}, {}, "lacks the column n_pixels"),
    ],
)
def test_what_rules_need_is_asked_for(
    options: dict[str, Any], columns: dict[str, Any], match: str
) -> None:
    with pytest.raises(ResultsError, match=match):
        select(simple({"f1": 0.9, "f": 0.8}, **columns), acquisition="entropy", **options)


def test_values_that_are_missing_or_misspelt_are_notes() -> None:
    rows = simple({"a": 0.9, "b": 0.8}, camera=["front", None])
    selection = select(rows, acquisition="entropy", quota=["camera:fornt=1", "camera=1"])
    assert selection.notes == (
        "1 of 2 rows have no camera: quota camera:fornt=1 counts them together as one value",
        "quota camera:fornt=1: no row has camera 'fornt'",
        "1 of 2 rows have no camera: quota camera=1 counts them together as one value",
    )


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"budget": "regions:5", "table": "images"}, "does not go with table 'images'"),
        ({"budget": "pixels:5", "cost": "clicks"}, "a budget in pixels does not go with a cost"),
        ({"by": "score-per-cost"}, "score-per-cost needs a cost"),
        ({"by": "cost"}, "by must be one of"),
        ({"cost": "money"}, "cost must be one of"),
        ({"seed": "a"}, "seed must be a whole number, not 'a'"),
        ({"seed": 0.5}, "seed must be a whole number, not 0.5"),
        ({"max_per_image": 1.5, "table": "regions"}, "max_per_image must be a whole number"),
        ({"max_per_image": 2}, "max_per_image limits regions"),
        ({"max_per_image": 0, "table": "regions"}, "max_per_image must be at least 1"),
        ({"diverse": 3}, "diverse needs a budget"),
        *(
            ({"diverse": value, "budget": 3}, "diverse must be a multiple .* such as 4 or 50%")
            for value in (0.5, "0%", "101%", "half", "nan", float("inf"), "1e999999999%")
        ),
        ({"diverse": 3, "budget": "regions:3"}, "which regions do not have"),
        ({"diverse": 3, "budget": 3, "metric": "l1"}, "metric must be one of"),
        ({"metric": "l1"}, "metric must be one of"),
        ({"features": "pixels"}, "features must be one of"),
        ({"table": "pixels"}, "table must be images or regions"),
        ({"acquisition": "core-set", "diverse": 2, "budget": 3}, "is already diverse"),
        (
            {"acquisition": "core-set", "by": "score-per-cost", "cost": "clicks"},
            "has no score to divide",
        ),
        (
            {"quota": "folder=50%", "budget": 1},
            "quota folder=50% of a budget of 1 is 0.5, less than any row costs: give a larger",
        ),
        ({"quota": ["folder=2", "folder=0.5"]}, "quota folder=0.5 is 0.5, less than any row"),
        ({"budgett": 5}, "select has no option 'budgett'; did you mean 'budget'"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], match: str) -> None:
    options = {"acquisition": "entropy", **options}
    with pytest.raises(UsageError, match=match):
        select(simple({"a": 0.9}), **options)
