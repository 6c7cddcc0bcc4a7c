"""Object storage and web addresses, against servers on loopback."""

from __future__ import annotations

import io
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deal.errors import ItemError, PoolError
from deal.pool import remote
from deal.pool.inside import Reading
from deal.pool.listing import Pool
from deal.pool.locator import locate, read_file, read_uri
from deal.pool.remote import RemoteObject
from deal.types import FailedItem, PoolItem
from tests.helpers.stores import NUMBERS, Between, Bucket, s3_server, serving


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setattr(remote, "FIRST_WAIT", 0.001)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def bucket(endpoint: str) -> Bucket:
    return Bucket(endpoint, f"pool-{next(NUMBERS)}")


@pytest.fixture
def between(endpoint: str) -> Iterator[Between]:
    with serving(Between(endpoint)) as server:
        yield server


def listed(source: str, endpoint: str) -> list[PoolItem | FailedItem]:
    return list(Pool(source, reading=Reading(endpoint_url=endpoint)))


def ids(source: str, endpoint: str) -> list[str]:
    entries = listed(source, endpoint)
    assert all(isinstance(entry, PoolItem) for entry in entries)
    return [entry.id for entry in entries]  # type: ignore[union-attr]


KEYS = ["d1/front/1.jpg", "d1/front/ü %41#?=&+.PNG", "d1/rear/2.jpg", "d10/3.jpg"]


def test_what_lies_below_a_prefix_is_listed_and_read(bucket: Bucket) -> None:
    for key in (*KEYS, "d1/notes.txt", "d1/.hidden/4.jpg", "d1/5.gif"):
        bucket.put(key, f"content of {key}".encode())
    root = f"s3://{bucket.name}"
    found = listed(f"{root}/d1/", bucket.endpoint)
    assert {entry.id for entry in found if isinstance(entry, PoolItem)} == {
        key.removeprefix("d1/") for key in KEYS[:3]
    }
    for item in found:
        assert isinstance(item, PoolItem)
        key = f"d1/{item.id}"
        assert item.uri == f"{root}/{key}"
        assert item.locator.read() == f"content of {key}".encode()
        assert read_uri(item.uri, item.source_version, endpoint_url=bucket.endpoint)
        size, _, etag = item.source_version.partition("-")
        assert int(size) == len(f"content of {key}".encode())
        assert len(etag) == 32
    assert sorted(ids(root, bucket.endpoint)) == sorted(KEYS)
    assert ids(f"{root}/d1", bucket.endpoint) == [item.id for item in found]


def test_notes_tell_what_was_passed_over(bucket: Bucket) -> None:
    for key in ("1.jpg", ".h/2.jpg", "3.gif", "4.tar"):
        bucket.put(key, b"x")
    pool = Pool(f"s3://{bucket.name}", reading=Reading(endpoint_url=bucket.endpoint))
    assert [entry.id for entry in pool] == ["1.jpg"]
    (note,) = pool.notes()
    assert "1 .gif" in note
    assert "1 .tar" in note
    assert "1 hidden name" in note


def test_globs_and_single_objects(bucket: Bucket) -> None:
    for key in KEYS:
        bucket.put(key, b"x")
    root = f"s3://{bucket.name}"
    assert ids(f"{root}/d1/*/*.jpg", bucket.endpoint) == ["front/1.jpg", "rear/2.jpg"]
    assert ids(f"{root}/**/1.jpg", bucket.endpoint) == ["d1/front/1.jpg"]
    assert ids(f"{root}/d10/3.jpg", bucket.endpoint) == ["3.jpg"]
    (gone,) = listed(f"{root}/d10/4.jpg", bucket.endpoint)
    assert isinstance(gone, FailedItem)
    assert (gone.error_code, gone.error[:3]) == ("io", "404")


def test_more_objects_than_a_page_holds(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(25):
        bucket.put(f"{number:03}.jpg", b"x")
    monkeypatch.setattr(remote, "_PAGE", 10)
    assert ids(f"s3://{bucket.name}", bucket.endpoint) == [f"{n:03}.jpg" for n in range(25)]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("s3://no-such-bucket/", "cannot be listed: .*404"),
        ("s3://{bucket}/empty/", "no image found"),
        ("s3://{bucket}/shard.tar", "shard.tar' cannot be read: 404"),
        ("s3://{bucket}/{{0..2}}.tar", "names 3 files, of which 3 cannot be read.*0.tar': 404"),
        ("https://127.0.0.1/shard.tar", "only on this machine"),
        ("s3://{bucket}/list.csv", "only on this machine"),
        ("https://127.0.0.1/frames/", "give a manifest"),
    ],
)
def test_what_cannot_be_listed_is_refused_with_the_remedy(
    bucket: Bucket, source: str, words: str
) -> None:
    bucket.put("1.jpg", b"x")
    with pytest.raises(PoolError, match=words):
        listed(source.format(bucket=bucket.name), bucket.endpoint)


