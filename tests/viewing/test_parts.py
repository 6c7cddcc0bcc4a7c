"""Stored selections, drives, the map and stacks, each held to a plain computation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from deal import select
from deal.pool.signature import difference
from deal.viewing.chosen import read_chosen
from deal.viewing.drives import facets, find_drives, sequences
from deal.viewing.project import find_axes, lists, raw_features
from deal.viewing.stacks import near_duplicates


@pytest.mark.parametrize("safe", [False, True])
def test_a_stored_selection_is_read_as_it_was_written(tmp_path: Path, safe: bool) -> None:
    names = ["plain.jpg", 'a,"b".jpg', "line\nbreak.jpg", "=sum.jpg", "'-x.jpg", "ü.jpg", " sp "]
    table = pa.table(
        {
            "id": names,
            "uri": names,
            "status": ["ok"] * len(names),
            "difficulty_mean": np.linspace(1, 0, len(names)),
        }
    )
    selection = select(table, budget=6)
    selection.write(tmp_path, csv_safe=safe)
    chosen = read_chosen(tmp_path)
    rows = chosen.rows_in(pa.array(names, pa.large_string())).to_pylist()
    assert [names[row] for row in rows] == list(selection.ids)
    assert chosen.rows_in(pa.array(["none of them"], pa.large_string())).null_count == 6
    assert chosen.metadata["budget"] == "6"
    assert chosen.metadata["scores_digest"] == selection.metadata["scores_digest"]
    assert "selection" not in chosen.metadata


def test_a_folder_without_a_selection_has_none(tmp_path: Path) -> None:
    chosen = read_chosen(tmp_path)
    assert (dict(chosen.metadata), len(chosen.ids)) == ({}, 0)
    assert chosen.ranks_everything


def rows(ids: list[str], **columns: object) -> pa.Table:
    from deal.selection.attributes import frame_numbers

    none = [None] * len(ids)
    table = pa.table(
        {
            "id": pa.array(ids),
            "sequence": pa.array(columns.get("sequence", none), pa.string()),
            "camera": pa.array(columns.get("camera", none), pa.string()),
            "timestamp_ns": pa.array(columns.get("timestamp_ns", none), pa.int64()),
            "attributes": pa.array(
                columns.get("attributes", none), pa.map_(pa.string(), pa.string())
            ),
        }
    )
    return table.append_column("frame", frame_numbers(table))


def test_names_that_count_tell_sequence_and_order() -> None:
    ids = ["a/run_010.jpg", "a/run_9.jpg", "b/x2.png", "b/x1.png", "a/run_011.jpg", "b/x3.png"]
    table = rows(ids)
    assert sequences(table).to_pylist() == ["a/run", "a/run", "b/x", "b/x", "a/run", "b/x"]
    drives = find_drives(table, facets(table))
    assert [ids[row] for row in drives.along] == [ids[i] for i in (1, 0, 4, 3, 2, 5)]
    assert drives.unit == "frames"
    assert drives.time.tolist() == [10, 9, 2, 1, 11, 3]


def test_names_that_are_hashes_are_no_sequences() -> None:
    assert sequences(rows(["a1b2.jpg", "77fe0.jpg", "c0ffee.jpg", "x9.jpg"])).null_count == 4


def test_time_stamps_win_over_frame_numbers_and_count_from_the_first() -> None:
    table = rows(
        ["f1.jpg", "f2.jpg", "f3.jpg", "f4.jpg"],
        sequence=["s", "s", "s", "t"],
        timestamp_ns=[5_000_000_000, 3_000_000_000, None, 9_000_000_000],
    )
    drives = find_drives(table, facets(table))
    assert drives.along.tolist() == [1, 0, 2, 3]
    assert drives.unit == "s"
    assert np.array_equal(drives.time, [2, 0, np.nan, 0], equal_nan=True)
    assert drives.drive[3] != drives.drive[0]


def test_cameras_of_one_sequence_are_drives_of_their_own() -> None:
    table = rows(["1.jpg", "2.jpg", "3.jpg", "4.jpg"], sequence=["s"] * 4, camera=list("abab"))
    drives = find_drives(table, facets(table))
    assert drives.along.tolist() == [0, 2, 1, 3]
    assert drives.drive.tolist() == [0, 1, 0, 1]


def test_attributes_are_filters_and_missing_ones_are_empty() -> None:
    table = rows(["a", "b", "c"], attributes=[[("w", "rain")], None, [("w", "sun"), ("n", "1")]])
    found = {facet.name: facet for facet in facets(table.slice(0, 3))}
    assert found["w"].values == ("", "rain", "sun")
    assert found["w"].codes.tolist() == [1, 0, 2]
    assert found["n"].codes.tolist() == [0, 0, 1]
    later = {facet.name: facet for facet in facets(table.slice(1))}
    assert later["w"].codes.tolist() == [0, 1]


def test_an_attribute_called_folder_is_another_filter_than_the_folder_of_the_id() -> None:
    given = [[("folder", name)] for name in ("x", "x", "y")]
    table = rows(["p/aa.jpg", "q/bb.jpg", "q/cc.jpg"], attributes=given)
    found = {facet.name: facet for facet in facets(table)}
    assert found["folder"].values == ("", "p", "q")
    assert found["folder (manifest)"].values == ("", "x", "y")
    assert find_drives(table, facets(table)).drive.tolist() == [0, 1, 1]


def test_the_map_is_what_a_singular_value_decomposition_gives() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(50, 6)) @ rng.normal(size=(6, 6))
    table = pa.table({"embedding": pa.array(values.tolist(), pa.list_(pa.float32()))})
    axes = find_axes(table)
    values = lists(table, "embedding")
    centered = values - values.mean(axis=0)
    _, sizes, rows_ = np.linalg.svd(centered, full_matrices=False)
    expected = centered @ rows_[:2].T
    found = axes.project(raw_features(table, axes.kind))
    signs = np.sign((found * expected).sum(axis=0))
    assert found == pytest.approx(expected * signs, abs=1e-4)
    assert axes.explained == pytest.approx((sizes**2 / (sizes**2).sum())[:2])
    assert (axes.components[np.abs(axes.components).argmax(axis=0), [0, 1]] > 0).all()


def test_rows_without_features_have_no_place_on_the_map() -> None:
    values = [[1.0, 2.0], None, [3.0, 1.0], [0.0, 0.5]]
    table = pa.table({"embedding": pa.array(values, pa.list_(pa.float32()))})
    axes = find_axes(table)
    places = axes.project(raw_features(table, axes.kind))
    assert np.isnan(places).all(axis=1).tolist() == [False, True, False, False]
    assert find_axes(table.slice(0, 2)).kind == "nothing"


def test_statistics_stand_in_for_an_embedding() -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(1, 50, (9, 3))
    sums = pixels * rng.random((9, 3))
    table = pa.table(
        {
            "class_pixels": pa.array(pixels.tolist()),
            "class_difficulty_sum": pa.array(sums.tolist()),
        }
    )
    total = pixels.sum(axis=1, keepdims=True)
    expected = np.concatenate([pixels / total, sums / total], axis=1)
    assert raw_features(table, "statistics") == pytest.approx(expected)
    assert find_axes(table).kind == "statistics"


def test_near_duplicates_are_those_of_the_rule_that_selects() -> None:
    rng = np.random.default_rng(2)
    base = rng.integers(0, 256, (6, 12, 16))
    noisy = base[rng.integers(0, 6, 40)] + rng.integers(-5, 6, (40, 12, 16)) + 20
    signatures = np.clip(noisy, 0, 255).astype(np.uint8)
    leaders = near_duplicates(signatures.reshape(40, -1), 4)
    kept: list[int] = []
    for index, own in enumerate(signatures):
        near = [other for other in kept if difference(signatures[other], own) <= 4]
        assert leaders[index] == (near[0] if near else -1)
        if not near:
            kept.append(index)
    assert 0 < len(kept) < 40
