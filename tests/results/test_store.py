"""Results in object storage, against an S3 server on loopback."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

import deal
from deal.errors import OutputError, ResultsError, UsageError
from deal.pool.ids import Shard
from deal.pool.remote_path import RemotePath, place
from deal.results import compaction
from deal.results.parts import count_rows, keep_rows, list_parts
from deal.results.reading import read_regions, read_results
from deal.selection import select
from tests.helpers.outputs import SETTINGS, open_output, region_versions, stored, write
from tests.helpers.stores import NUMBERS, Bucket, s3_server, store_environment
from tests.results.test_batches import rows
from tests.results.test_compaction import content


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture
def out(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    store_environment(monkeypatch, endpoint)
    bucket = Bucket(endpoint, f"results-{next(NUMBERS)}")
    return place(f"s3://{bucket.name}/scored/")


def names(out: Path) -> list[str]:
    return sorted(str(path).removeprefix(f"{out}/") for path in out.rglob("*"))


def test_a_path_in_a_store_is_used_as_one_on_this_machine(out: Path) -> None:
    folder = out / "images"
    path = folder / "a.parquet"
    assert (str(path.parent), path.name, path.suffix) == (str(folder), "a.parquet", ".parquet")
    assert not path.exists()
    with pytest.raises(FileNotFoundError):
        path.read_bytes()
    path.write_bytes(b"1234")
    (folder / "deeper/b.parquet").write_bytes(b"")
    assert path.read_bytes() == b"1234"
    assert path.stat().st_size == 4
    assert [found.name for found in folder.glob("*.parquet")] == ["a.parquet"]
    assert [found.name for found in out.glob("images/a*")] == ["a.parquet"]
    assert sorted(found.name for found in out.rglob("*")) == ["a.parquet", "b.parquet"]
    assert folder.is_dir()
    assert not (out / "image").is_dir()
    with pytest.raises(FileExistsError):
        path.create(b"5")  # type: ignore[attr-defined]
    path.rename(folder / "c.parquet")
    assert [found.name for found in folder.iterdir()] == ["c.parquet"]
    assert pickle.loads(pickle.dumps(path)) == path
    with pytest.raises(TypeError, match="no file on this machine"):
        os.fspath(path)
    path.unlink()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("https://host/out", "web servers store nothing"),
        ("ftp://host/out", "give a folder, or one in object storage"),
        ("s3://", "names no folder in a store"),
        ("s3://bucket/../out", "names no folder in a store"),
        (Path("s3://bucket/out"), "give it as text"),
    ],
)
def test_addresses_where_no_results_can_lie_are_refused(address: str | Path, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        place(address, what="--output")


def test_an_output_in_a_store_resumes_with_one_row_an_item(out: Path) -> None:
    with open_output(out, part_rows=2) as output:
        write(output, "a", "b")
        write(output, "c", status="error")
    with open_output(out) as output:
        assert output.done_count == 2
        assert output.is_done("a", "v1")
        assert not output.is_done("c", "v1")
        write(output, "c", "d")
        write(output, "a", version="v2")
        output.flush()
        output.check_rows()
    assert stored(out) == {
        "a": ("ok", "v2"),
        "b": ("ok", "v1"),
        "c": ("ok", "v1"),
        "d": ("ok", "v1"),
    }
    assert region_versions(out)["a"] == ["v2", "v2"]
    assert sorted(select(str(out), acquisition="random").ids) == ["a", "b", "c", "d"]


def test_two_runs_of_one_shard_that_know_nothing_of_each_other_lose_nothing(out: Path) -> None:
    with open_output(out) as one, open_output(out) as other:
        write(one, "a", "b")
        write(other, "b", "c")
    assert stored(out) == dict.fromkeys("abc", ("ok", "v1"))
    assert len(list_parts(out / "images")) == 2
    with open_output(out) as output:
        assert output.done_count == 3


def test_shards_share_an_output_and_other_settings_are_kept_out(out: Path) -> None:
    for index in (0, 1):
        shard = Shard(index, 2)
        with open_output(out, shard=shard) as output:
            write(output, *(name for name in "abcdef" if shard.contains(name)))
    assert sorted(stored(out)) == list("abcdef")
    with pytest.raises(OutputError, match=r"holds results of other settings \(raster"):
        open_output(out, settings={**SETTINGS, "raster": "image"})
    with pytest.raises(OutputError, match="instead of overwriting"):
        open_output(out, overwrite=True)


def test_records_of_earlier_runs_stay(out: Path) -> None:
    for number in range(3):
        with open_output(out) as output:
            output.write_run({"number": number})
    assert [name for name in names(out) if name.startswith("runs/")] == [
        "runs/0-of-1-0001.json",
        "runs/0-of-1-0002.json",
        "runs/0-of-1.json",
    ]


def test_a_part_that_goes_behind_its_back_is_missed(out: Path) -> None:
    with open_output(out) as output:
        write(output, "a")
        output.flush()
        output.check_rows()
        next((out / "images").glob("*.parquet")).unlink()
        with pytest.raises(OutputError, match="is gone: something else removed it"):
            output.check_rows()


def test_a_part_that_another_process_rewrote_is_not_rewritten_again(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deal.results.write(rows("a", "b", "c"), str(out))
    (part,) = list_parts(out / "images")
    read = RemotePath.read_tagged

    def changing(path: RemotePath) -> tuple[bytes, dict[str, str]]:
        found = read(path)
        patch.undo()
        keep_rows(part, pa.array([True, True, False]))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(RemotePath, "read_tagged", changing)
        with pytest.raises(FileExistsError, match="another process changed it"):
            keep_rows(part, pa.array([False, True, True]))
    assert count_rows(part) == 2


def test_engines_write_into_it_and_ask_what_is_missing(out: Path) -> None:
    where = deal.results.write(rows("a", "b"), str(out))
    assert where.startswith(f"{out}/images/batch-")
    deal.results.write(rows("c", status="error"), str(out))
    missing = deal.results.open(str(out)).missing(pa.table({"id": list("abcd")}))
    assert missing.column("id").to_pylist() == ["c", "d"]
    with pytest.raises(OutputError, match="other settings"):
        deal.results.write(rows("x", settings={**SETTINGS, "raster": "image"}), str(out))


@pytest.mark.slow
@pytest.mark.parametrize("call", [0, 1, 3, 7])
def test_merging_parts_in_it_survives_a_kill(
    out: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    with open_output(out, part_rows=2) as output:
        for number in range(3):
            write(output, f"{number}a", f"{number}b", version=f"v{number}")
    before = content(out)
    made = 0

    def step(function, *arguments, **options):  # type: ignore[no-untyped-def]
        nonlocal made
        made += 1
        if made > call:
            raise KeyboardInterrupt
        return function(*arguments, **options)

    publish, unlink = compaction.publish_tables, RemotePath.unlink
    with monkeypatch.context() as patch:
        patch.setattr(compaction, "publish_tables", lambda *a: step(publish, *a))
        patch.setattr(RemotePath, "unlink", lambda *a, **k: step(unlink, *a, **k))
        with pytest.raises(KeyboardInterrupt):
            deal.results.compact(str(out))
    assert content(out) == before
    deal.results.compact(str(out))
    assert content(out) == before
    assert len(list_parts(out / "images")) == 1


def test_large_parts_are_read_in_ranges(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deal.results.remote_part._WHOLE", 1)
    with open_output(out) as output:
        write(output, *map(str, range(50)))
    before = stored(out)
    with monkeypatch.context() as patch:
        patch.setattr(RemotePath, "read_tagged", None)  # nothing is read whole
        assert stored(out) == before
        assert len(read_regions(out)) == 100


def test_what_is_no_folder_of_results_is_said(out: Path) -> None:
    with pytest.raises(ResultsError, match=r"s3://results-\d+/scored holds no results"):
        read_results(str(out))
    with pytest.raises(OutputError, match=r"cannot write to s3://nowhere.*check the address"):
        open_output(place("s3://nowhere-at-all/out"))
