"""Manifests in Parquet column by column give what they give row by row, and each shard its rows."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deal.errors import PoolError
from deal.pool import manifest_batches, manifest_tables
from deal.pool.ids import Shard
from deal.pool.listing import Pool
from deal.pool.manifest import read_manifest
from deal.pool.manifest_batches import TableManifest
from deal.types import PoolItem

URIS = ["a.jpg", "b/c.jpg", "ä/ö.jpg", "d.jpg", "e e.jpg"]
NAMES = {"id": ["1", "2", "3", "4", "5"]}
BINARY = pa.binary()


def written(path: Path, columns: dict[str, Any], **options: Any) -> str:
    pq.write_table(pa.table(columns), path, **options)
    return str(path)


TABLES: dict[str, dict[str, Any]] = {
    "plain": {"uri": URIS},
    "ids": {"uri": URIS, **NAMES},
    "large": {
        "uri": pa.array(URIS, pa.large_string()),
        "weather": pa.array(URIS).dictionary_encode(),
    },
    "described": {
        "uri": URIS,
        "sequence": ["s", "", None, "t", "t"],
        "camera": [None] * 4 + ["c"],
        "timestamp_ns": [10**18, None, 10**18 + 5, 7, -1],
        "number": [1, None, -5, 0, 2**60],
        "real": [0.1, math.nan, 1e-7, None, 1e300],
        "text": ["", None, "nan", "x", "ü"],
    },
    "yes": {"uri": URIS, "night": [True, False, None, True, False]},
    "nested": {"uri": URIS, "boxes": [[1], [], None, [2, 3], [4]]},
    "dates": {"uri": URIS, "timestamp": pa.array([1, 2, None, 4, 5], pa.timestamp("us"))},
    "odd": {"uri": ["./a.jpg", "b//c.jpg", "../d.jpg", "e/../f.jpg", "file:///g%20h.jpg"]},
    "percent": {"uri": ["50%.jpg", "%25.jpg", "%C3.jpg", "a#b.jpg", "x.tar/y.jpg"]},
    "bytes": {"uri": pa.array([b"a.jpg", b"\xff.jpg", b"c", b"d", b"e"], BINARY)},
    "names": {"Image": URIS, " Camera ": ["a"] * 5},
    "numbers as ids": {"uri": URIS, "id": [1, 2, 3, 4, 5]},
    "some ids": {"uri": URIS, "id": ["1", None, "", "4", "5"]},
    "stores": {
        "uri": [f"s3://bucket/{name}" for name in URIS],
        "source_version": ["9-a", None, "", "8-b", "7-c"],
    },
    "web": {"uri": [f"https://host//{name}?x=1" for name in URIS]},
    "mixed": {"uri": ["s3://b/a.jpg", "b.jpg", "/c.jpg", "gs://d/e.jpg", "f.jpg"]},
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("absolute", [False, True])
def test_both_ways_give_the_same(tmp_path: Path, name: str, absolute: bool) -> None:
    columns = dict(TABLES[name])
    if absolute and name in ("plain", "ids", "described"):
        columns["uri"] = [f"{tmp_path if i % 2 else ''}/{uri}" for i, uri in enumerate(URIS)]
    path = written(tmp_path / "m.parquet", columns)
    said: list[str] = []
    other: list[str] = []
    table = TableManifest(path, Shard(), said.append)
    table.check()
    assert list(table.rows()) == list(read_manifest(path, other.append))
    assert {*said} == {*other}


def test_most_manifests_are_plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_batches.ParquetRows, "one_by_one", None)
    for name in ("plain", "ids", "large", "described", "stores"):
        path = written(tmp_path / f"{name}.parquet", TABLES[name])
        assert len(list(TableManifest(path, Shard(), print).rows())) == 5


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"uri": ["a", "b", "a"]}, "gives the id 'a' twice"),
        ({"uri": ["a", "b", "c"], "id": ["x", "y", "x"]}, "gives the id 'x' twice"),
        ({"uri": ["a", "./a", "c"]}, "gives the id 'a' twice"),
        ({"uri": ["a", None, "c"]}, "line 2: no 'uri'"),
        ({"uri": ["a", "", "c"]}, "line 2: no 'uri'"),
        ({"uri": ["a", "x\0y", "c"]}, "line 2: 'uri' is 'x\\\\x00y', not a path"),
        ({"uri": ["a", "ftp://x", "c"]}, "line 2: 'ftp://x' is neither a path"),
        ({"uri": ["a", "b"], "timestamp_ns": [1_600_000_000] * 2}, "if it counts seconds"),
        ({"name": ["a"]}, "it needs a column 'uri'"),
    ],
)
def test_what_is_wrong_is_said_before_any_row(
    tmp_path: Path, columns: dict[str, Any], said: str
) -> None:
    path = written(tmp_path / "m.parquet", columns)
    with pytest.raises(PoolError, match=said):
        Pool(path).count()
    with pytest.raises(PoolError, match=said):
        iter(Pool(path))


@pytest.mark.parametrize("group", [1, 7, 100])
@pytest.mark.parametrize("count", [1, 3, 40])
def test_the_shards_of_a_manifest_are_its_rows_each_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int, count: int
) -> None:
    monkeypatch.setattr(manifest_tables, "_BATCH", 5)
    names = [f"{number:03}.jpg" for number in range(29)]
    path = written(tmp_path / "m.parquet", {"uri": names}, row_group_size=group)
    found: list[str] = []
    for index in range(count):
        pool = Pool(path, shard=Shard(index, count))
        items = [entry.item.id if not isinstance(entry, PoolItem) else entry.id for entry in pool]
        assert pool.count() == len(items)
        assert abs(len(items) - 29 / count) < 1
        found += items
    assert found == names


def test_a_shard_reads_the_row_groups_of_its_rows_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(
        tmp_path / "m.parquet", {"uri": [f"{i}.jpg" for i in range(40)]}, row_group_size=10
    )
    read: list[list[int]] = []
    iterate = pq.ParquetFile.iter_batches

    def watched(self: Any, **options: Any) -> Any:
        read.append(options["row_groups"])
        return iterate(self, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", watched)
    assert len(list(TableManifest(path, Shard(1, 4), print).rows())) == 10
    assert read == [[1]]


def test_equal_texts_hash_alike_wherever_they_lie_and_others_do_not() -> None:
    texts = [f"{'x' * (i % 40)}{i}" for i in range(20_000)] + ["", "\0", "\0\0", "a\0", "a"]
    array = pa.array(texts)
    hashes = manifest_batches._hashes(array)
    assert len(np.unique(hashes)) == len(texts)
    assert (manifest_batches._hashes(array.slice(777)) == hashes[777:]).all()
    assert (manifest_batches._hashes(pa.array(texts[-3:])) == hashes[-3:]).all()
