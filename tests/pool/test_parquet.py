"""Parquet tables that hold images, beside those that are manifests."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from deal.errors import ItemError, PoolError
from deal.pool.inside import Reading
from deal.pool.listing import Pool
from deal.pool.locator import read_uri
from deal.types import FailedItem, PoolItem
from tests.helpers.pools import ids


def png(level: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (4, 3), level).save(file, "PNG")
    return file.getvalue()


def table(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def items(*sources: str | Path, **reading: Any) -> list[PoolItem]:
    found = list(Pool(sources, reading=Reading(**reading)))
    assert all(isinstance(item, PoolItem) for item in found)
    return found  # type: ignore[return-value]


STRUCTS = [{"bytes": png(level), "path": f"{level}.png"} for level in range(50)]
BYTES = [struct["bytes"] for struct in STRUCTS]


@pytest.mark.parametrize("column", ["image", "img", "jpg"])
@pytest.mark.parametrize("kind", ["struct", "binary", "large_binary"])
def test_rows_in_any_order_give_their_bytes(tmp_path: Path, kind: str, column: str) -> None:
    values = STRUCTS if kind == "struct" else pa.array(BYTES, getattr(pa, kind)())
    path = table(tmp_path / "train-00.parquet", {column: values}, row_group_size=20)
    found = items(path)
    assert [item.id for item in found] == [f"train-00.parquet#{row}" for row in range(50)]
    assert [item.locator.read() for item in found] == BYTES
    order = list(range(50))
    random.Random(0).shuffle(order)
    for row in order:
        assert found[row].locator.read() == BYTES[row]
        assert found[row].uri == f"{path}#{row}"
        assert read_uri(found[row].uri) == BYTES[row]


def test_other_columns_describe_the_images_as_in_a_manifest(tmp_path: Path) -> None:
    columns = {
        "image": STRUCTS[:2],
        "ID": ["first", None],
        "sequence": ["d1", "d1"],
        "camera": ["front", None],
        "timestamp": pa.array([1_700_000_000_000, 1_700_000_000_100], pa.timestamp("ms")),
        "label": [3, 4],
        "boxes": [[1.0], [2.0]],
    }
    pool = Pool(table(tmp_path / "t.parquet", columns))
    first, second = pool
    assert isinstance(first, PoolItem)
    assert isinstance(second, PoolItem)
    assert (first.id, second.id) == ("first", "t.parquet#1")
    assert (first.sequence, first.camera, second.camera) == ("d1", "front", None)
    assert second.timestamp_ns == 1_700_000_000_100 * 10**6
    assert first.attributes == {"label": "3"}
    assert any("no attributes: boxes" in note for note in pool.notes())


@pytest.mark.parametrize("name", ["image.jpg", "image.bytes", "a.b.c"])
def test_a_column_may_have_dots_in_its_name(tmp_path: Path, name: str) -> None:
    for kind, values in (("plain", BYTES), ("struct", STRUCTS)):
        path = table(tmp_path / f"{kind}.parquet", {name: values, "id": list(map(str, range(50)))})
        assert [item.locator.read() for item in items(path)] == BYTES
        assert {item.id for item in items(path)} == set(map(str, range(50)))


def test_bytes_of_every_kind_are_images(tmp_path: Path) -> None:
    equal = [data.ljust(max(map(len, BYTES)), b"\0") for data in BYTES]
    for number, (values, expected) in enumerate(
        (
            (pa.array(BYTES, pa.binary()).dictionary_encode(), BYTES),
            (pa.array(BYTES, pa.binary_view()), BYTES),
            (pa.array(equal, pa.binary(len(equal[0]))), equal),
        )
    ):
        path = table(tmp_path / f"{number}.parquet", {"picture": values})
        assert [item.locator.read() for item in items(path)] == expected


def test_bytes_that_are_no_path_are_not_shown_whole(tmp_path: Path) -> None:
    path = table(tmp_path / "list.parquet", {"uri": [b"a\0" * 10_000]})
    with pytest.raises(PoolError) as caught:
        list(Pool(path))
    assert "not a path" in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_ids_that_stand_in_two_files_are_refused(tmp_path: Path) -> None:
    for name in ("1.parquet", "2.parquet"):
        table(tmp_path / name, {"image": STRUCTS[:1], "id": ["same"]})
    with pytest.raises(PoolError, match="'same' twice"):
        Pool(f"{tmp_path}/*.parquet").count()


def test_a_column_uri_makes_a_manifest_unless_a_column_of_images_is_asked_for(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.png").write_bytes(png(1))
    columns = {"uri": ["a.png"], "thumb": STRUCTS[9:10]}
    path = table(tmp_path / "both.parquet", columns)
    assert ids(path) == ["a.png"]
    (item,) = items(path, image_column="thumb")
    assert item.locator.read() == BYTES[9]
    assert item.uri == f"{path}#thumb.bytes/0"
    assert read_uri(item.uri) == BYTES[9]
    assert item.attributes == {"uri": "a.png"}


def test_a_binary_column_of_names_is_still_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "a\udcff.png").write_bytes(png(1))
    path = table(tmp_path / "m.parquet", {"image": pa.array([b"a\xff.png"], pa.binary())})
    assert ids(path) == ["a%FF.png"]


def test_of_several_columns_of_images_image_is_taken_or_one_must_be_named(tmp_path: Path) -> None:
    path = table(tmp_path / "1.parquet", {"mask": STRUCTS[:1], "image": STRUCTS[1:2]})
    assert items(path)[0].locator.read() == BYTES[1]
    assert items(path, image_column="mask")[0].locator.read() == BYTES[0]
    path = table(tmp_path / "2.parquet", {"left": STRUCTS[:1], "right": STRUCTS[1:2]})
    with pytest.raises(PoolError, match="'left', 'right': choose one by --image-column"):
        iter(Pool(path))
    with pytest.raises(PoolError, match=r"no column 'middle'.*'left', 'right'"):
        iter(Pool(path, reading=Reading(image_column="middle")))


def test_rows_without_bytes_and_images_that_are_too_large_say_so(tmp_path: Path) -> None:
    values = [{"bytes": None, "path": "a.png"}, None, {"bytes": b"x" * 2**21, "path": ""}]
    one, two, three = items(table(tmp_path / "t.parquet", {"image": values}))
    for item in (one, two):
        with pytest.raises(ItemError, match=r"no bytes in the column 'image\.bytes'"):
            item.locator.read()
    with pytest.raises(ItemError, match="--max-pixels") as caught:
        three.locator.read(1000)
    assert caught.value.code == "too_large"


def test_damage_in_a_row_group_costs_its_rows_only(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    noise = [random.Random(i).randbytes(3000) for i in range(40)]
    structs = [{"bytes": BYTES[0] + data, "path": ""} for data in noise]
    table(path, {"image": structs}, row_group_size=10, compression="snappy")
    data = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    data[start : start + 60] = b"\xff" * 60
    path.write_bytes(data)
    found = items(path)
    for row, item in enumerate(found):
        if 10 <= row < 20:
            with pytest.raises(ItemError, match="the table is damaged"):
                item.locator.read()
        else:
            assert item.locator.read() == BYTES[0] + noise[row]


def test_a_file_that_is_no_parquet_or_was_cut_is_refused_by_name(tmp_path: Path) -> None:
    path = table(tmp_path / "t.parquet", {"image": STRUCTS})
    data = path.read_bytes()
    for content in (b"", b"PAR1", data[:-100], data[:50]):
        path.write_bytes(content)
        with pytest.raises(PoolError, match=r"t\.parquet"):
            iter(Pool(path))
    table(tmp_path / "good.parquet", {"image": STRUCTS[:1]})
    entries = list(Pool(f"{tmp_path}/*.parquet"))
    assert [isinstance(entry, FailedItem) for entry in entries] == [False, True]


def test_a_table_that_changes_while_it_is_read_gives_no_wrong_bytes(tmp_path: Path) -> None:
    path = table(tmp_path / "t.parquet", {"image": STRUCTS[:3]})
    first = items(path)[0]
    assert first.locator.read() == BYTES[0]
    table(path, {"image": STRUCTS[10:14]})
    with pytest.raises(ItemError, match="has changed since"):
        first.locator.read()
    assert read_uri(first.uri) == BYTES[10]
