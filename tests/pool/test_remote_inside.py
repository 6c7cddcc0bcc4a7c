"""Archives, videos and logs in a store: what is asked for, and what happens if they change."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from deal.errors import ItemError, PoolError
from deal.machine.meter import Meter
from deal.pool.fetch import Fetcher
from deal.pool.inside import Reading
from deal.pool.listing import Pool
from deal.pool.locator import locate
from deal.types import FailedItem, PoolItem
from tests.helpers.logs import writing_log
from tests.helpers.stores import NUMBERS, Between, Bucket, s3_server, serving, store_environment


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    store_environment(monkeypatch, endpoint)
    monkeypatch.setattr("deal.pool.remote.FIRST_WAIT", 0.001)
    return Bucket(endpoint, f"inside-{next(NUMBERS)}")


@pytest.fixture
def between(endpoint: str) -> Iterator[Between]:
    with serving(Between(endpoint)) as server:
        yield server


def archive(contents: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, data in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def items(source: str, endpoint: str, **reading: str) -> list[PoolItem]:
    found = list(Pool(source, reading=Reading(endpoint_url=endpoint, **reading)))  # type: ignore[arg-type]
    assert all(isinstance(item, PoolItem) for item in found)
    return found  # type: ignore[return-value]


def gets(between: Between) -> int:
    return sum(method == "GET" for method, _ in between.seen)


def test_a_member_of_an_archive_costs_a_request_of_its_size(
    bucket: Bucket, between: Between
) -> None:
    contents = {f"{i:03}.jpg": bytes([i]) * 1000 for i in range(20)}
    contents["000.json"] = b'{"sequence": "s", "weather": "rain"}'
    bucket.put("shards/a.tar", archive(contents))
    found = items(f"s3://{bucket.name}/shards/*.tar", between.address)
    assert [item.id for item in found] == [f"a.tar/{i:03}.jpg" for i in range(20)]
    assert (found[0].sequence, found[0].attributes) == ("s", {"weather": "rain"})
    assert gets(between) <= 4  # a page of names, the index, the .json
    before = gets(between)
    fetcher = Fetcher(Meter(), max_pixels=1000)
    for index, item in enumerate(fetcher(found)):
        assert item.locator.read() == bytes([index]) * 1000
    assert gets(between) - before == 20
    again = locate(found[7].uri, found[7].source_version, endpoint_url=between.address)
    before = gets(between)
    assert again.read() == contents["007.jpg"]
    assert gets(between) - before == 2  # its header, and it


def test_ids_of_files_in_braces_are_those_of_files_on_this_machine(
    bucket: Bucket, tmp_path: Path
) -> None:
    for name in ("t/day1/50%25.tar", "t/day2/50%25.tar"):
        bucket.put(name, archive({"1.jpg": b"one"}))
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(archive({"1.jpg": b"one"}))
    for names in ("{day1,day2}/50%25.tar", "day{1..2}/50%25.tar", "*/50%25.tar"):
        far = items(f"s3://{bucket.name}/t/{names}", bucket.endpoint)
        near = list(Pool(tmp_path / "t" / names))
        assert [item.id for item in far] == [item.id for item in near if isinstance(item, PoolItem)]
        assert [item.locator.read() for item in far] == [b"one"] * 2


def test_an_empty_member_costs_no_request(bucket: Bucket, between: Between) -> None:
    bucket.put("a.tar", archive({"1.png": b"", "2.png": b"two"}))
    first, second = items(f"s3://{bucket.name}/a.tar", between.address)
    before = len(between.seen)
    assert first.locator.read() == b""
    assert len(between.seen) == before
    assert second.locator.read() == b"two"


def test_a_packed_archive_in_a_store_is_refused_with_the_remedy(bucket: Bucket) -> None:
    with pytest.raises(PoolError, match="gunzip"):
        items(f"s3://{bucket.name}/a.tar.gz", bucket.endpoint)


def test_an_archive_that_changes_under_way_is_told(bucket: Bucket) -> None:
    bucket.put("a.tar", archive({"1.jpg": b"one"}))
    (item,) = items(f"s3://{bucket.name}/a.tar", bucket.endpoint)
    bucket.put("a.tar", archive({"1.jpg": b"two"}))
    with pytest.raises(ItemError, match="412: it has changed since it was listed"):
        item.locator.read()
    assert locate(item.uri, item.source_version, endpoint_url=bucket.endpoint).read() == b"two"


def test_a_cut_archive_gives_what_it_holds_and_a_row_for_the_rest(bucket: Bucket) -> None:
    whole = archive({"1.jpg": b"one", "2.jpg": b"2" * 5000})
    bucket.put("a.tar", whole[:3000])
    bucket.put("b.tar", b"no archive" * 99)
    found = list(Pool(f"s3://{bucket.name}/*.tar", reading=Reading(endpoint_url=bucket.endpoint)))
    assert [item.id for item in found if isinstance(item, PoolItem)] == ["a.tar/1.jpg"]
    failed = [item for item in found if isinstance(item, FailedItem)]
    assert [item.item.id for item in failed] == ["a.tar/2.jpg", "b.tar/"]
    assert "ends within it" in failed[0].error
    assert "not a tar archive" in failed[1].error


def test_a_folder_in_a_store_may_be_called_as_an_archive_is(bucket: Bucket) -> None:
    bucket.put("old.tar/1.jpg", b"a file")
    place = f"s3://{bucket.name}/old.tar/1.jpg"
    assert locate(place, endpoint_url=bucket.endpoint).read() == b"a file"


def test_a_throttled_member_is_asked_for_again(bucket: Bucket, between: Between) -> None:
    bucket.put("a.tar", archive({"1.jpg": b"one"}))
    (item,) = items(f"s3://{bucket.name}/a.tar", between.address)
    times = between.seen.count(("GET", f"/{bucket.name}/a.tar"))
    between.refuse = lambda method, path, count: 503 if count <= times + 2 else None
    fetcher = Fetcher(Meter(), max_pixels=1000)
    (held,) = fetcher([item])
    assert held.locator.read() == b"one"
    assert fetcher.repeated.total() == 2


def test_a_video_is_read_in_few_requests(bucket: Bucket, between: Between, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    with av.open(tmp_path / "d.mp4", "w") as film:
        stream = film.add_stream("libx264rgb", rate=8, options={"crf": "0", "g": "5", "bf": "2"})
        stream.height, stream.width, stream.pix_fmt = 32, 48, "rgb24"
        for value in range(16):
            image = np.full((32, 48, 3), 9 * value, np.uint8)
            film.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        film.mux(stream.encode())
    bucket.put("d.mp4", (tmp_path / "d.mp4").read_bytes())
    found = items(f"s3://{bucket.name}/d.mp4", between.address, every="1f")
    for value, item in enumerate(found):
        assert (item.locator.read().image == 9 * value).all()  # type: ignore[union-attr]
    assert len(found) == 16
    assert gets(between) < 10


def test_a_log_is_read_in_few_requests(bucket: Bucket, between: Between, tmp_path: Path) -> None:
    pytest.importorskip("mcap_ros2")
    with writing_log(tmp_path / "t.mcap", chunk_size=500) as log:
        for index in range(16):
            log.compressed("/front", bytes([index]) * 200, 10**18 + index)
    bucket.put("t.mcap", (tmp_path / "t.mcap").read_bytes())
    found = items(f"s3://{bucket.name}/t.mcap", between.address)
    assert [item.locator.read() for item in found] == [bytes([i]) * 200 for i in range(16)]
    assert gets(between) < 20
    assert locate(found[9].uri, endpoint_url=between.address).read() == bytes([9]) * 200
