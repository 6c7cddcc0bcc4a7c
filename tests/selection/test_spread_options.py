"""What is spread by default, what options ask for, and what the heading says of it."""

from __future__ import annotations

import json
import math
from typing import Any

import pyarrow as pa
import pytest

from deal import select
from deal.errors import ResultsError, UsageError
from deal.selection import Ranking
from deal.selection.heading import heading
from deal.selection.replay import replay
from deal.selection.rules import parse_near_duplicates, parse_spread
from tests.helpers.timed_rows import SECOND, drive, picture, table

DIGITS = "9" * 5000  # more than Python reads as a number


@pytest.mark.parametrize(
    ("options", "by", "compared"),
    [
        ({"budget": 5}, "time", True),
        ({"budget": "20%"}, "time", True),
        ({"budget": 5, "stochastic": "power"}, "nothing", True),
        ({"budget": 5, "min_gap": "3s"}, "nothing", True),
        ({"budget": 5, "acquisition": "core-set"}, "nothing", True),
        ({"budget": 5, "diverse": 2}, "nothing", True),
        ({"budget": 5, "near_duplicates": "off"}, "time", False),
        ({"budget": 5, "stochastic": "power", "spread": "3s"}, "time", True),
        ({"spread": "off", "budget": 5, "near_duplicates": 3}, "nothing", True),
        ({"near_duplicates": 3}, "nothing", True),
        ({"budget": "pixels:50"}, None, False),
        ({"budget": 5, "acquisition": "random"}, None, False),
        ({"budget": 5, "spread": "off"}, None, False),
        ({}, None, False),
    ],
)
def test_what_is_spread_by_default(options: dict[str, Any], by: str | None, compared: bool) -> None:
    rows = drive("a", 30)
    for row in rows:
        row |= {"n_pixels": 10, "class_pixels": [4, 6], "class_entropy_sum": [1.0, 2.0]}
    found = select(table(rows), **{"acquisition": "entropy", **options}).metadata["spreading"]
    assert (found and found["by"]) == by
    assert ("near_duplicates" in (found or {})) == compared


@pytest.mark.parametrize("acquisition", ["core-set", "typiclust"])
def test_picks_by_distance_have_no_share_of_the_best_score(acquisition: str) -> None:
    rows = drive("a", 30)
    for number, row in enumerate(rows):
        row |= {"n_pixels": 30, "class_pixels": [number, 30 - number]}
        row["class_entropy_sum"] = [1.0, 2.0]
    found = select(table(rows), acquisition=acquisition, budget=5, metric="euclidean")
    assert found.metadata["spreading"].keys() == {"by", "closer", "near_duplicates"}
    json.loads(found.to_json(), parse_constant=pytest.fail)  # NaN is no JSON
    scored = select(table(rows), acquisition="entropy", budget=5)
    assert 0 < scored.metadata["spreading"]["share_of_best_score"] <= 1


def test_scores_whose_sum_is_too_large_have_no_share_of_the_best() -> None:
    rows = [{**row, "entropy_mean": 1e308} for row in drive("a", 30)]
    found = select(table(rows), acquisition="entropy", budget=5)
    assert len(found) == 5
    assert "share_of_best_score" not in found.metadata["spreading"]
    stream = replay(table(rows), Ranking.of(acquisition="entropy", budget=5))
    assert math.isnan(stream.ratio)


