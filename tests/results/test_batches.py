"""What engines call: rows in batches, written by anyone at any time, and what is still missing."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

import deal
from deal.errors import OutputError, ResultsError, UsageError
from deal.results.batches import StoredResults
from deal.results.reading import read_results
from deal.results.schema import images_schema, part_metadata, to_table
from deal.types import PoolItem
from tests.helpers.outputs import CLASSES, SETTINGS, files, open_output, stored, write


def rows(
    *ids: str, status: str = "ok", version: str = "v1", settings: dict[str, Any] = SETTINGS
) -> pa.Table:
    columns = {
        "id": ids,
        "uri": ids,
        "source_version": [version] * len(ids),
        "status": [status] * len(ids),
    }
    table = to_table(columns, images_schema(), len(CLASSES))
    return table.replace_schema_metadata(part_metadata(settings, CLASSES))


def test_batches_of_many_writers_are_one_output(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with ThreadPoolExecutor(4) as writers:
        names = list(writers.map(lambda n: deal.results.write(rows(f"{n}"), out), range(8)))
    assert len({*names}) == 8
    assert all(Path(name).is_file() for name in names)
    assert sorted(stored(out)) == [str(n) for n in range(8)]
    assert json.loads((out / "results.json").read_text())["deal.fingerprint"]


def test_a_table_without_rows_makes_no_part(tmp_path: Path) -> None:
    assert deal.results.write(rows(), tmp_path) == ""
    assert files(tmp_path) == ["results.json"]


def test_what_is_ok_is_done_and_errors_are_tried_again(tmp_path: Path) -> None:
    deal.results.write(rows("a", "b"), tmp_path)
    deal.results.write(rows("c", status="error"), tmp_path)
    opened = deal.results.open(tmp_path)
    pool = pa.table({"id": ["d", "c", "b", "a"], "n": [1, 2, 3, 4]})
    assert opened.missing(pool) == pool.slice(0, 2)
    deal.results.write(rows("c", "d"), tmp_path)
    assert len(opened.missing(pool)) == 0
    assert stored(tmp_path)["c"] == ("ok", "v1")


def test_an_image_that_changed_is_missing_and_its_newer_row_counts(tmp_path: Path) -> None:
    deal.results.write(rows("a", "b"), tmp_path)
    pool = pa.table({"id": ["a", "b", "b"], "source_version": ["v2", "v1", None]})
    opened = deal.results.open(tmp_path)
    assert opened.missing(pool).column("id").to_pylist() == ["a"]
    deal.results.write(rows("a", version="v2"), tmp_path)
    assert len(opened.missing(pool)) == 0
    assert stored(tmp_path) == {"a": ("ok", "v2"), "b": ("ok", "v1")}


def test_sources_are_listed_and_give_the_items_without_a_row(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"x")
    opened = deal.results.open(tmp_path / "out")
    found = [entry for entry in opened.missing(tmp_path) if isinstance(entry, PoolItem)]
    assert [item.id for item in found] == ["a.jpg", "b.jpg"]
    done = rows("a.jpg", version=found[0].source_version)
    deal.results.write(done, tmp_path / "out")
    assert [entry.id for entry in opened.missing([tmp_path])] == ["b.jpg"]  # type: ignore[union-attr]


def test_other_settings_are_refused_before_and_while_writing(tmp_path: Path) -> None:
    other = rows("b", settings={**SETTINGS, "raster": "image"})
    deal.results.write(rows("a"), tmp_path)
    said = r'holds results of other settings \(raster: "input" → "image"\)'
    with pytest.raises(OutputError, match=said):
        deal.results.open(tmp_path).check(other.schema)
    with pytest.raises(OutputError, match=said):
        deal.results.write(other, tmp_path)
    deal.results.open(tmp_path).check(rows("b").schema)
    with pytest.raises(OutputError, match=said):
        open_output(tmp_path, settings={**SETTINGS, "raster": "image"})
    assert sorted(stored(tmp_path)) == ["a"]


def test_an_output_of_a_version_without_the_claim_is_held_against_its_parts(tmp_path: Path) -> None:
    with open_output(tmp_path) as output:
        write(output, "a")
    (tmp_path / "results.json").unlink()
    with pytest.raises(OutputError, match="other settings"):
        deal.results.write(rows("b", settings={**SETTINGS, "raster": "image"}), tmp_path)
    deal.results.write(rows("b"), tmp_path)
    assert sorted(stored(tmp_path)) == ["a", "b"]


def test_an_output_that_never_got_a_row_is_taken_over(tmp_path: Path) -> None:
    other = rows("b", settings={**SETTINGS, "raster": "image"})
    deal.results.write(rows(), tmp_path)
    deal.results.open(tmp_path).check(other.schema)
    deal.results.write(other, tmp_path)
    assert sorted(stored(tmp_path)) == ["b"]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (rows("a").replace_schema_metadata(None), "say nothing of deal.schema"),
        (rows("a").drop_columns(["status"]), "columns missing: status"),
        (rows("a").append_column("mine", pa.array([1])), "unknown columns mine"),
        (rows("a", "a"), "an id stands in two rows"),
        (rows("a").set_column(3, "sequence", pa.array([["x"]])), "column 'sequence' is of type"),
        (rows("a").set_column(1, "uri", pa.nulls(1, pa.string())), "'uri' is null in 1 rows"),
    ],
)
def test_rows_that_no_scorer_gave_are_refused(tmp_path: Path, table: pa.Table, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        deal.results.write(table, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_engines_may_give_record_batches_and_numbers_as_ids(tmp_path: Path) -> None:
    deal.results.write(rows("1").combine_chunks().to_batches()[0], tmp_path)
    assert stored(tmp_path) == {"1": ("ok", "v1")}
    pool = pa.record_batch({"id": pa.array([1, 2])})
    left = deal.results.open(tmp_path).missing(pool)
    assert isinstance(left, pa.Table)
    assert left.column("id").to_pylist() == [2]
    with pytest.raises(UsageError, match=r"a pyarrow\.Table or RecordBatch, not a list"):
        deal.results.write([{"id": "a"}], tmp_path)


def test_a_folder_with_tables_of_someone_else_is_refused_and_stays(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    parquet.write_table(pa.table({"x": [1]}), tmp_path / "images" / "train.parquet")
    with pytest.raises(OutputError, match=r"train\.parquet was not written by deal-score"):
        deal.results.write(rows("a"), tmp_path)
    with pytest.raises(OutputError, match=r"train\.parquet was not written by deal-score"):
        deal.results.open(tmp_path).check(rows("a").schema)
    assert files(tmp_path) == ["images/train.parquet"]


def test_a_table_of_someone_else_that_came_into_an_output_is_named(tmp_path: Path) -> None:
    deal.results.write(rows("a"), tmp_path)
    parquet.write_table(pa.table({"x": [1]}), tmp_path / "images" / "train.parquet")
    with pytest.raises(ResultsError, match=r"train\.parquet was not written by deal-score; move"):
        deal.results.open(tmp_path).missing(pa.table({"id": ["a"]}))
    with pytest.raises(ResultsError, match=r"train\.parquet was not written by deal-score; move"):
        deal.results.compact(tmp_path)


def test_what_is_no_output_or_has_no_id_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no output")
    opened = deal.results.open(tmp_path / "file")
    with pytest.raises(OutputError, match="file: Not a directory; choose another --output"):
        opened.check(rows("a").schema)
    with pytest.raises(UsageError, match="1 items have no id"):
        deal.results.open(tmp_path).missing(pa.table({"id": ["a", None]}))


def test_a_damaged_claim_says_what_to_do(tmp_path: Path) -> None:
    deal.results.write(rows("a"), tmp_path)
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(OutputError, match=r"results\.json is damaged: delete it"):
        deal.results.write(rows("b"), tmp_path)
    (tmp_path / "results.json").unlink()
    deal.results.write(rows("b"), tmp_path)
    assert sorted(stored(tmp_path)) == ["a", "b"]


def test_the_next_run_keeps_one_row_and_counts_what_engines_stored(tmp_path: Path) -> None:
    deal.results.write(rows("a", "b", status="duplicate"), tmp_path)
    deal.results.write(rows("c", status="error"), tmp_path)
    deal.results.write(rows("d"), tmp_path)
    with open_output(tmp_path) as output:
        write(output, "a", version="v1")
    assert stored(tmp_path)["a"] == ("ok", "v1")
    deal.results.write(rows("b"), tmp_path)  # the row that is ok, in a part that is read first
    with open_output(tmp_path) as output:
        assert output.done_count == 3
        assert not output.is_done("c", "v1")
        output.check_rows()
    statuses = {item_id: status for item_id, (status, _) in stored(tmp_path).items()}
    assert statuses == {"a": "ok", "b": "ok", "d": "ok"}
    parts = (tmp_path / "images").glob("*.parquet")
    assert sum(len(read_results(tmp_path, ["id"])) for _ in [0]) == 3
    assert sum(pa.parquet.read_metadata(part).num_rows for part in parts) == 3


def test_an_output_is_named_as_it_was_given(tmp_path: Path) -> None:
    assert StoredResults(str(tmp_path)).output == str(tmp_path)
    assert deal.results.open(tmp_path).metadata is None