def test_prefixes_within_one_another_are_refused(bucket: Bucket) -> None:
    with pytest.raises(PoolError, match="overlap"):
        iter(Pool([f"s3://{bucket.name}/a", f"s3://{bucket.name}/a/b/"]))


def test_the_environment_names_the_endpoint_too(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("1.jpg", b"content")
    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.endpoint)
    (item,) = Pool(f"s3://{bucket.name}/")
    assert isinstance(item, PoolItem)
    assert read_file(item.uri) == b"content"


def test_an_object_that_changes_or_goes_during_a_run_is_an_error_of_its_own(bucket: Bucket) -> None:
    for key in ("1.jpg", "2.jpg", "3.jpg"):
        bucket.put(key, b"old")
    one, two, three = listed(f"s3://{bucket.name}/", bucket.endpoint)
    bucket.put("2.jpg", b"new")
    bucket.delete("3.jpg")
    assert isinstance(one, PoolItem)
    assert one.locator.read() == b"old"
    for item, words in ((two, "412: it has changed"), (three, "404: the store has no such object")):
        assert isinstance(item, PoolItem)
        with pytest.raises(ItemError, match=words) as caught:
            item.locator.read()
        assert caught.value.code == "io"
    # of what is stored, what is there now is read
    assert read_uri(two.uri, two.source_version, endpoint_url=bucket.endpoint) == b"new"


def test_an_object_that_no_image_can_fill_is_not_read(bucket: Bucket) -> None:
    bucket.put("1.jpg", b"x" * 2**21)
    (item,) = listed(f"s3://{bucket.name}/", bucket.endpoint)
    assert isinstance(item, PoolItem)
    bare = RemoteObject(item.uri, bucket.endpoint)
    for locator in (item.locator, bare):
        with pytest.raises(ItemError, match="--max-pixels") as caught:
            locator.read(1000)
        assert caught.value.code == "too_large"


@pytest.mark.parametrize("status", [503, 429, 500, 0])
def test_requests_that_may_succeed_are_repeated_and_counted(
    bucket: Bucket, between: Between, status: int
) -> None:
    bucket.put("1.jpg", b"content")
    (item,) = listed(f"s3://{bucket.name}/", between.address)
    between.refuse = lambda method, path, count: status if count <= 3 else None
    told: list[str] = []
    assert isinstance(item, PoolItem)
    assert isinstance(item.locator, RemoteObject)
    assert item.locator.read(again=told.append) == b"content"
    assert len(told) == 3
    if status:
        assert told[0].startswith(f"{status}: ")


def test_a_store_that_never_recovers_ends_in_an_error_of_the_image(
    bucket: Bucket, between: Between
) -> None:
    bucket.put("1.jpg", b"content")
    (item,) = listed(f"s3://{bucket.name}/", between.address)
    between.seen.clear()
    between.refuse = lambda method, path, count: 503
    assert isinstance(item, PoolItem)
    with pytest.raises(ItemError, match="503: the store is asked too often"):
        item.locator.read()
    assert len(between.seen) == remote.ATTEMPTS


@pytest.mark.parametrize("status", [403, 400])
def test_requests_that_cannot_succeed_are_not_repeated(
    bucket: Bucket, between: Between, status: int
) -> None:
    bucket.put("1.jpg", b"content")
    (item,) = listed(f"s3://{bucket.name}/", between.address)
    between.seen.clear()
    between.refuse = lambda method, path, count: status
    assert isinstance(item, PoolItem)
    with pytest.raises(ItemError, match=f"^{status}: "):
        item.locator.read()
    assert len(between.seen) == 1


def test_a_manifest_of_addresses_asks_for_versions_it_does_not_tell(
    bucket: Bucket, between: Between, tmp_path: Path
) -> None:
    bucket.put("1.jpg", b"one")
    bucket.put("2.jpg", b"two")
    known = {i.uri: i.source_version for i in listed(f"s3://{bucket.name}/", bucket.endpoint)}  # type: ignore[union-attr]
    lines: list[dict[str, Any]] = [{"uri": uri, "source_version": v} for uri, v in known.items()]
    lines[1].pop("source_version")
    lines.append({"uri": f"s3://{bucket.name}/gone.jpg", "id": "gone"})
    manifest = tmp_path / "list.jsonl"
    manifest.write_text("\n".join(map(json.dumps, lines)))
    one, two, gone = listed(str(manifest), between.address)
    assert [method for method, _ in between.seen] == ["HEAD", "HEAD"]
    for item in (one, two):
        assert isinstance(item, PoolItem)
        assert item.source_version == known[item.uri]
        assert item.attributes == {}
    assert isinstance(gone, FailedItem)
    assert (gone.item.id, gone.error[:3]) == ("gone", "404")


