"""Checksums of parts: every flipped bit is found or harmless; what is no file is refused."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from deal.errors import OutputError, ResultsError
from deal.results.partfile import Part
from deal.results.parts import publish, read_part
from deal.results.reading import read_regions, read_results
from tests.helpers.outputs import open_output, stored, write


def small_part(path: Path) -> bytes:
    """One row group of a text, numbers, lists, a map; in bytes."""
    columns = {
        "id": ["a", "b", "ü"],
        "score": [0.5, None, 0.25],
        "hist": pa.array([[1, 2], [], None], pa.list_(pa.int32())),
        "attributes": pa.array([[("k", "v")], None, []], pa.map_(pa.string(), pa.string())),
    }
    publish(pa.table(columns).replace_schema_metadata({"deal.schema": "1"}), path)
    return path.read_bytes()


def test_any_reader_of_parquet_reads_a_part_and_checks_its_pages(tmp_path: Path) -> None:
    small_part(tmp_path / "p.parquet")
    ours = read_part(tmp_path / "p.parquet")
    with parquet.ParquetFile(tmp_path / "p.parquet", page_checksum_verification=True) as file:
        assert file.read().equals(ours)
    assert Part(tmp_path / "p.parquet").footer == {"deal.schema": "1"}


def test_every_flipped_bit_is_found_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    whole = small_part(path)
    before = read_part(path)
    chosen = random.Random(0).sample(range(len(whole) * 8), 400)
    harmless = 0
    for bit in [*chosen, *range(32), *range(len(whole) * 8 - 64, len(whole) * 8)]:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            after = read_part(path)
        except ResultsError as error:
            assert "is damaged" in str(error)  # noqa: PT017 (most bits raise, a few need not)
        else:
            harmless += 1
            assert after.equals(before)
    # The four bytes at the start that nobody reads, and names of the entry with the checksums.
    assert 32 <= harmless < 60


@pytest.mark.parametrize("size", [0, 3, 8, 100, -1, -9])
def test_a_torn_part_is_damaged(tmp_path: Path, size: int) -> None:
    path = tmp_path / "p.parquet"
    path.write_bytes(small_part(path)[:size])
    with pytest.raises(ResultsError, match="is damaged"):
        read_part(path)


def test_only_the_columns_that_are_read_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    whole = bytearray(small_part(path))
    chunk = parquet.read_metadata(path).row_group(0).column(1)
    whole[chunk.data_page_offset + 3] ^= 4
    path.write_bytes(whole)
    assert read_part(path, ["id"]).column("id").to_pylist() == ["a", "b", "ü"]
    with pytest.raises(ResultsError, match=r"checksum of its column 'score'"):
        read_part(path, ["id", "score"])


def test_parts_without_checksums_are_read_and_their_text_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    text = pa.array([b"a", b"\xff"], pa.binary())
    for values, damaged in ((text.slice(0, 1), False), (text, True)):
        table = pa.table({"id": pa.StringArray.from_buffers(len(values), *values.buffers()[1:])})
        parquet.write_table(table, path)
        if damaged:
            with pytest.raises(ResultsError, match=r"UTF-?8"):
                read_part(path)
        else:
            assert read_part(path).equals(table)


def test_damage_names_the_rows_and_the_remedy_works(tmp_path: Path) -> None:
    with open_output(tmp_path) as output:
        write(output, "a", "b")
    part = tmp_path / "images/part-0-of-1-000000.parquet"
    whole = bytearray(part.read_bytes())
    whole[40] ^= 1  # of the ids
    part.write_bytes(whole)
    message = r"000000\.parquet is damaged .*: delete it, and run .* its 2 images are scored again"
    with pytest.raises(ResultsError, match=message):
        read_results(tmp_path)
    with pytest.raises(OutputError, match=message):
        open_output(tmp_path)
    part.unlink()
    with open_output(tmp_path) as output:
        assert not output.is_done("a", "v1")
        write(output, "a", "b")
    assert set(stored(tmp_path)) == {"a", "b"}


def test_of_damaged_regions_the_images_go_too_or_they_would_not_come_back(tmp_path: Path) -> None:
    with open_output(tmp_path) as output:
        write(output, "a")
    part = tmp_path / "regions/part-0-of-1-000000.parquet"
    part.write_bytes(part.read_bytes()[:50])
    with pytest.raises(ResultsError, match=r"delete it and .*/images/part-0-of-1-000000\.parquet"):
        read_regions(tmp_path)


def test_a_pipe_in_place_of_a_part_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.parquet")
    with pytest.raises(ResultsError, match="cannot be read: it is not a regular file"):
        read_part(tmp_path / "p.parquet")
