"""How picks of images are spread, against a loop over all pairs in plain Python."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deal import select
from deal.errors import ResultsError, UsageError
from deal.selection import IdList, Ranking, select_by
from deal.selection.heading import heading
from deal.selection.rules import parse_near_duplicates, parse_spread

SECOND = 10**9
Row = dict[str, Any]


def table(rows: list[Row]) -> pa.Table:
    """Rows as a pool; what no row has is no column."""
    kinds = {
        "id": pa.string(),
        "status": pa.string(),
        "entropy_mean": pa.float64(),
        "sequence": pa.string(),
        "camera": pa.string(),
        "timestamp_ns": pa.int64(),
        "thumbnail": pa.binary(192),
        "n_pixels": pa.int64(),
        "class_pixels": pa.list_(pa.int64()),
        "class_entropy_sum": pa.list_(pa.float64()),
        "embedding": pa.list_(pa.float32()),
    }
    full = [{"status": "ok", **row} for row in rows]
    names = [name for name in kinds if not full or name in full[0]]
    return pa.Table.from_pylist(full, pa.schema([(name, kinds[name]) for name in names]))


@cache
def picture(number: int, noise: int = 0) -> bytes:
    """A signature; those of different numbers are far apart, the noise of each moves it a bit."""
    values = np.random.default_rng(number).integers(20, 230, 192)
    values[:96] += noise
    return bytes(values.astype(np.uint8))


@cache
def differ(a: bytes, b: bytes) -> Fraction:
    """Mean absolute difference without the means, in grey levels."""
    deltas = [x - y for x, y in zip(a, b, strict=True)]
    total = sum(deltas)
    return Fraction(sum(abs(192 * delta - total) for delta in deltas), 192 * 192)


def drive(name: str, count: int, *, step: int = SECOND, camera: str | None = None) -> list[Row]:
    return [
        {
            "id": f"{name}_{camera}_{number:04d}.jpg",
            "entropy_mean": float(number % 7) + number / 100,
            "sequence": name,
            "camera": camera,
            "timestamp_ns": number * step,
            "thumbnail": picture(number + 1000 * len(camera or "")),
        }
        for number in range(count)
    ]


# --- the rule


@st.composite
def pools(draw: st.DrawFn) -> list[Row]:
    rows = []
    for number in range(draw(st.integers(6, 40))):
        rows.append(
            {
                "id": f"{number:03d}.jpg",
                "entropy_mean": draw(st.integers(0, 9)) / 8,
                "sequence": draw(st.sampled_from("st")),
                "camera": draw(st.sampled_from(["front", "rear", None])),
                "timestamp_ns": draw(st.integers(0, 60)) * SECOND,
                "thumbnail": picture(draw(st.integers(0, 12)), draw(st.integers(0, 6))),
            }
        )
    return rows


def interval_and_length(rows: list[Row], key: Callable[[Row], Any]) -> tuple[int, int]:
    groups: dict[Any, set[int]] = {}
    for row in rows:
        groups.setdefault(key(row), set()).add(row["timestamp_ns"])
    ascending = [sorted(times) for times in groups.values()]
    steps = sorted(b - a for times in ascending for a, b in pairwise(times))
    if not steps:
        return 0, 0
    step = steps[(len(steps) - 1) // 2]
    return step, sum(min(other, 10 * step) for other in steps) + len(groups) * step


def expected(
    rows: list[Row], budget: int, excluded: set[str], included: set[str], by_camera: bool
) -> list[str]:
    """The rule in the words of the documentation, comparing every row with all that are taken."""

    def key(row: Row) -> Any:
        return (row["sequence"], row["camera"]) if by_camera else row["sequence"]

    order = sorted(rows, key=lambda row: (-row["entropy_mean"], row["id"]))
    sizes = [sum(key(other) == key(row) for other in rows) for row in rows]
    step, length = interval_and_length(rows, key)
    picks = budget + len(excluded)
    gap = 0
    # Fewer than half of the rows in sequences of three: no gap. Too large a budget: no choice.
    if step and 2 * sum(size >= 3 for size in sizes) >= len(rows):
        intervals = math.floor(Fraction(length, 3 * picks * step) + Fraction(1, 2))
        gap = intervals * step if intervals > 1 else 0
    if budget >= len(rows) - len(excluded):
        gap = 0
    first = [row for row in order if row["id"] in included]
    counted = [row for row in rows if row["id"] in excluded] + first
    taken: list[Row] = []

    def go(least: int, levels: Fraction | None) -> None:
        for row in order:
            if len(first) + len(taken) == budget:
                return
            if row["id"] in excluded | included or row in taken:
                continue
            others = counted + taken
            apart = all(
                abs(row["timestamp_ns"] - other["timestamp_ns"]) >= least
                for other in others
                if key(row) == key(other)
            )
            if not apart:
                continue
            if levels is not None and any(
                differ(row["thumbnail"], other["thumbnail"]) <= levels for other in others
            ):
                continue
            taken.append(row)

    levels = Fraction(3, 2)
    go(gap - step // 4 if gap else 0, levels)
    narrower = gap // 2
    while gap and narrower > step:
        go(narrower, levels)
        narrower //= 2
    go(0, levels)
    go(0, None)
    taken.sort(key=lambda row: (-row["entropy_mean"], row["id"]))
    return [row["id"] for row in first + taken]


@pytest.mark.slow
@settings(deadline=None, max_examples=120)
@given(pools(), st.data())
def test_picks_keep_gaps_and_do_not_look_alike_until_the_budget_is_filled(
    rows: list[Row], data: st.DataObject
) -> None:
    budget = data.draw(st.integers(1, len(rows)))
    ids = [row["id"] for row in rows]
    excluded = set(data.draw(st.lists(st.sampled_from(ids), max_size=4)))
    included = set(data.draw(st.lists(st.sampled_from(ids), max_size=2))) - excluded
    included = set(sorted(included)[:budget])
    gap_per = data.draw(st.sampled_from(["camera", "sequence"]))
    ranking = replace(
        Ranking.of(acquisition="entropy", budget=budget, gap_per=gap_per),
        exclude=IdList(frozenset(excluded)),
        include=IdList(frozenset(included)),
    )
    selection = select_by(table(rows), ranking)
    found = expected(rows, budget, excluded, included, gap_per == "camera")
    assert list(selection.ids) == found
    assert len(found) == min(budget, len(rows) - len(excluded))
    # Stored in another order and in parts, the pool gives the same bytes.
    mixed = data.draw(st.permutations(rows))
    cut = data.draw(st.integers(0, len(rows)))
    parts = [table(mixed[:cut]), table(mixed[cut:])]
    assert select_by(parts, ranking).to_json() == selection.to_json()


@settings(deadline=None, max_examples=40)
@given(pools(), st.integers(1, 40), st.sampled_from(["entropy", "random"]))
def test_off_is_the_ranking_alone(rows: list[Row], budget: int, function: str) -> None:
    selection = select(table(rows), acquisition=function, budget=budget, spread="off")
    whole = select(table(rows), acquisition=function)
    assert list(selection.ids) == list(whole.ids)[:budget]
    assert selection.scores.tolist() == whole.scores.tolist()[:budget]
    assert selection.metadata["spreading"] is None
    if function == "entropy":
        order = sorted(rows, key=lambda row: (-row["entropy_mean"], row["id"]))
        assert list(selection.ids) == [row["id"] for row in order[:budget]]


# --- the size of the gap


@pytest.mark.parametrize(
    ("count", "step", "budget", "gap"),
    [
        (600, SECOND, 100, 2.0),
        (600, SECOND, 5, 40.0),
        (600, SECOND, 200, 0),  # neighbours are no nearer than the gap
        (3000, SECOND // 30, 150, 0.233),  # 5 % of 100 seconds at 30 frames per second
        (3000, SECOND // 30, 5, 6.667),
    ],
)
def test_the_gap_is_a_third_of_the_time_that_each_pick_has(
    count: int, step: int, budget: int, gap: float
) -> None:
    rows = drive("a", count // 2, step=step) + drive("b", count // 2, step=step)
    for number, row in enumerate(rows):
        row["thumbnail"] = picture(number)
    found = select(table(rows), acquisition="entropy", budget=budget).metadata["spreading"]
    assert found["by"] == "time"
    assert found["gap"] == pytest.approx(gap, abs=1e-3)
    assert (found["sequences"], found["closer"]) == (2, 0)


def test_frames_that_come_a_little_early_are_still_a_gap_apart() -> None:
    rows = drive("a", 60)
    for number, row in enumerate(rows):
        row["timestamp_ns"] += (-1) ** number * SECOND // 10
        row["entropy_mean"] = float(number % 2 == 0) + 1
    found = select(table(rows), acquisition="entropy", budget=10)
    assert found.metadata["spreading"]["gap"] == pytest.approx(2, rel=0.5)
    assert len(found) == 10
    assert set(found.scores) == {2.0}  # every second frame


def test_a_gap_gives_way_rather_than_leave_the_budget_unfilled() -> None:
    rows = drive("a", 20)
    found = select(table(rows), acquisition="entropy", budget=8, spread="5s")
    spreading = found.metadata["spreading"]
    assert len(found) == 8
    assert (spreading["gap"], spreading["closer"]) == (5.0, 4)
    assert found.scores.tolist() == sorted(found.scores, reverse=True)
    strict = select(table(rows), acquisition="entropy", budget=8, min_gap="5s")
    assert len(strict) == 4
    assert set(strict.ids) < set(found.ids)


def test_frame_numbers_of_names_tell_the_time() -> None:
    rows = [{**row, "timestamp_ns": None, "sequence": None} for row in drive("a", 40)]
    values = np.cumsum(np.random.default_rng(0).integers(0, 3, (40, 192)), axis=0)
    for row, look in zip(rows, values, strict=True):
        row["thumbnail"] = bytes((look % 256).astype(np.uint8))
    found = select(table(rows), acquisition="entropy", budget=5).metadata["spreading"]
    assert (found["by"], found["unit"], found["gap"]) == ("time", "frames", 3)
    with pytest.raises(ResultsError, match=r"spread 2s: fewer than half .* have timestamps"):
        select(table(rows), acquisition="entropy", budget=5, spread="2s")
    given = select(table(rows), acquisition="entropy", budget=5, spread="4f")
    assert given.metadata["spreading"]["gap"] == 4


# --- pools without time


def kinds_of_images(embedding: bool) -> list[Row]:
    """Eighty common images with high scores, and two rare kinds with low ones."""
    rng = np.random.default_rng(5)
    rows = []
    for number in range(90):
        kind = 0 if number < 80 else 1 if number < 85 else 2
        shares = np.eye(3, dtype=int)[kind] * 900 + rng.integers(0, 60, 3)
        row: Row = {
            "id": f"{rng.integers(0, 2**40):x}-{'abc'[kind]}.jpg",
            "entropy_mean": 1 + rng.random() - 0.4 * kind,
            "thumbnail": picture(number),
            "n_pixels": int(shares.sum()),
            "class_pixels": shares.tolist(),
            "class_entropy_sum": (shares * 0.7).tolist(),
        }
        if embedding:
            row["embedding"] = (shares / 900).tolist()
        rows.append(row)
    return rows


@pytest.mark.parametrize("embedding", [False, True])
def test_without_time_every_kind_of_image_is_picked(embedding: bool) -> None:
    rows = kinds_of_images(embedding)
    plain = select(table(rows), acquisition="entropy", budget=16, spread="off")
    assert {name[-5] for name in plain.ids} == {"a"}
    found = select(table(rows), acquisition="entropy", budget=16)
    assert {name[-5] for name in found.ids} == {"a", "b", "c"}
    spreading = found.metadata["spreading"]
    assert (spreading["by"], spreading["kinds"]) == ("embedding" if embedding else "statistics", 4)
    for kind in "abc":  # of each the best
        best = max((r for r in rows if r["id"][-5] == kind), key=lambda row: row["entropy_mean"])
        assert best["id"] in found.ids
    assert found.scores.tolist() == sorted(found.scores, reverse=True)


@given(st.permutations(range(90)), st.integers(0, 90), st.booleans())
@settings(deadline=None, max_examples=10)
def test_kinds_do_not_depend_on_the_order_of_storage(
    order: list[int], cut: int, embedding: bool
) -> None:
    rows = kinds_of_images(embedding)
    mixed = [rows[index] for index in order]
    whole = select(table(rows), acquisition="entropy", budget=20)
    parts = select([table(mixed[:cut]), table(mixed[cut:])], acquisition="entropy", budget=20)
    assert parts.to_json() == whole.to_json()


def test_a_kind_that_is_labeled_needs_no_pick(tmp_path: Path) -> None:
    rows = kinds_of_images(False)
    (tmp_path / "labeled.txt").write_text(
        "\n".join(row["id"] for row in rows if row["id"][-5] in "bc")
    )
    options: Any = {"exclude": tmp_path / "labeled.txt"}
    found = select(table(rows), acquisition="entropy", budget=16, **options)
    assert {name[-5] for name in found.ids} == {"a"}
    assert len(found) == 16


def test_tables_that_tell_nothing_are_ranked_by_score() -> None:
    rows = [
        {"id": f"x{number * 7919 % 101}y", "entropy_mean": float(number)} for number in range(9)
    ]
    found = select(table(rows), acquisition="entropy", budget=5)
    assert found.scores.tolist() == [8, 7, 6, 5, 4]
    assert found.notes == ()
    assert found.metadata["spreading"] is None


# --- what is spread


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


@pytest.mark.parametrize("text", ["", "2", "2m", "auto off", "-1s", "0s", "2.5f"])
def test_a_spread_is_auto_off_or_a_gap(text: str) -> None:
    with pytest.raises(UsageError, match="write auto, off, or a time or a number of frames"):
        parse_spread(text)


@pytest.mark.parametrize("value", ["", "-1", "256", "nan", "on", "3%"])
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
