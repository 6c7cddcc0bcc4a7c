"""Single part files: names, atomic publishing, dropping of rows."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from deal.pool.ids import Shard
from deal.results.parts import (
    footer,
    keep_rows,
    list_parts,
    part_name,
    part_number,
    part_shard,
    part_size,
    publish,
    read_ids,
    read_part,
    write_json_atomic,
)

TABLE = pa.table({"id": ["a", "b", "c"]}).replace_schema_metadata({"deal.schema": "1", "x": "y"})


def test_names_tell_shard_and_number() -> None:
    name = part_name(Shard(3, 16), 1_234_567)
    assert name == "part-3-of-16-1234567.parquet"
    assert part_shard(name) == part_shard(f"_{name}") == Shard(3, 16)
    assert part_number(name) == 1_234_567
    assert part_name(Shard(), 0) == "part-0-of-1-000000.parquet"
    assert part_shard("part-0.parquet") is None


def test_parts_grow_to_a_128th_of_what_is_stored_and_no_further() -> None:
    sizes = [part_size(512, stored) for stored in (0, 65_535, 131_072, 262_144, 10_000_000)]
    assert sizes == [512, 512, 1024, 2048, 2048]


def test_names_sort_by_number() -> None:
    names = [part_name(Shard(), number) for number in (0, 9, 10, 99_999, 100_000)]
    assert sorted(names) == names


def test_only_visible_tables_are_listed(tmp_path: Path) -> None:
    for name in ("b.parquet", "a.parquet", "_c.parquet", "notes.txt"):
        (tmp_path / name).write_text("")
    assert [path.name for path in list_parts(tmp_path)] == ["a.parquet", "b.parquet"]
    assert list_parts(tmp_path / "missing") == []


def test_a_published_part_is_complete_and_alone(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    publish(TABLE, path)
    assert list(tmp_path.iterdir()) == [path]
    assert read_part(path).equals(TABLE)
    assert footer(path) == {"deal.schema": "1"}


def test_rows_are_dropped_and_an_empty_part_goes(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    publish(TABLE, path)
    before = path.stat()
    keep_rows(path, pa.array([True, True, True]))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    keep_rows(path, pa.array([True, False, True]))
    assert read_ids(path).to_pylist() == ["a", "c"]
    assert footer(path) == {"deal.schema": "1"}
    keep_rows(path, pa.array([False, False]))
    assert list(tmp_path.iterdir()) == []


def test_json_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_json_atomic(path, {"b": 1, "a": "ü"})
    text = path.read_text(encoding="utf-8")
    assert text == '{\n "a": "ü",\n "b": 1\n}\n'
    with pytest.raises(ValueError, match="JSON"):
        write_json_atomic(path, {"a": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": "ü", "b": 1}
