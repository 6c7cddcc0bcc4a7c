"""Strata: classes in turn and shares of attributes, against a plain loop; whatever the order."""

from __future__ import annotations

import json
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
from deal.selection.heading import heading
from deal.selection.rules import parse_strata
from tests.oracle.strata import Row, by_attribute, by_class

CLASSES = ("road", "car", "pole")
COSTS = st.sampled_from([1, 1, 2, 5])
SCORES = st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75, 1.0])


def named(table: pa.Table) -> pa.Table:
    """The table with the class names of its model."""
    return table.replace_schema_metadata({"deal.classes": json.dumps(CLASSES)})


def regions(rows: list[dict[str, Any]]) -> pa.Table:
    schema = {
        "id": pa.string(),
        "region": pa.int32(),
        "entropy_mean": pa.float64(),
        "majority_class": pa.int32(),
        "n_pixels": pa.int64(),
        "sequence": pa.string(),
    }
    return named(pa.Table.from_pylist(rows, pa.schema(schema)))


@st.composite
def pools(draw: st.DrawFn) -> list[dict[str, Any]]:
    names = [(image, number) for image in ("a", "b", "é", "z") for number in range(6)]
    return [
        {
            "id": image,
            "region": number,
            "entropy_mean": draw(SCORES),
            "majority_class": draw(st.sampled_from([0, 0, 0, 1, 1, 2, None])),
            "n_pixels": draw(COSTS),
            "sequence": {"a": "s", "b": "s", "é": "t", "z": None}[image],
        }
        for image, number in draw(st.lists(st.sampled_from(names), unique=True, min_size=1))
    ]


def known(rows: list[dict[str, Any]], unit: str) -> list[Row]:
    found = []
    for row in rows:
        cost = row["n_pixels"] if unit == "pixels" else 1
        key, of_class = row["entropy_mean"] / cost, row["majority_class"]
        keys = {} if of_class is None else {of_class: key}
        found.append(Row(row["id"], row["region"], key, cost, keys, row["sequence"]))
    return found


def picked(selection: Any) -> list[tuple[str, int]]:
    return list(zip(selection.ids, selection.table.column("region").to_pylist(), strict=True))


