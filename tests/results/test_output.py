"""Output folders of one process: parts, resuming, replacing, refusals and overwriting."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from deal.errors import OutputError, ResultsError
from deal.pool.ids import Shard
from deal.pool.locator import LocalFile
from deal.results.reading import read_results
from deal.types import PoolItem
from tests.helpers.outputs import (
    CLASSES,
    SETTINGS,
    as_schema_1,
    files,
    open_output,
    region_versions,
    stored,
    write,
)

# --- writing and resuming


def test_parts_have_deterministic_names_and_continue(tmp_path: Path) -> None:
    for batch in (["a", "b", "c"], ["d"]):
        with open_output(tmp_path, part_rows=2) as output:
            for item_id in batch:
                write(output, item_id)
    numbers = ["part-0-of-1-000000", "part-0-of-1-000001", "part-0-of-1-000002"]
    parts = [f"{folder}/{name}.parquet" for folder in ("images", "regions") for name in numbers]
    assert files(tmp_path) == ["_lock", *parts, "results.json"]
    assert list(stored(tmp_path)) == ["a", "b", "c", "d"]


def test_rows_that_go_behind_its_back_are_missed_at_the_end(tmp_path: Path) -> None:
    with open_output(tmp_path, part_rows=2) as output:
        for batch in (["a", "b"], ["c", "d"]):
            write(output, *batch)
        write(output, "a", version="v2")  # replaces a row of the first part
        output.flush()
        output.check_rows()
    with open_output(tmp_path, part_rows=2) as output:
        output.check_rows()
        (tmp_path / "images" / "part-0-of-1-000001.parquet").unlink()
        with pytest.raises(OutputError, match=r"holds 0 rows, but 2 were stored: .* run the same"):
            output.check_rows()


def test_the_number_of_a_part_that_is_gone_is_counted_anew(tmp_path: Path) -> None:
    with open_output(tmp_path) as output:
        write(output, "a", status="error")
    with open_output(tmp_path) as output:  # drops the row, and the part with it
        write(output, "a")
        output.flush()
        output.check_rows()


def test_parts_grow_with_what_is_stored_and_go_on_growing_when_reopened(tmp_path: Path) -> None:
    for batches in ([[f"{number:03}" for number in range(256)], ["a"], ["b"]], [["c"], ["d"]]):
        with open_output(tmp_path, part_rows=1) as output:
            for batch in batches:
                write(output, *batch, status="skipped")
    parts = sorted((tmp_path / "images").glob("*.parquet"))
    assert [parquet.read_metadata(part).num_rows for part in parts] == [256, 2, 2]


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with open_output(tmp_path / name) as output:
            write(output, "a", "b")
    for part in ("images/part-0-of-1-000000.parquet", "regions/part-0-of-1-000000.parquet"):
        assert (tmp_path / "one" / part).read_bytes() == (tmp_path / "two" / part).read_bytes()


def test_rows_are_invisible_until_their_part_is_complete(tmp_path: Path) -> None:
    with open_output(tmp_path) as output:
        write(output, "a")
        with pytest.raises(ResultsError, match="no results"):
            read_results(tmp_path)
        output.flush()
        assert stored(tmp_path) == {"a": ("ok", "v1")}
        write(output, "b")
    assert list(stored(tmp_path)) == ["a", "b"]


def test_an_exception_leaves_buffered_rows_unwritten_and_the_folder_free(tmp_path: Path) -> None:
    def fail() -> None:
        with open_output(tmp_path) as output:
            write(output, "a")
            output.flush()
            write(output, "b")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(stored(tmp_path)) == ["a"]
    open_output(tmp_path).close()


def test_what_is_done_is_known_after_reopening(tmp_path: Path) -> None:
    with open_output(tmp_path) as output:
        assert not output.is_done("a", "v1")
        write(output, "a")
        write(output, "d", status="duplicate")
        write(output, "s", status="skipped")
        write(output, "e", status="error")
    with open_output(tmp_path) as output:
        assert output.done_count == 2
        assert all(output.is_done(item_id, "v1") for item_id in "ad")
        assert not output.is_done("s", "v1")  # it was only screened
        assert output.is_skipped("s", "v1")
        assert not output.is_skipped("s", "v2")
        assert not output.is_skipped("a", "v1")
        assert not output.is_done("a", "v2")
        assert not output.is_done("e", "v1")
    assert set(stored(tmp_path)) == {"a", "d", "s"}  # the failed row waits for its retry


def test_a_row_that_was_skipped_gives_way_to_an_exact_one(tmp_path: Path) -> None:
    with open_output(tmp_path) as output:
        write(output, "a", "b", status="skipped")
        output.flush()
        write(output, "b")
        output.flush()
        assert output.done_count == 1
        assert output.is_done("b", "v1")
    assert stored(tmp_path) == {"a": ("skipped", "v1"), "b": ("ok", "v1")}
    with open_output(tmp_path) as output:
        assert output.done_count == 1
        assert output.is_skipped("a", "v1")


def test_a_part_of_failed_rows_alone_goes_and_its_number_is_used_again(tmp_path: Path) -> None:
    with open_output(tmp_path) as output:
        write(output, "a", "b", status="error")
    with open_output(tmp_path) as output:
        write(output, "a", "b")
    assert stored(tmp_path) == {"a": ("ok", "v1"), "b": ("ok", "v1")}
    assert [name for name in files(tmp_path) if name.startswith("images")] == [
        "images/part-0-of-1-000000.parquet"
    ]


def test_a_changed_image_replaces_its_row_and_regions(tmp_path: Path) -> None:
    with open_output(tmp_path, part_rows=3) as output:
        write(output, "a", "b", "c")
        write(output, "d")
    with open_output(tmp_path) as output:
        write(output, "b", "d", version="v2")
    expected = {"a": "v1", "c": "v1", "b": "v2", "d": "v2"}
    assert stored(tmp_path) == {item_id: ("ok", v) for item_id, v in expected.items()}
    assert region_versions(tmp_path) == {item_id: [v] * 2 for item_id, v in expected.items()}


def test_writing_an_item_again_in_one_run_replaces_it(tmp_path: Path) -> None:
    with open_output(tmp_path, part_rows=1) as output:
        write(output, "a")
        write(output, "a", version="v2", status="error")
        assert output.done_count == 1
    assert stored(tmp_path) == {"a": ("error", "v2")}
    assert region_versions(tmp_path) == {}


def test_an_item_twice_in_one_part_is_a_mistake(tmp_path: Path) -> None:
    output = open_output(tmp_path)
    write(output, "a", "a")
    with pytest.raises(ValueError, match="written twice"):
        output.flush()
    output.close()


def test_every_footer_names_schema_fingerprint_settings_and_classes(tmp_path: Path) -> None:
    with open_output(tmp_path) as output:
        write(output, "a")
        fingerprint = output.fingerprint
    for folder in ("images", "regions"):
        (part,) = (tmp_path / folder).iterdir()
        metadata = parquet.read_metadata(part).metadata
        assert metadata[b"deal.schema"] == b"2"
        assert metadata[b"deal.fingerprint"].decode() == fingerprint
        assert json.loads(metadata[b"deal.settings"]) == SETTINGS
        assert json.loads(metadata[b"deal.classes"]) == CLASSES


def test_footers_survive_the_dropping_of_rows(tmp_path: Path) -> None:
    with open_output(tmp_path) as output:
        write(output, "a")
        write(output, "e", status="error")
    open_output(tmp_path).close()
    (part,) = (tmp_path / "images").iterdir()
    assert b"deal.fingerprint" in parquet.read_metadata(part).metadata
    assert read_results(tmp_path).schema.metadata[b"deal.schema"] == b"2"


def test_run_records_name_shard_and_fingerprint(tmp_path: Path) -> None:
    with open_output(tmp_path, shard=Shard(1, 3)) as output:
        path = output.write_run({"command": "deal-score ü", "counts": {"ok": 1}})
    assert path == tmp_path / "runs/1-of-3.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["shard"] == "1/3"
    assert record["fingerprint"] == output.fingerprint
    assert record["command"] == "deal-score ü"


def test_the_record_of_an_earlier_run_gets_a_number(tmp_path: Path) -> None:
    for number in range(3):
        with open_output(tmp_path) as output:
            path = output.write_run({"number": number})
    names = {"0-of-1.json": 2, "0-of-1-0001.json": 0, "0-of-1-0002.json": 1}
    found = {p.name: json.loads(p.read_text())["number"] for p in path.parent.iterdir()}
    assert found == names
    with open_output(tmp_path, shard=Shard(10, 11)) as output:
        output.write_run({})
    open_output(tmp_path, overwrite=True).close()
    assert [p.name for p in path.parent.iterdir()] == ["10-of-11.json"]


def item(name: str, **given: Any) -> PoolItem:
    return PoolItem(id=name, uri=name, locator=LocalFile(name), source_version="v1", **given)


def test_stored_rows_get_what_the_pool_gives_now_and_keep_the_rest(tmp_path: Path) -> None:
    with open_output(tmp_path, part_rows=2) as output:
        write(output, "a", "b")
        write(output, "c")
        assert not output.differs(item("a"))
    changed = [item("a", sequence="s", attributes={"rain": "no"}), item("c", timestamp_ns=5)]
    with open_output(tmp_path) as output:
        assert [output.differs(one) for one in (*changed, item("b"))] == [True, True, False]
        assert output.describe([*changed, item("b")]) == 2
        output.check_rows()
    with open_output(tmp_path) as output:
        assert not any(map(output.differs, changed))
        assert output.differs(item("a", camera="front"))
        assert output.describe([item("a", camera="front"), changed[1]]) == 1
    table = read_results(tmp_path, ["id", "sequence", "camera", "timestamp_ns", "attributes"])
    assert table.to_pylist() == [
        {"id": "a", "sequence": "s", "camera": "front", "timestamp_ns": None}
        | {"attributes": [("rain", "no")]},
        {"id": "b", "sequence": None, "camera": None, "timestamp_ns": None, "attributes": []},
        {"id": "c", "sequence": None, "camera": None, "timestamp_ns": 5, "attributes": []},
    ]
    assert region_versions(tmp_path) == {"a": ["v1"] * 2, "b": ["v1"] * 2, "c": ["v1"] * 2}


# --- refusals and overwriting


def test_other_settings_are_refused_and_named(tmp_path: Path) -> None:
    with open_output(tmp_path) as output:
        write(output, "a")
    with pytest.raises(OutputError, match=r'raster: "input" → "image".*--overwrite'):
        open_output(tmp_path, settings={**SETTINGS, "raster": "image"})
    assert list(stored(tmp_path)) == ["a"]
    open_output(tmp_path).close()  # the refusal has given the lock back


def test_overwrite_removes_what_deal_wrote_and_nothing_else(tmp_path: Path) -> None:
    with open_output(tmp_path) as output:
        write(output, "a")
        output.write_run({})
    (tmp_path / "selection.csv").write_text("old")
    (tmp_path / "previews.jpg").write_text("old")
    (tmp_path / "images/notes.txt").write_text("mine")
    (tmp_path / "thesis.pdf").write_text("mine")
    other = {**SETTINGS, "raster": "image"}
    with open_output(tmp_path, settings=other, overwrite=True) as output:
        assert output.done_count == 0
    assert files(tmp_path) == ["_lock", "images/notes.txt", "results.json", "thesis.pdf"]


def test_overwrite_with_equal_settings_starts_afresh(tmp_path: Path) -> None:
    with open_output(tmp_path) as output:
        write(output, "a", "b")
    with open_output(tmp_path, overwrite=True) as output:
        assert not output.is_done("a", "v1")
        write(output, "a")
    assert list(stored(tmp_path)) == ["a"]


def test_overwrite_replaces_damaged_parts_that_are_refused_otherwise(tmp_path: Path) -> None:
    with open_output(tmp_path) as output:
        write(output, "a")
    part = tmp_path / "images/part-0-of-1-000000.parquet"
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(OutputError, match=r"is damaged \(.*\): delete it"):
        open_output(tmp_path)
    open_output(tmp_path, overwrite=True).close()
    assert not part.exists()


@pytest.mark.parametrize("name", ["other.parquet", "part-0-of-1-000000.parquet"])
def test_tables_of_someone_else_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "images").mkdir()
    parquet.write_table(pa.table({"id": ["x"]}), tmp_path / "images" / name)
    with pytest.raises(OutputError, match="not written by deal-score"):
        open_output(tmp_path)
    assert (tmp_path / "images" / name).exists()


def test_another_schema_is_refused(tmp_path: Path) -> None:
    with open_output(tmp_path) as output:
        write(output, "a")
    (part,) = (tmp_path / "images").iterdir()
    table = parquet.read_table(part, partitioning=None)
    metadata = {**table.schema.metadata, b"deal.schema": b"3"}
    parquet.write_table(table.replace_schema_metadata(metadata), part)
    with pytest.raises(OutputError, match=r"schema 3, which this .* not know; .*--overwrite"):
        open_output(tmp_path)


def test_an_output_of_schema_1_is_continued_and_reads_as_one_table(tmp_path: Path) -> None:
    with open_output(tmp_path) as output:
        write(output, "a", "b")
        write(output, "e", status="error")
    as_schema_1(tmp_path)
    with open_output(tmp_path) as output:
        assert output.is_done("a", "v1")
        assert not output.is_done("e", "v1")
        output.describe([PoolItem("b", "b", "b", "v1", sequence="drive")])
        write(output, "c", thumbnail=bytes(range(192)))
    old, new = sorted((tmp_path / "images").iterdir())
    assert parquet.read_metadata(old).metadata[b"deal.schema"] == b"1"
    assert "thumbnail" not in parquet.read_schema(old).names
    assert parquet.read_metadata(new).metadata[b"deal.schema"] == b"2"
    table = read_results(tmp_path, ["id", "sequence", "thumbnail"])
    assert table.schema.metadata[b"deal.schema"] == b"2"
    assert table.to_pylist() == [
        {"id": "a", "sequence": None, "thumbnail": None},
        {"id": "b", "sequence": "drive", "thumbnail": None},
        {"id": "c", "sequence": None, "thumbnail": bytes(range(192))},
    ]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(OutputError, match=r"cannot write to .*another --output"):
            open_output(path)


def test_a_folder_without_permission_is_refused() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        root = os.geteuid() == 0
        if root:  # who may write anywhere
            os.seteuid(65534)
        try:
            with pytest.raises(OutputError, match=r"cannot write to .*: Permission denied"):
                open_output(Path(folder) / "out")
        finally:
            if root:
                os.seteuid(0)


def test_a_full_disk_is_one_clear_error_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with open_output(tmp_path) as output:
        write(output, "a")
    output = open_output(tmp_path)
    write(output, "b")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="No space left on device; make room"):
            output.flush()
    output.close()
    assert list(stored(tmp_path)) == ["a"]


@pytest.mark.parametrize(
    "columns",
    [
        {"colour": ["red"]},
        {"status": ["ok", "ok"]},
        {"status": [None]},
        {"uri": None},
        {"entropy_hist": np.zeros((1, 12))},
        {"class_pixels": np.zeros((1, 3))},
        {"class_pixels": [[1, 2, 3]]},
    ],
)
def test_rows_that_do_not_fit_the_schema_are_a_mistake(
    tmp_path: Path, columns: dict[str, Any]
) -> None:
    row = {"id": ["a"], "uri": ["a"], "source_version": ["v"], "status": ["ok"]}
    output = open_output(tmp_path)
    with pytest.raises(ValueError, match="column"):
        output.write({**row, **columns})
    output.close()