def test_near_duplicates_fill_a_budget_only_by_default() -> None:
    rows = drive("a", 12)
    for row in rows:
        row["thumbnail"] = picture(row["timestamp_ns"] // SECOND // 4)
    found = select(table(rows), acquisition="entropy", budget=5)
    assert len(found) == 5
    assert found.metadata["spreading"]["near_duplicates"]["taken"] == 2
    asked = select(table(rows), acquisition="entropy", budget=5, near_duplicates=1.5)
    assert len(asked) == 3
    assert asked.notes == ("the rules allow 3 of the budget of 5 images: no other may be taken",)
    every = select(table(rows), acquisition="entropy", near_duplicates=0)
    assert len(every) == 3


def test_quotas_hold_among_spread_picks() -> None:
    rows = drive("a", 40, camera="left") + drive("b", 40, camera="right")
    for row in rows[:40]:
        row["entropy_mean"] += 100
    found = select(table(rows), acquisition="entropy", budget=10, quota="camera=50%")
    assert sorted(name[0] for name in found.ids) == ["a"] * 5 + ["b"] * 5


def test_results_of_an_earlier_version_say_what_they_lack() -> None:
    rows = [{**row, "thumbnail": None} for row in drive("a", 30)]
    found = select(table(rows), acquisition="entropy", budget=5)
    assert found.metadata["spreading"]["by"] == "time"
    (note,) = found.notes
    assert "30 of the rows that were looked at have no thumbnail" in note
    assert "deal-score --overwrite" in note
    with pytest.raises(ResultsError, match=r"near_duplicates compares .* lack.* --overwrite"):
        select(table(rows), acquisition="entropy", budget=5, near_duplicates=3)


def test_a_gap_of_regions_separates_images() -> None:
    rows = [
        {**row, "region": region, "n_pixels": 5} for row in drive("a", 8) for region in range(2)
    ]
    stored = table(rows).append_column("region", pa.array([r["region"] for r in rows], pa.int32()))
    options: Any = {"table": "regions", "acquisition": "entropy", "budget": 4, "spread": "3s"}
    found = select(stored, **options)
    assert found.metadata["spreading"]["by"] == "time"
    numbers = [int(name[-8:-4]) for name in found.ids]
    assert sorted(numbers) == [3, 3, 6, 6]


@pytest.mark.parametrize("text", ["", "2", "2m", "auto off", "-1s", "0s", "2.5f", DIGITS + "f"])
def test_a_spread_is_auto_off_or_a_gap(text: str) -> None:
    with pytest.raises(UsageError, match="write auto, off, or a time or a number of frames"):
        parse_spread(text)


@pytest.mark.parametrize(
    "value", ["", "-1", "256", "nan", "on", "3%", "1e-999999999", "0e-9999999"]
)
def test_a_threshold_is_grey_levels(value: str) -> None:
    with pytest.raises(UsageError, match="write a number of grey levels, such as 3"):
        parse_near_duplicates(value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spread": "2s"}, "spread needs a budget"),
        ({"spread": "2s", "budget": 3, "min_gap": "2s"}, "are both gaps: give one"),
        ({"spread": "2s", "budget": 3, "diverse": 2}, "give min_gap instead"),
        ({"spread": "2s", "budget": 3, "acquisition": "core-set"}, "give min_gap instead"),
        ({"gap_per": "drive"}, "gap_per must be one of camera, sequence"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Ranking.of(**options)


# --- what the user hears


BASE = {
    "selected": 100,
    "scored": 600,
    "acquisition": "ds:none",
    "stochastic": None,
    "table": "images",
}
TIME = {
    **{"by": "time", "unit": "seconds", "gap": 2.0, "sequences": 4, "closer": 0},
    **{"scene": 10.0, "scenes_picked": 39, "share_of_best_score": 0.9443},
    "near_duplicates": {"skipped": 12, "taken": 0},
}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "100 of 600 selected by difficulty (DS)"),
        ({"stochastic": "power:1"}, "100 of 600 selected by difficulty (DS), drawn by power:1"),
        (
            {"spreading": TIME},
            "100 of 600 selected by difficulty (DS), spread by 2 s within 4 sequences; "
            "12 near-duplicates skipped; 39 scenes of 10 s; mean score 94.4 % of the best",
        ),
        (
            {
                "spreading": {
                    **TIME,
                    **{"unit": "frames", "gap": 60, "scene": 300, "closer": 3, "sequences": 1},
                    **{"share_of_best_score": 1.0, "near_duplicates": {"skipped": 1, "taken": 2}},
                }
            },
            "100 of 600 selected by difficulty (DS), spread by 60 frames within 1 sequence; 3 of "
            "them closer, to fill the budget; 1 near-duplicate skipped; 2 near-duplicates taken "
            "to fill the budget; 39 scenes of 300 frames",
        ),
        (
            {"spreading": {"by": "statistics", "kinds": 10, "closer": 0}, "acquisition": "mine"},
            "100 of 600 selected by mine, spread over 10 kinds of images",
        ),
    ],
)
def test_the_heading_says_what_was_selected_how(changes: dict[str, Any], text: str) -> None:
    assert heading({**BASE, **changes}) == text
