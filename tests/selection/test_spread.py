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
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deal import select
from deal.errors import ResultsError
from deal.selection import IdList, Ranking, select_by
from tests.helpers.timed_rows import SECOND, Row, drive, picture, table


@cache
def differ(a: bytes, b: bytes) -> Fraction:
    """Mean absolute difference without the means, in grey levels."""
    deltas = [x - y for x, y in zip(a, b, strict=True)]
    total = sum(deltas)
    return Fraction(sum(abs(192 * delta - total) for delta in deltas), 192 * 192)


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
