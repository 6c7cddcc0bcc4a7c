"""Reading stored results of one and of many outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

import deal
from deal.errors import ResultsError
from deal.results.output import Output
from deal.results.reading import iter_results, read_regions, read_results
from deal.results.schema import IMAGE_COLUMNS, REGION_COLUMNS, images_schema
from tests.helpers.outputs import open_output
from tests.helpers.outputs import write as write_rows


def score(path: Path, ids: str, settings: dict[str, Any] | None = None, rows: int = 2) -> None:
    """Items called by letters; x, y and z failed."""
    settings = {"model": "m"} if settings is None else settings
    with Output.open(path, settings=settings, classes=["a"], part_rows=rows) as output:
        for item_id in ids:
            failed = item_id in "xyz"
            images = {
                "id": [item_id],
                "uri": [f"/pool/{item_id}"],
                "source_version": ["v"],
                "status": ["error" if failed else "ok"],
                "error_code": ["decode" if failed else None],
                "entropy_mean": [None if failed else 0.5],
                "entropy_hist": [None if failed else np.arange(240)],
            }
            region = {name: [0] for name in ("region", "x0", "y0", "x1", "y1")}
            output.write(images, None if failed else {"id": [item_id], **region})


def test_one_table_over_parts_and_folders_in_order(tmp_path: Path) -> None:
    score(tmp_path / "one", "dcb")
    score(tmp_path / "two", "a")
    table = read_results([tmp_path / "one", str(tmp_path / "two")])
    assert table.column("id").to_pylist() == ["d", "c", "b", "a"]
    assert table.column_names == list(IMAGE_COLUMNS)
    assert table.schema.types == images_schema().types
    assert table.schema.metadata[b"deal.classes"] == b'["a"]'
    assert table.column("difficulty_mean").null_count == 4
    assert table.column("entropy_hist").to_pylist() == [list(range(240))] * 4


def test_columns_and_status_are_chosen(tmp_path: Path) -> None:
    score(tmp_path, "axby")
    assert read_results(tmp_path, ["entropy_mean", "id"], "ok").to_pydict() == {
        "entropy_mean": [0.5, 0.5],
        "id": ["a", "b"],
    }
    failed = read_results(tmp_path, ["id", "status", "error_code"], "error")
    assert failed.to_pydict() == {
        "id": ["x", "y"],
        "status": ["error", "error"],
        "error_code": ["decode", "decode"],
    }
    assert len(read_results(tmp_path, ["id"], "duplicate")) == 0


def test_the_stream_gives_what_the_table_holds(tmp_path: Path) -> None:
    score(tmp_path, "abcdexfg", rows=3)
    batches = list(iter_results(tmp_path, ["id", "entropy_mean"], batch_rows=2))
    assert max(batch.num_rows for batch in batches) == 2
    assert read_results(tmp_path, ["id", "entropy_mean"]).equals(pa.Table.from_batches(batches))


def test_a_stream_without_rows_still_tells_its_schema(tmp_path: Path) -> None:
    score(tmp_path, "a")
    batches = list(iter_results(tmp_path, ["id"], "skipped"))
    assert sum(batch.num_rows for batch in batches) == 0
    assert batches[0].schema.names == ["id"]


def test_temporary_files_and_key_value_folders_do_not_matter(tmp_path: Path) -> None:
    out = tmp_path / "round=1"
    score(out, "a")
    (out / "images/_part-0-of-1-000001.parquet").write_text("half a part")
    assert read_results(out).column_names == list(IMAGE_COLUMNS)
    assert len(read_results(out)) == 1


def test_regions_are_read_and_may_be_none(tmp_path: Path) -> None:
    score(tmp_path / "some", "axb")
    table = read_regions(tmp_path / "some")
    assert table.column("id").to_pylist() == ["a", "b"]
    assert table.column_names == list(REGION_COLUMNS)
    score(tmp_path / "none", "x")
    assert read_regions(tmp_path / "none", ["id", "x0"]).to_pydict() == {"id": [], "x0": []}


def test_a_folder_that_was_scored_without_regions_is_named(tmp_path: Path) -> None:
    score(tmp_path / "some", "a", {"regions": "grid"})
    score(tmp_path / "failed", "x", {"regions": "grid"})
    score(tmp_path / "without", "x", {"regions": None})
    assert len(read_regions([tmp_path / "failed", tmp_path / "some"])) == 1
    with pytest.raises(ResultsError, match=r'without .*\(regions: "grid" → null\)'):
        read_regions([tmp_path / "some", tmp_path / "without"])


def test_other_settings_are_named(tmp_path: Path) -> None:
    score(tmp_path / "one", "a", {"model": "m", "raster": "input"})
    score(tmp_path / "two", "b", {"model": "m", "raster": "image"})
    with pytest.raises(ResultsError, match=r'one and .*two .*raster: "input" → "image"'):
        read_results([tmp_path / "one", tmp_path / "two"])


def test_an_id_in_two_folders_is_named(tmp_path: Path) -> None:
    score(tmp_path / "one", "ab")
    score(tmp_path / "two", "bc")
    with pytest.raises(ResultsError, match=r"'b' stands in two rows \(.*one and .*two\)"):
        read_results([tmp_path / "one", tmp_path / "two"])
    with pytest.raises(ResultsError, match="stands in two rows"):
        next(iter_results([tmp_path / "one"] * 2))


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_source_without_results_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ResultsError, match=rf"{name} holds no results; name a folder"):
        read_results(tmp_path / name)


@pytest.mark.parametrize("read", [read_results, read_regions])
def test_no_folder_at_all_is_refused(read: Any) -> None:
    with pytest.raises(ResultsError, match="no results are named"):
        read([])


def test_unknown_columns_and_statuses_are_refused(tmp_path: Path) -> None:
    score(tmp_path, "a")
    with pytest.raises(ResultsError, match=r"no column 'entropy'; there are id, .*entropy_mean"):
        read_results(tmp_path, ["entropy"])
    with pytest.raises(ResultsError, match="no status 'done'; there are ok, error"):
        read_results(tmp_path, status="done")
    with pytest.raises(ResultsError, match="no column 'uri'"):
        read_regions(tmp_path, ["uri"])


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (b"3", r"results schema 3, this version of deal reads 1 and 2; read it with the version"),
        (None, "not written by deal-score"),
    ],
)
def test_other_schemas_are_refused(tmp_path: Path, version: bytes | None, message: str) -> None:
    score(tmp_path, "a")
    (part,) = (tmp_path / "images").iterdir()
    table = parquet.read_table(part, partitioning=None)
    metadata = {b"deal.schema": version} if version else {}
    parquet.write_table(table.replace_schema_metadata(metadata), part)
    with pytest.raises(ResultsError, match=message):
        read_results(tmp_path)


def test_a_damaged_part_is_named_with_the_remedy(tmp_path: Path) -> None:
    score(tmp_path, "abcd")
    part = tmp_path / "images/part-0-of-1-000001.parquet"
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(ResultsError, match=r"000001\.parquet is damaged .*delete it"):
        read_results(tmp_path)


def test_a_part_that_goes_while_results_are_read_is_told(tmp_path: Path) -> None:
    with open_output(tmp_path, part_rows=1) as output:
        write_rows(output, "a")
        write_rows(output, "b")
    batches = iter_results(tmp_path, ["id"])
    next(batches)
    deal.results.compact(tmp_path)
    with pytest.raises(ResultsError, match="went while the results were read"):
        list(batches)
