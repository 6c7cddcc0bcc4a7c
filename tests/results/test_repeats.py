"""An id in two parts of one folder: readers take one row, and the next run removes the other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deal.errors import ResultsError
from deal.pool.ids import Shard
from deal.results.reading import read_regions, read_results
from deal.selection import select
from tests.helpers.outputs import open_output, region_versions, stored, write


def two_hosts(out: Path, *, first: str = "ok") -> None:
    """Write a folder that two hosts wrote without knowing of each other; both scored ``b``."""
    with open_output(out) as output:
        write(output, "a")
        write(output, "b", version="v1", status=first)
    with open_output(out.with_name("other")) as output:
        write(output, "b", version="v2")
        write(output, "c", version="v2")
    for folder in ("images", "regions"):
        source = out.with_name("other") / folder / "part-0-of-1-000000.parquet"
        shutil.move(source, out / folder / "part-0-of-1-000007.parquet")


def test_the_row_that_is_ok_counts_and_of_two_the_first(tmp_path: Path) -> None:
    two_hosts(tmp_path / "alike")
    assert stored(tmp_path / "alike") == {"a": ("ok", "v1"), "b": ("ok", "v1"), "c": ("ok", "v2")}
    assert region_versions(tmp_path / "alike") == {
        "a": ["v1"] * 2,
        "b": ["v1"] * 2,
        "c": ["v2"] * 2,
    }
    two_hosts(tmp_path / "failed", first="error")
    assert stored(tmp_path / "failed")["b"] == ("ok", "v2")
    assert region_versions(tmp_path / "failed")["b"] == ["v2"] * 2
    assert len(read_results(tmp_path / "failed", ["uri"])) == 3


@pytest.mark.parametrize("table", ["images", "regions"])
def test_a_selection_counts_it_once(tmp_path: Path, table: str) -> None:
    two_hosts(tmp_path / "out")
    selection = select(tmp_path / "out", acquisition="random", table=table)
    assert sorted(selection.ids) == sorted(["a", "b", "c"] * (2 if table == "regions" else 1))
    assert selection.metadata["rows"] == len(selection)


def test_the_next_run_removes_it_with_its_regions(tmp_path: Path) -> None:
    out = tmp_path / "out"
    two_hosts(out)
    with open_output(out) as output:
        assert output.done_count == 3
        assert output.is_done("b", "v1")
        output.check_rows()
    assert sorted(read_results(out, ["id"]).column("id").to_pylist()) == ["a", "b", "c"]
    assert len(read_regions(out)) == 6
    assert len(list((out / "images").iterdir())) == 2
    assert stored(out)["b"] == ("ok", "v1")


def test_a_run_over_another_shard_leaves_the_rows_of_others(tmp_path: Path) -> None:
    out = tmp_path / "out"
    two_hosts(out)
    index = next(index for index in (0, 1) if not Shard(index, 2).contains("b"))
    open_output(out, shard=Shard(index, 2)).close()
    assert stored(out)["b"] == ("ok", "v1")


def test_two_images_of_one_id_are_refused(tmp_path: Path) -> None:
    """As of a manifest that gives an id twice, in rows of two shards."""
    out = tmp_path / "out"
    two_hosts(out)
    part = out / "images" / "part-0-of-1-000007.parquet"
    table = pq.read_table(part)
    place = table.schema.get_field_index("uri")
    for uris in (["elsewhere/b", "c"], ["b", "c"]):
        column = pa.array(uris, table.schema.field("uri").type)
        pq.write_table(table.set_column(place, table.schema.field("uri"), column), part)
        if uris[0] == "b":  # changed between the two hosts' runs
            assert len(read_results(out, ["id"])) == 3
        else:
            with pytest.raises(ResultsError, match="'b' stands for two images"):
                read_results(out, ["id"])


def test_one_folder_under_two_names_is_refused(tmp_path: Path) -> None:
    two_hosts(tmp_path / "out")
    with pytest.raises(ResultsError, match="'a' stands in two rows"):
        read_results([tmp_path / "out", tmp_path / "out" / "." / "../out"])
