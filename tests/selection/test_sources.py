"""How rows of many parts are read: in any grouping, the same rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from deal import select
from deal.errors import ResultsError, UsageError
from deal.pool.signature import BYTES
from deal.results.output import Output
from deal.results.reading import read_results
from deal.selection import sources as module
from deal.selection.sources import Sources


def write(path: Path, parts: int) -> None:
    """Parts of two rows, and one of one."""
    with Output.open(path, settings={}, classes=["road"], part_rows=2) as output:
        for number in range(parts):
            ids = [f"{number:02}a", f"{number:02}b"][: 1 if number == parts - 1 else 2]
            entropy = number + 0.5 * np.arange(len(ids))
            output.write(
                {
                    "id": ids,
                    "uri": [f"file:///{name}" for name in ids],
                    "source_version": ["v"] * len(ids),
                    "status": ["ok"] * len(ids),
                    "entropy_mean": entropy,
                }
            )


@pytest.mark.parametrize(("task", "large", "piece"), [(1, 1, 1), (1, 9, 3), (2000, 9, 5)])
def test_tasks_and_pieces_of_any_size_give_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: int, large: int, piece: int
) -> None:
    write(tmp_path, 8)
    table = pa.table(
        {"id": ["t"], "uri": ["t"], "entropy_mean": [9.0]},
        metadata=read_results(tmp_path).schema.metadata,
    )
    monkeypatch.setattr(module, "_TASK_BYTES", task)
    monkeypatch.setattr(module, "_LARGE_ROWS", large)
    monkeypatch.setattr(module, "_PIECE_ROWS", piece)
    sources = Sources([table, tmp_path])
    pieces = list(sources.read(["id", "entropy_mean"]))
    ids = [name for part in pieces for name in part.column("id").to_pylist()]
    assert ids == ["t", *(f"{number:02}{row}" for number in range(8) for row in "ab")][:16]
    rows = np.array([14, 0, 7, 6, 15])
    taken = sources.take(rows, ["uri", "entropy_mean"])
    assert taken.column("entropy_mean").to_pylist() == [6.5, 9.0, 3.0, 2.5, 7.0]
    assert taken.column("uri").to_pylist()[2] == f"file:///{ids[7]}"


def test_what_a_table_lacks_stays_known_of_the_others(tmp_path: Path) -> None:
    picture = np.arange(BYTES, dtype=np.uint8).tobytes()
    with Output.open(tmp_path, settings={}, classes=["road", "sky"]) as output:
        output.write(
            {
                "id": ["a", "b"],
                "uri": ["/pool/a", "/pool/b"],
                "source_version": ["v"] * 2,
                "status": ["ok"] * 2,
                "entropy_mean": [0.9, 0.8],
                "class_entropy_sum": np.array([[0.0, 1.0]] * 2),
                "thumbnail": [picture] * 2,
            }
        )
    metadata = read_results(tmp_path).schema.metadata
    table = pa.table({"id": ["t"], "entropy_mean": [1.0]}, metadata=metadata)
    found = select([table, tmp_path], acquisition="entropy", budget=3, near_duplicates=0)
    assert [(row["id"], row["uri"], row["why"]) for row in found.records()] == [
        ("t", None, None),
        ("a", "/pool/a", "sky 100 %"),
    ]
    with_pictures = table.append_column("thumbnail", pa.array([picture], pa.binary()))
    found = select([with_pictures, tmp_path], acquisition="entropy", budget=3, near_duplicates=0)
    assert found.ids == ("t",)


def test_a_part_that_changes_between_the_passes_is_noticed(tmp_path: Path) -> None:
    write(tmp_path, 3)
    sources = Sources(tmp_path)
    list(sources.read(["id"]))
    sorted((tmp_path / "images").iterdir())[1].unlink()
    with pytest.raises(ResultsError, match=r"000001\.parquet has changed while it was read"):
        sources.take(np.array([0, 3]), ["uri"])


def foreign(rows: pa.Table, views: bool) -> pa.Table:
    """As Polars gives them, of old or of its newest texts, with ids that few values repeat."""
    text = pa.string_view() if views else pa.large_string()
    kinds = {
        "id": pa.dictionary(pa.int32(), pa.string()),
        "status": text,
        "sequence": text,
        "thumbnail": pa.binary_view() if views else pa.large_binary(),
        "attributes": pa.map_(text, text),
        "class_pixels": pa.large_list(pa.int64()),
        "class_entropy_sum": pa.large_list(pa.float64()),
    }
    for name, kind in kinds.items():
        index = rows.schema.get_field_index(name)
        column = rows.column(name)
        column = column.dictionary_encode() if name == "id" else column.cast(kind)
        rows = rows.set_column(index, name, column)
    return rows.replace_schema_metadata(None)


@pytest.mark.parametrize("views", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"stratify": "class"},
        {"quota": "weather:rain=1"},
        {"quota": "sequence=1"},
        {"min_gap": "2f"},
        {"near_duplicates": 3},
        {"acquisition": "core-set", "features": "statistics"},
    ],
    ids=str,
)
def test_tables_of_other_libraries_are_ranked_alike(views: bool, options: dict[str, Any]) -> None:
    random = np.random.default_rng(4)
    number = range(40)
    rows = pa.table(
        {
            "id": [f"{i % 3}/f_{i:03}.png" for i in number],
            "status": ["error" if i == 7 else "ok" for i in number],
            "sequence": [f"s{i % 3}" for i in number],
            "thumbnail": pa.array([random.bytes(BYTES) for _ in number], pa.binary()),
            "attributes": pa.array(
                [[("weather", "rain" if i % 2 else "sun")] for i in number],
                pa.map_(pa.string(), pa.string()),
            ),
            "entropy_mean": random.random(40),
            "n_pixels": pa.array([60] * 40, pa.int64()),
            "class_pixels": pa.array([[i, 60 - i] for i in number], pa.list_(pa.int64())),
            "class_entropy_sum": pa.array(random.random((40, 2)).tolist()),
        }
    )
    options = {"acquisition": "entropy", "budget": 6} | options
    expected = select(rows, **options)
    given = foreign(rows, views)
    found = select(given, **options)
    assert repr(list(found.records())) == repr(list(expected.records()))  # scores may be NaN
    assert select([given.slice(10), rows.slice(0, 10)], **options).ids == expected.ids


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ([], "there is no source"),
        (None, "a source is a NoneType: give an output folder"),
        ([{"id": "a"}], "a source is a dict: give an output folder"),
        (pa.record_batch({"id": ["a"]}), "a source is a RecordBatch: .* pyarrow.Table"),
        (pa.table({"id": [1], "entropy_mean": [0.5]}), "the column id holds int64, not texts"),
        (pa.table({"id": ["a", None], "entropy_mean": [0.5, 1]}), "1 of 2 rows have no id"),
    ],
    ids=str,
)
def test_what_is_no_source_is_refused_with_what_to_give(source: Any, reason: str) -> None:
    with pytest.raises(ResultsError, match=reason):
        select(source, acquisition="entropy")


def test_cameras_that_were_read_as_numbers_are_still_names() -> None:
    rows = pa.table(
        {"id": [*"abcdef"], "camera": [1, 1, 1, 2, 2, 2], "entropy_mean": [6.0, 5, 4, 3, 2, 1]}
    )
    assert select(rows, acquisition="entropy", budget=3, quota="camera:1=1").ids == (*"ade",)
    assert select(rows, acquisition="entropy", budget=4, stratify="camera").ids == (*"abde",)


@pytest.mark.parametrize("unit", ["us", "ns"])
def test_timestamps_of_any_unit_are_nanoseconds(unit: str) -> None:
    times = pa.array([10**9 * (number // 2) for number in range(6)], pa.timestamp("ns"))
    rows = pa.table(
        {
            "id": [*"abcdef"],
            "sequence": ["s"] * 6,
            "timestamp_ns": times.cast(pa.timestamp(unit)),
            "entropy_mean": [6.0, 5, 4, 3, 2, 1],
        }
    )
    assert select(rows, acquisition="entropy", budget=6, min_gap="1s").ids == (*"ace",)


@pytest.mark.parametrize("option", ["spread", "min_gap"])
@pytest.mark.parametrize("value", [30, 2.5, []])
def test_a_gap_without_a_unit_is_refused_with_an_example(option: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"{option} .*: write .* such as 2s, 500ms or"):
        select(pa.table({"id": ["a"]}), budget=1, **{option: value})


def test_what_is_no_name_of_a_function_is_refused() -> None:
    with pytest.raises(UsageError, match="the name of a function, such as 'ds', not None"):
        select(pa.table({"id": ["a"]}), acquisition=None)


def test_one_name_of_a_column_is_no_list_of_names(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"a list of names: give \['id'\]"):
        read_results(tmp_path, "id")