@given(
    rows=pools(),
    unit=st.sampled_from(["regions", "pixels"]),
    limit=st.integers(1, 20),
    percent=st.sampled_from(["66", "100", "12.5"]),
    most=st.none() | st.integers(1, 3),
    beta=st.none() | st.sampled_from([1, 4]),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_classes_take_in_turn_whatever_the_order_stored(
    rows: list[dict[str, Any]],
    unit: str,
    limit: int,
    percent: str,
    most: int | None,
    beta: float | None,
    data: st.DataObject,
) -> None:
    def allows(taken: Any, row: Row) -> bool:
        return most is None or sum(other.id == row.id for other in taken) < most

    draw = None if beta is None else (beta, 5)
    expected = by_class(known(rows, unit), limit, Fraction(percent), allows, draw)
    options = {
        "acquisition": "entropy",
        "budget": f"{unit}:{limit}",
        "table": "regions",
        "stratify": f"class:{percent}%",
        "max_per_image": most,
        "stochastic": None if beta is None else f"power:{beta}",
        "seed": 5,
    }
    found = select(regions(rows), **options)
    assert picked(found) == [(row.id, row.region) for row in expected]
    moved = data.draw(st.permutations(rows))
    cut = data.draw(st.integers(0, len(rows)))
    assert select([regions(moved[:cut]), regions(moved[cut:])], **options).to_csv() == (
        found.to_csv()
    )


@given(
    rows=pools(),
    unit=st.sampled_from(["regions", "pixels"]),
    limit=st.integers(1, 25),
    percent=st.sampled_from(["100", "50"]),
)
@settings(max_examples=40, deadline=None)
def test_values_of_an_attribute_get_their_share_of_the_pool(
    rows: list[dict[str, Any]], unit: str, limit: int, percent: str
) -> None:
    if all(row["sequence"] is None for row in rows):
        return
    counts = unit == "regions"
    expected = by_attribute(known(rows, unit), limit, Fraction(percent), counts=counts)
    found = select(
        regions(rows),
        acquisition="entropy",
        budget=f"{unit}:{limit}",
        table="regions",
        stratify=f"sequence:{percent}%",
    )
    assert picked(found) == [(row.id, row.region) for row in expected]


def images(**columns: Any) -> pa.Table:
    n = len(next(iter(columns.values())))
    return named(pa.table({"id": [f"{i:02d}" for i in range(n)], **columns}))


@given(
    sums=st.lists(st.tuples(SCORES, SCORES, SCORES), min_size=1, max_size=12),
    limit=st.integers(1, 12),
    percent=st.sampled_from([50, 100]),
)
@settings(max_examples=40, deadline=None)
def test_an_image_has_its_share_of_the_score_for_every_class(
    sums: list[tuple[float, float, float]], limit: int, percent: int
) -> None:
    means = [sum(row) / 8 for row in sums]
    table = images(entropy_mean=means, class_entropy_sum=[list(row) for row in sums])
    rows = []
    for place, (row, mean) in enumerate(zip(sums, means, strict=True)):
        keys = {c: mean * (value / sum(row)) for c, value in enumerate(row) if value}
        rows.append(Row(f"{place:02d}", None, mean, keys=keys))
    expected = by_class(rows, limit, Fraction(percent), lambda taken, row: True)
    found = select(
        table,
        acquisition="entropy",
        budget=limit,
        stratify=f"class:{percent}%",
        near_duplicates="off",
    )
    assert list(found.ids) == [row.id for row in expected]


def test_a_function_without_parts_counts_the_pixels_of_each_class() -> None:
    table = images(margin_mean=[0.9, 0.8, 0.5], class_pixels=[[9, 1, 0], [8, 2, 0], [0, 5, 5]])
    found = select(table, acquisition="margin", budget=3, stratify="class")
    # road 0.81 of 00; car 0.25 of 02 before 0.16 of 01; pole has only 02, which is taken.
    assert found.ids == ("00", "02", "01")
    assert found.metadata["strata"] == {"rows": {"road": 2, "car": 1, "pole": 0}, "spent": 3}


def test_classes_of_one_name_take_their_own_turns() -> None:
    shares = pa.array([[1.0, 0.0], [0.0, 1.0]], pa.list_(pa.float64()))
    table = pa.table(
        {"id": ["a", "b"], "entropy_mean": [1.0, 0.9], "class_entropy_sum": shares},
        metadata={"deal.classes": '["other", "other"]'},
    )
    found = select(table, acquisition="entropy", budget=2, stratify="class", spread="off")
    assert found.metadata["strata"]["rows"] == {"other": 1, "other (class 1)": 1}


def test_classes_that_run_out_leave_their_turns_to_the_others() -> None:
    rows = [
        {"id": "a", "region": i, "entropy_mean": 1 - i / 16, "majority_class": int(i > 8)}
        for i in range(10)
    ]
    found = select(regions(rows), acquisition="entropy", budget="regions:6", stratify="class:66%")
    assert picked(found) == [("a", 0), ("a", 9), ("a", 1), ("a", 2), ("a", 3), ("a", 4)]
    assert found.metadata["strata"] == {"rows": {"road": 2, "car": 1}, "spent": 3}
    assert found.metadata["stratify"] == "class:66%"
    assert heading(found.metadata) == (
        "6 of 10 regions selected by entropy, 66 % of the budget shared out by class"
    )


def test_lists_come_first_and_leave_out_what_they_name(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,region\na,3\n")
    (tmp_path / "out.csv").write_text("id,region\na,0\n")
    rows = [
        {"id": "a", "region": i, "entropy_mean": 1 - i / 8, "majority_class": i % 2}
        for i in range(6)
    ]
    found = select(
        regions(rows),
        acquisition="entropy",
        budget="regions:4",
        stratify="class",
        include=tmp_path / "in.csv",
        exclude=tmp_path / "out.csv",
    )
    assert picked(found) == [("a", 3), ("a", 2), ("a", 1), ("a", 4)]
    assert found.metadata["strata"]["spent"] == 3


def test_random_images_are_shared_out_among_drives() -> None:
    drives = ["s"] * 60 + ["t"] * 28 + ["u"] * 12
    table = images(sequence=drives)
    for seed in range(3):
        found = select(table, acquisition="random", budget=13, stratify="sequence", seed=seed)
        taken = [drives[int(name)] for name in found.ids]
        # 7.8, 3.64 and 1.56 images: the two largest remainders are rounded up.
        assert [taken.count(drive) for drive in "stu"] == [8, 4, 1]
        assert found.metadata["spreading"] is None
    plain = select(table, acquisition="random", budget=13, seed=2)
    best = {d: [n for n in plain.ids if drives[int(n)] == d] for d in "stu"}
    assert all(
        set(best[d][:count]) <= set(found.ids) for d, count in zip("stu", (8, 4, 1), strict=True)
    )


@pytest.mark.parametrize(
    ("quota", "column", "most", "count"),
    [
        ("camera=3", "camera", 3, 8),
        ("sequence=50%", "sequence", 4, 8),
        (["camera=5", "folder=6"], "camera", 5, 6),
    ],
)
def test_shares_of_an_attribute_keep_to_quotas(
    quota: str | list[str], column: str, most: int, count: int
) -> None:
    rng = np.random.default_rng(3)
    values = {"camera": rng.choice(["x", "x", "x", "y", "z"], 40), "sequence": ["s", "t"] * 20}
    table = images(entropy_mean=rng.random(40), **values)
    found = select(table, acquisition="entropy", budget=8, stratify="camera", quota=quota)
    taken = [values[column][int(name)] for name in found.ids]
    assert len(taken) == count
    assert max(map(taken.count, taken)) <= most


def test_shares_of_an_attribute_keep_to_the_regions_of_an_image() -> None:
    rows = [
        {"id": image, "region": i, "entropy_mean": 1 - i / 8, "sequence": sequence}
        for image, sequence in (("a", "s"), ("b", "s"), ("c", "t"))
        for i in range(4)
    ]
    options: dict[str, Any] = {"budget": "regions:5", "stratify": "sequence", "max_per_image": 1}
    found = select(regions(rows), acquisition="entropy", **options)
    assert sorted(picked(found)) == [("a", 0), ("b", 0), ("c", 0)]


def test_near_duplicates_of_a_pick_lose_their_turn() -> None:
    signature = np.random.default_rng(0).integers(0, 256, (6, 192), dtype=np.uint8)
    signature[1] = signature[0]
    table = images(
        entropy_mean=[0.9, 0.8, 0.7, 0.6, 0.5, 0.4],
        class_entropy_sum=[[1.0, 0, 0]] * 3 + [[0, 1.0, 0]] * 3,
        thumbnail=pa.array([bytes(row) for row in signature], pa.binary(192)),
    )
    found = select(table, acquisition="entropy", budget=4, stratify="class")
    assert found.ids == ("00", "03", "02", "04")
    assert found.metadata["spreading"]["near_duplicates"]["skipped"] == 1
    everything = select(table, acquisition="entropy", budget=6, stratify="class")
    assert everything.ids == ("00", "03", "02", "04", "05", "01")


@pytest.mark.parametrize("text", ["", "class:", "class:0%", "class:101%", "66%", "a:b", "class:2"])
def test_what_names_no_strata_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="write class or an attribute"):
        parse_strata(text)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({}, "stratify needs a budget"),
        ({"budget": 1, "diverse": 2}, "and diverse by distance"),
        ({"budget": 1, "acquisition": "core-set"}, "acquisition 'core-set' by distance"),
        ({"budget": "2GB"}, "limits of bytes and windows do not go with stratify class:66%"),
    ],
)
def test_rules_that_do_not_go_with_strata_are_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        select(
            images(entropy_mean=[1.0]),
            **{"acquisition": "entropy", **options},
            stratify="class:66%",
        )


@pytest.mark.parametrize(
    ("columns", "options", "match"),
    [
        ({}, {"stratify": "class"}, "lack"),
        ({}, {"stratify": "class", "acquisition": "random"}, "needs the column class_pixels"),
        ({"sequence": pa.nulls(2, pa.string())}, {"stratify": "sequence"}, "none of 2 rows has a"),
        ({}, {"stratify": "weather"}, "lacks the column attributes"),
    ],
)
def test_what_strata_need_is_asked_for(
    columns: dict[str, Any], options: dict[str, Any], match: str
) -> None:
    table = images(entropy_mean=[0.9, 0.8], **columns)
    with pytest.raises(ResultsError, match=match):
        select(table, **{"acquisition": "entropy", "budget": 1, **options})


def test_rows_without_a_value_are_one_group() -> None:
    table = images(entropy_mean=[0.9, 0.8, 0.7, 0.6], camera=["x", "x", None, None])
    found = select(table, acquisition="entropy", budget=2, stratify="camera")
    assert found.ids == ("00", "02")
    assert any("2 of 4 rows have no camera" in note for note in found.notes)