def test_web_addresses_are_read_with_their_query(
    bucket: Bucket, between: Between, tmp_path: Path
) -> None:
    bucket.put("a b.jpg", b"content")
    address = f"{between.address}/{bucket.name}/a b.jpg?x=1&signature=a%2Fb"
    manifest = tmp_path / "list.txt"
    manifest.write_text(f"{address}\n")
    (item,) = Pool(manifest)
    assert isinstance(item, PoolItem)
    assert (item.uri, item.id) == (address, address)
    assert item.source_version.startswith("7-")
    assert item.locator.read() == b"content"
    assert between.seen[-1] == ("GET", f"/{bucket.name}/a%20b.jpg?x=1&signature=a%2Fb")
    between.refuse = lambda method, path, count: 502 if count <= 3 else None
    assert read_uri(address) == b"content"
    bucket.put("a b.jpg", b"changed")
    with pytest.raises(ItemError, match="412: it has changed"):
        item.locator.read()
    bucket.delete("a b.jpg")
    with pytest.raises(ItemError, match=r"^404: "):
        read_uri(address)


@pytest.mark.parametrize("code", [403, 405, 501])
def test_a_web_server_that_refuses_head_is_asked_by_get(
    bucket: Bucket, between: Between, code: int
) -> None:
    """An address that is signed for GET gives 403 to HEAD."""
    bucket.put("a.jpg", b"content")
    between.refuse = lambda method, path, count: code if method == "HEAD" else None
    found = locate(f"{between.address}/{bucket.name}/a.jpg")
    assert found.version().startswith("7-")
    assert found.read() == b"content"
    between.refuse = lambda method, path, count: 403
    with pytest.raises(ItemError, match=r"^403: "):
        found.version()


def test_without_obstore_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    (tmp_path / "list.txt").write_text("s3://bucket/1.jpg\n")
    remote._check_scheme.cache_clear()
    with pytest.raises(PoolError, match="needs obstore"):
        Pool(tmp_path / "list.txt").count()
    with pytest.raises(PoolError, match=r"needs obstore: pip install .*\[cloud\]"):
        iter(Pool("s3://bucket/frames/"))
    with pytest.raises(ItemError, match="needs obstore"):
        read_uri("s3://bucket/1.jpg")


def test_tables_of_images_are_read_by_ranges_of_one_version(
    bucket: Bucket, between: Between, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deal.pool.parquet._FAR_BUFFER", 2**16)
    rng = random.Random(0)
    images = [b"\xff\xd8\xff" + rng.randbytes(40_000) for _ in range(60)]
    file = io.BytesIO()
    table = pa.table({"image": [{"bytes": data, "path": None} for data in images]})
    pq.write_table(table, file, row_group_size=20, compression="none")
    bucket.put("data/train-0.parquet", file.getvalue())
    found = listed(f"s3://{bucket.name}/data/*.parquet", between.address)
    assert [item.id for item in found] == [f"train-0.parquet#{row}" for row in range(60)]  # type: ignore[union-attr]
    one, *_, last = found
    assert isinstance(one, PoolItem)
    assert isinstance(last, PoolItem)
    assert one.uri == f"s3://{bucket.name}/data/train-0.parquet#0"
    assert one.locator.read() == images[0]
    stored = read_uri(last.uri, last.source_version, endpoint_url=between.address)
    assert stored == images[59]
    bucket.put("data/train-0.parquet", file.getvalue()[:-1] + b"x")
    with pytest.raises(ItemError, match="412: it has changed"):
        found[30].locator.read()  # type: ignore[union-attr]


def test_a_manifest_in_a_store_is_refused_with_the_remedy(bucket: Bucket) -> None:
    file = io.BytesIO()
    pq.write_table(pa.table({"uri": ["a.jpg"]}), file)
    bucket.put("list.parquet", file.getvalue())
    with pytest.raises(PoolError, match=r"if it is a manifest, copy it here"):
        listed(f"s3://{bucket.name}/list.parquet", bucket.endpoint)
    with pytest.raises(PoolError, match=r"gone.parquet' cannot be read: 404"):
        listed(f"s3://{bucket.name}/gone.parquet", bucket.endpoint)
