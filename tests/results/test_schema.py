"""Columns, fingerprints and the conversion of rows."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from deal.acquisitions import acquisition_names, required_columns
from deal.model.head import DifficultyHead
from deal.results.schema import (
    IMAGE_COLUMNS,
    REGION_COLUMNS,
    SCHEMA_VERSION,
    fingerprint,
    images_schema,
    list_length,
    part_metadata,
    regions_schema,
    settings_difference,
    to_table,
)
from tests.oracle import reference

CONTRACT = """
id uri source_version sequence camera timestamp_ns attributes status error_code error duplicate_of
width height orientation color_mode raster_width raster_height n_pixels difficulty_mean
difficulty_min difficulty_max difficulty_hist difficulty_hist_image entropy_mean entropy_hist
margin_mean least_confidence_mean difficulty_weighted_entropy_mean difficulty_weighted_margin_mean
difficulty_weighted_least_confidence_mean class_pixels class_difficulty_sum class_entropy_sum
class_difficulty_weighted_entropy_sum boundary_pixels embedding
"""
REGION_CONTRACT = """
id region x0 y0 x1 y1 n_pixels difficulty_mean entropy_mean margin_mean least_confidence_mean
difficulty_weighted_entropy_mean difficulty_weighted_margin_mean
difficulty_weighted_least_confidence_mean majority_class impurity boundary_pixels
"""
# Added later, on the right of what the contract fixed.
COMMITTEE = "vote_entropy_mean mutual_information_mean consensus_entropy_mean"
OUTLINE = "boundary_length boundary_corners"
ROW = {"id": ["a"], "uri": ["a"], "source_version": ["v"], "status": ["ok"]}

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=8,
)


def test_the_columns_are_those_of_schema_2() -> None:
    assert SCHEMA_VERSION == "2"
    means = [name for name in f"{CONTRACT} {COMMITTEE}".split() if name.endswith("_mean")]
    screen = " ".join(f"screen_{name}" for name in means)
    assert set(IMAGE_COLUMNS) == set(f"{CONTRACT} {COMMITTEE} {OUTLINE} thumbnail {screen}".split())
    assert images_schema().field("thumbnail").type == pa.binary(192)
    assert set(REGION_COLUMNS) == set(f"{REGION_CONTRACT} {COMMITTEE} {OUTLINE} polygon".split())
    assert images_schema().names == list(IMAGE_COLUMNS)
    assert regions_schema().names == list(REGION_COLUMNS)


def test_means_are_float64_and_every_column_is_described() -> None:
    for columns in (IMAGE_COLUMNS, REGION_COLUMNS):
        for name, (kind, meaning) in columns.items():
            assert meaning
            if name.endswith(("_mean", "_min", "_max")):
                assert kind == pa.float64()


def test_statistics_and_acquisition_functions_use_these_columns() -> None:
    logits = np.random.default_rng(0).normal(size=(1, 3, 4, 4))
    stats = reference.statistics(
        logits,
        size=(8, 8),
        head=DifficultyHead(0.5, [1, 2, 3], 0.0),
        regions=np.zeros((1, 8, 8), np.int32),
        n_regions=1,
        align_corners=True,
    )
    assert set(stats.images) <= set(IMAGE_COLUMNS)
    assert stats.regions is not None
    assert set(stats.regions) <= set(REGION_COLUMNS)
    for table, known in (("images", IMAGE_COLUMNS), ("regions", REGION_COLUMNS)):
        for name in acquisition_names(table):
            focus = {"focus": ["a"]} if name.startswith("focus:") else {}
            assert set(required_columns(name, table=table, **focus)) <= set(known)
    extras = {"id": ["a"], "uri": ["a"], "source_version": ["v"], "status": ["ok"]}
    table = to_table({**stats.images, **extras}, images_schema(), 3)
    assert table.column("class_pixels").to_pylist() == stats.images["class_pixels"].tolist()
    assert table.column("difficulty_mean").to_pylist() == stats.images["difficulty_mean"].tolist()


@pytest.mark.parametrize(
    ("name", "length"),
    [
        ("difficulty_hist", 240),
        ("difficulty_hist_image", 240),
        ("entropy_hist", 240),
        ("class_pixels", 7),
        ("class_entropy_sum", 7),
        ("embedding", None),
        ("entropy_mean", None),
    ],
)
def test_lengths_of_lists(name: str, length: int | None) -> None:
    assert list_length(name, 7) == length


def test_nan_becomes_null_and_absent_columns_too() -> None:
    table = to_table(
        {
            **ROW,
            "difficulty_mean": np.array([np.nan]),
            "margin_mean": [math.nan],
            "entropy_mean": [0.25],
            "class_entropy_sum": np.array([[1.0, np.nan]]),
        },
        images_schema(),
        2,
    )
    (row,) = table.to_pylist()
    assert row["difficulty_mean"] is row["margin_mean"] is row["embedding"] is None
    assert row["entropy_mean"] == 0.25
    assert row["class_entropy_sum"] == [1.0, None]
    assert table.schema == images_schema()


def test_lists_may_be_null_row_by_row() -> None:
    rows = {name: values * 2 for name, values in ROW.items()}
    lists = {
        "entropy_hist": [None, np.arange(240)],
        "class_entropy_sum": [np.array([1, np.nan]), None],
    }
    table = to_table({**rows, **lists}, images_schema(), 2)
    assert table.column("entropy_hist").to_pylist() == [None, list(range(240))]
    assert table.column("class_entropy_sum").to_pylist() == [[1.0, None], None]


def test_rows_survive_parquet(tmp_path: Path) -> None:
    columns = {
        **ROW,
        "attributes": [{"weather": "rain", "": "ü"}],
        "timestamp_ns": [2**63 - 1],
        "orientation": np.array([8]),
        "entropy_hist": np.arange(240)[None],
        "embedding": np.array([[0.1, 2.0]], np.float32),
    }
    table = to_table(columns, images_schema(), 2)
    parquet.write_table(table, tmp_path / "t.parquet")
    assert parquet.read_table(tmp_path / "t.parquet").equals(table)


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_fingerprints_depend_on_the_values_alone(values: dict[str, Any]) -> None:
    shuffled = dict(reversed(values.items()))
    assert fingerprint(values) == fingerprint(shuffled)
    assert fingerprint(json.loads(json.dumps(values))) == fingerprint(values)
    assert fingerprint({**values, "new": 1}) != fingerprint(values) or values.get("new") == 1


def test_the_fingerprint_is_stable() -> None:
    settings = {"model": "abc", "mask": None, "mean": [0.5, 0.25], "ü": True}
    # printf '%s' '{"mask":null,"mean":[0.5,0.25],"model":"abc","\\u00fc":true}' | sha256sum
    known = "7f310425146c23bd4245273afe8baf8a41a9e4a56c031ad0d9e9767977d5c8ed"
    assert fingerprint(settings) == known


def test_settings_without_a_json_form_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        fingerprint({"gamma": math.nan})


def test_metadata_and_its_difference() -> None:
    old, new = (
        {key.decode(): value.decode() for key, value in part_metadata(values, ["a", "ü"]).items()}
        for values in ({"a": 1, "b": [1, 2], "c": "x" * 99}, {"a": 1, "b": [1, 3], "d": None})
    )
    assert json.loads(old["deal.classes"]) == ["a", "ü"]
    assert json.loads(old["deal.settings"])["b"] == [1, 2]
    difference = settings_difference(old, new)
    long = '"' + "x" * 38 + "…"
    assert difference == f"b: [1, 2] → [1, 3]; c: {long} → absent; d: absent → null"
