"""Images of robot logs: compressed and raw, by topic, time and index."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deal.errors import ItemError, PoolError
from deal.pool.inside import Reading
from deal.pool.listing import Pool
from deal.pool.locator import read_uri
from deal.types import Decoded, FailedItem, PoolItem
from tests.helpers.logs import COMPRESSED, writing_log
from tests.helpers.runs import Deal, assert_refused

pytest.importorskip("mcap_ros2", reason="mcap-ros2-support is not installed")
from mcap.writer import CompressionType

T0 = 1_714_557_604_000_000_000
FRONT, REAR = "/cam_front/image/compressed", "/cam_rear/image/compressed"
FRAME = 10**8


def jpeg(number: int) -> bytes:
    return b"\xff\xd8\xff" + random.Random(number).randbytes(3000)


def trip(path: Path, count: int = 40, **options: Any) -> Path:
    """Two cameras at 10 Hz, stamped 3 ms before they are logged, and something else."""
    with writing_log(path, **{"chunk_size": 20_000, **options}) as log:
        for i in range(count):
            time = T0 + i * FRAME
            log.compressed(FRONT, jpeg(2 * i), time, time - 3_000_000, "front_optical")
            log.compressed(REAR, jpeg(2 * i + 1), time + 1, time - 3_000_000)
            log.other("std_msgs/msg/String", "string data", "/chatter", {"data": "x" * 99}, time)
    return path


def items(path: Path | str, *topics: str) -> list[PoolItem]:
    found = list(Pool(path, reading=Reading(topic=topics)))
    assert all(isinstance(item, PoolItem) for item in found)
    return found  # type: ignore[return-value]


@pytest.mark.parametrize(
    "options",
    [{"compression": kind} for kind in CompressionType] + [{"chunk_size": 2**30}],
    ids=["none", "lz4", "zstd", "one-chunk"],
)
def test_images_of_all_topics_come_with_all_that_is_known(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    path = trip(tmp_path / "trip.mcap", **options)
    found = items(path)
    assert len(found) == 80 == Pool(path).count()
    for index, item in enumerate(found):
        stamp = T0 + index // 2 * FRAME - 3_000_000
        topic, camera = ((FRONT, "front_optical"), (REAR, REAR))[index % 2]
        assert item.id == f"trip.mcap#{topic}@{stamp}"
        assert item.uri == f"{tmp_path}/{item.id}"
        assert (item.sequence, item.camera) == (f"trip.mcap#{topic}", camera)
        assert item.timestamp_ns == stamp
        assert item.locator.read() == jpeg(index)
    order = list(range(80))
    random.Random(0).shuffle(order)
    for index in order:
        assert found[index].locator.read() == jpeg(index)
        assert read_uri(found[index].uri) == jpeg(index)


def test_a_topic_is_chosen_or_refused_with_those_there_are(tmp_path: Path) -> None:
    path = trip(tmp_path / "trip.mcap", 5)
    rear = items(path, REAR)
    assert [item.locator.read() for item in rear] == [jpeg(2 * i + 1) for i in range(5)]
    assert len(items(path, REAR, FRONT)) == 10
    for topic, words in (("/none", "is not there"), ("/chatter", "holds no images: std_msgs")):
        with pytest.raises(PoolError, match=f"{words}.*topics of images: {FRONT}, {REAR}"):
            Pool(path, reading=Reading(topic=(topic,))).count()


def test_stamps_that_are_missing_or_repeated_lose_no_message(tmp_path: Path) -> None:
    with writing_log(tmp_path / "t.mcap") as log:
        log.compressed("/a", jpeg(0), T0, 0)
        log.compressed("/a", jpeg(1), T0 + 1, 77)
        log.compressed("/a", jpeg(2), T0 + 1, 77)
        log.compressed("/a", jpeg(3), T0 + 2, 77)
    found = items(tmp_path / "t.mcap")
    assert [item.id.partition("@")[2] for item in found] == [str(T0), "77", "77.1", "77.2"]
    for index in (3, 1, 0, 2):
        assert read_uri(found[index].uri) == jpeg(index)


def test_messages_are_ordered_by_the_time_they_were_logged(tmp_path: Path) -> None:
    with writing_log(tmp_path / "t.mcap", chunk_size=5000) as log:
        for i in (3, 1, 0, 2, 7, 5, 4, 6):
            log.compressed("/a", jpeg(i), T0 + i)
    found = items(tmp_path / "t.mcap")
    assert [item.timestamp_ns for item in found] == [T0 + i for i in range(8)]
    assert [item.locator.read() for item in found] == [jpeg(i) for i in range(8)]


RGB = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)


def padded(values: np.ndarray, step: int) -> bytes:
    """Rows of ``step`` bytes, the last one without what follows it."""
    rows = [row.tobytes().ljust(step, b"\xaa") for row in values]
    return b"".join(rows)[: step * (len(rows) - 1) + values[0].nbytes]


@pytest.mark.parametrize(
    ("encoding", "values", "expected"),
    [
        ("rgb8", RGB, RGB),
        ("bgr8", RGB, RGB[:, :, ::-1]),
        ("8UC3", RGB, RGB[:, :, ::-1]),
        ("rgba8", np.dstack([RGB, RGB[:, :, 0]]), RGB),
        ("bgra8", np.dstack([RGB[:, :, ::-1], RGB[:, :, 0]]), RGB),
        ("mono8", RGB[:, :, 0], np.repeat(RGB[:, :, :1], 3, axis=2)),
        ("mono16", RGB[:, :, 0].astype("<u2") * 257, np.repeat(RGB[:, :, :1], 3, axis=2)),
    ],
)
@pytest.mark.parametrize("slack", [0, 7])
def test_raw_images(
    tmp_path: Path, encoding: str, values: np.ndarray, expected: np.ndarray, slack: int
) -> None:
    step = values[0].nbytes + slack
    with writing_log(tmp_path / "t.mcap") as log:
        fields = {"height": 5, "width": 6, "encoding": encoding, "step": step}
        log.raw("/raw", T0, data=padded(np.ascontiguousarray(values), step), **fields)
    (item,) = items(tmp_path / "t.mcap")
    decoded = item.locator.read()
    assert isinstance(decoded, Decoded)
    assert (decoded.image == expected).all()


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("size", [(6, 8), (5, 7), (2, 2)])
def test_bayer_images_are_the_means_of_their_nearest_pixels(
    tmp_path: Path, pattern: str, size: tuple[int, int]
) -> None:
    mosaic = np.random.default_rng(1).integers(0, 256, size, dtype=np.uint8)
    with writing_log(tmp_path / "t.mcap") as log:
        fields = {"height": size[0], "width": size[1], "encoding": f"bayer_{pattern}8"}
        log.raw("/raw", T0, data=mosaic.tobytes(), step=size[1], **fields)
    decoded = items(tmp_path / "t.mcap")[0].locator.read()
    assert isinstance(decoded, Decoded)

    def colour(y: int, x: int) -> str:
        return pattern[2 * (y % 2) + x % 2]

    def mean(y: int, x: int, name: str) -> int:
        if colour(y, x) == name:
            return int(mosaic[y, x])
        places = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        corners = [(y - 1, x - 1), (y - 1, x + 1), (y + 1, x - 1), (y + 1, x + 1)]
        for around in (places, corners):
            near = [
                int(mosaic[v, u])
                for v, u in around
                if 0 <= v < size[0] and 0 <= u < size[1] and colour(v, u) == name
            ]
            if near:
                return (2 * sum(near) + len(near)) // (2 * len(near))
        raise AssertionError

    for y in range(size[0]):
        for x in range(size[1]):
            assert decoded.image[y, x].tolist() == [mean(y, x, name) for name in "rgb"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"encoding": "32FC1"}, "'32FC1' is not read, only rgb8"),
        ({"encoding": "rgb8", "step": 17}, "do not hold 6×5 pixels"),
        ({"encoding": "rgb8", "data": b"x" * 80}, "80 bytes in rows of 18 do not hold"),
        ({"encoding": "rgb8", "height": 0}, "6×0 pixels"),
        ({"encoding": "rgb8", "height": 2**20, "width": 2**20}, "--max-pixels"),
    ],
)
def test_raw_images_that_cannot_be_read_say_why(
    tmp_path: Path, fields: dict[str, Any], words: str
) -> None:
    usual = {"height": 5, "width": 6, "step": 18, "data": RGB.tobytes()}
    with writing_log(tmp_path / "t.mcap") as log:
        log.raw("/raw", T0, **{**usual, **fields})
    (item,) = items(tmp_path / "t.mcap")
    with pytest.raises(ItemError, match=words):
        item.locator.read()


def test_a_log_that_was_cut_gives_what_is_whole_and_tells(tmp_path: Path) -> None:
    path = trip(tmp_path / "trip.mcap", 20, compression=CompressionType.NONE)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    *found, last = list(Pool(path))
    assert isinstance(last, FailedItem)
    assert last.item.id == "trip.mcap#"
    assert "cut or damaged" in last.error
    assert 10 <= len(found) <= 25
    for index, item in enumerate(found):
        assert isinstance(item, PoolItem)
        assert item.locator.read() == jpeg(index)
    assert isinstance(found[3], PoolItem)
    assert read_uri(found[3].uri) == jpeg(3)


def test_a_log_that_was_cut_before_a_topic_begins_does_not_end_the_run(tmp_path: Path) -> None:
    for name in ("1.mcap", "2.mcap"):
        with writing_log(tmp_path / name, chunk_size=5000) as log:
            for i in range(16):
                log.compressed((FRONT, REAR)[i // 8], jpeg(i), T0 + i)
    data = (tmp_path / "2.mcap").read_bytes()
    (tmp_path / "2.mcap").write_bytes(data[: len(data) // 3])
    pool = Pool(f"{tmp_path}/*.mcap", reading=Reading(topic=(REAR,)))
    *found, last = pool
    assert [item.id for item in found if isinstance(item, PoolItem)] == [
        f"1.mcap#{REAR}@{T0 + i}" for i in range(8, 16)
    ]
    assert isinstance(last, FailedItem)
    assert last.item.id == "2.mcap#"
    assert last.error.endswith("; 0 images are read")
    (note,) = pool.notes()
    assert f"2.mcap: the log is cut or damaged before any message of {REAR}" in note
    *_, last = Pool(tmp_path / "2.mcap", reading=Reading(topic=(FRONT,)))
    assert isinstance(last, FailedItem)
    assert not last.error.endswith("; 0 images are read")


def test_damage_in_a_chunk_is_noticed_by_its_checksum(tmp_path: Path) -> None:
    path = trip(tmp_path / "trip.mcap", 20, compression=CompressionType.NONE)
    data = bytearray(path.read_bytes())
    data[data.index(jpeg(20)) + 1000] ^= 1
    path.write_bytes(data)
    *found, last = list(Pool(path))
    assert isinstance(last, FailedItem)
    for index, item in enumerate(found):
        assert isinstance(item, PoolItem)
        assert item.locator.read() == jpeg(index)


@pytest.mark.parametrize("content", [b"", b"no log at all" * 99, b"\x89MCAP0\r\n"])
def test_what_is_no_log_is_a_row_beside_others(tmp_path: Path, content: bytes) -> None:
    trip(tmp_path / "1.mcap", 2)
    (tmp_path / "2.mcap").write_bytes(content)
    *found, last = list(Pool(f"{tmp_path}/*.mcap"))
    assert len(found) == 4
    assert isinstance(last, FailedItem)
    assert last.item.id == "2.mcap#"


def test_topics_that_are_not_read_are_told(tmp_path: Path) -> None:
    with writing_log(tmp_path / "t.mcap") as log:
        log.compressed("/a", jpeg(0), T0)
        message = {"header": {"stamp": {"sec": 1, "nanosec": 2}, "frame_id": ""}, "data": b""}
        log.other("sensor_msgs/CompressedImage", COMPRESSED, "/film", {**message, "format": ""}, T0)
    pool = Pool(tmp_path / "t.mcap")
    assert len(list(pool)) == 1
    (note,) = pool.notes()
    assert "/film is left out: sensor_msgs/CompressedImage is not read" in note


def test_the_command_lists_topics_without_a_model(deal: Deal, tmp_path: Path) -> None:
    path = trip(tmp_path / "trip.mcap", 3)
    code, stdout, _ = deal("score", path, "--list-topics")
    assert code == 0
    title, front, rear, chatter = stdout.splitlines()
    assert title == str(path)
    assert front.split() == [FRONT, "3", "sensor_msgs/msg/CompressedImage", "(read)"]
    assert "not read: std_msgs/msg/String is no image" in chatter
    assert rear.split()[0] == REAR
    code, stdout, _ = deal("score", path, "--list-topics", "--json")
    assert json.loads(stdout)[str(path)][0]["messages"] == 3
    assert_refused(deal("score", tmp_path, "--list-topics"), 2, "MCAP")
    (tmp_path / "bad.mcap").write_bytes(b"x" * 100)
    assert_refused(deal("score", tmp_path / "bad.mcap", "--list-topics"), 1, "bad.mcap")


def test_topics_of_a_log_that_is_cut_off_are_listed_as_far_as_it_goes(
    deal: Deal, tmp_path: Path
) -> None:
    whole = trip(tmp_path / "trip.mcap").read_bytes()
    (tmp_path / "cut.mcap").write_bytes(whole[: len(whole) // 2])
    code, stdout, stderr = deal("score", tmp_path / "cut.mcap", "--list-topics")
    assert (code, FRONT in stdout) == (0, True)
    assert "cut.mcap' is cut off or damaged" in stderr


@pytest.mark.parametrize("name", ["trip.bag", "trip.db3"])
def test_other_bags_are_refused_with_the_program_that_converts_them(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(b"#ROSBAG V2.0\n")
    with pytest.raises(PoolError, match=r"rosbags-convert --src .* --dst-storage mcap"):
        iter(Pool(tmp_path / name))


def test_without_the_libraries_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = trip(tmp_path / "trip.mcap", 1)
    monkeypatch.setitem(sys.modules, "mcap_ros2.decoder", None)
    with pytest.raises(PoolError, match=r"pip install .*\[mcap\]"):
        iter(Pool(path))
