"""Video and protobuf messages in robot logs, written by the libraries of their makers."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deal.errors import ItemError
from deal.pool.inside import Reading
from deal.pool.listing import Pool
from deal.pool.locator import locate
from deal.pool.mcap_video import is_keyframe
from deal.types import Decoded, PoolItem
from tests.helpers.images import encode
from tests.helpers.logs import rewrite_log, writing_foxglove, writing_log

av = pytest.importorskip("av")
pytest.importorskip("mcap_protobuf")

T0, STEP = 10**18, 125_000_000  # 8 frames per second
GOP, COUNT = 4, 10
FILM = "/front/film"
_VIDEO = (
    "builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format\n"
    + "=" * 80
    + "\nMSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n"
)


def film(count: int = COUNT, codec: str = "libx264rgb") -> tuple[list[Any], list[bytes]]:
    """Pictures, and the packets of a film of them without loss: no B-frames, a GOP of 4."""
    pictures = [
        np.full((32, 48, 3), (20 * index, 255 - 20 * index, 90), np.uint8) for index in range(count)
    ]
    context = av.CodecContext.create(codec, "w")
    context.width, context.height = 48, 32
    context.time_base, context.pix_fmt = Fraction(1, 8), "rgb24"
    context.options = {"crf": "0", "g": str(GOP), "bf": "0", "sc_threshold": "0"}
    packets = [p for one in pictures for p in context.encode(av.VideoFrame.from_ndarray(one))]
    packets += context.encode(None)
    return pictures, [bytes(packet) for packet in packets]


def write_protobuf(path: Path, packets: list[bytes], **options: Any) -> None:
    with writing_foxglove(path, **options) as log:
        for index, data in enumerate(packets):
            time = T0 + index * STEP
            log.message("CompressedVideo", FILM, time, "cam0", data=data, format="h264")
            log.message("CompressedVideo", "/rear/film", time + 1, data=data, format="h264")


def write_ros(path: Path, packets: list[bytes], **options: Any) -> None:
    with writing_log(path, **options) as log:
        for index, data in enumerate(packets):
            seconds, rest = divmod(T0 + index * STEP, 10**9)
            message = {
                "timestamp": {"sec": seconds, "nanosec": rest},
                "frame_id": "cam0",
                "data": data,
                "format": "h264",
            }
            name = "foxglove_msgs/msg/CompressedVideo"
            log.other(name, _VIDEO, FILM, message, T0 + index * STEP)


def listed(path: Path, every: str, topic: str = FILM) -> list[PoolItem]:
    pool = Pool(path, reading=Reading(every=every, topic=(topic,)))
    items = list(pool)
    assert all(isinstance(item, PoolItem) for item in items)
    return items  # type: ignore[return-value]


def shown(item: PoolItem) -> Any:
    read = item.locator.read()
    assert isinstance(read, Decoded)
    return read.image


@pytest.mark.parametrize("write", [write_protobuf, write_ros])
@pytest.mark.parametrize("cut", [False, True])
def test_every_frame_is_that_of_the_film_in_any_order(
    tmp_path: Path, write: Callable[..., None], cut: bool
) -> None:
    pictures, packets = film()
    write(tmp_path / "t.mcap", packets, chunk_size=2000)
    if cut:  # its index is gone
        whole = (tmp_path / "t.mcap").read_bytes()
        (tmp_path / "t.mcap").write_bytes(whole[:-60])
    found = list(Pool(tmp_path / "t.mcap", reading=Reading(every="1f", topic=(FILM,))))
    items = [item for item in found if isinstance(item, PoolItem)]
    assert len(found) - len(items) == cut
    assert [item.timestamp_ns for item in items] == [T0 + i * STEP for i in range(COUNT)]
    assert items[3].id == f"t.mcap#{FILM}@{T0 + 3 * STEP}"
    assert {(item.sequence, item.camera) for item in items} == {(f"t.mcap#{FILM}", "cam0")}
    order = [*range(COUNT), *random.Random(3).sample(range(COUNT), COUNT)]
    for place in order:
        assert (shown(items[place]) == pictures[place]).all()
    again = locate(items[6].uri, items[6].source_version)
    assert (again.read().image == pictures[6]).all()  # type: ignore[union-attr]


@pytest.mark.parametrize("options", [{"use_chunking": False}, {"repeat_channels": False}])
def test_without_an_index_frames_are_right_though_the_clock_was_set_back(
    tmp_path: Path, options: dict[str, bool]
) -> None:
    pictures, packets = film()
    write_protobuf(tmp_path / "t.mcap", packets)

    def first_is_late(time: int) -> int:
        return time + 10**10 if time < T0 + STEP else time

    rewrite_log(tmp_path / "t.mcap", first_is_late, **options)
    items = listed(tmp_path / "t.mcap", "1f")
    assert [item.timestamp_ns for item in items] == [T0 + i * STEP for i in range(COUNT)]
    for place in (9, 4, 0, 1, 7, 3, 2, 8):
        assert (shown(items[place]) == pictures[place]).all()


def test_frames_are_taken_at_an_interval_or_at_keyframes(tmp_path: Path) -> None:
    pictures, packets = film()
    write_protobuf(tmp_path / "t.mcap", packets)

    def times(every: str) -> list[int]:
        return [
            ((item.timestamp_ns or 0) - T0) // STEP for item in listed(tmp_path / "t.mcap", every)
        ]

    assert times("0.5s") == [0, 4, 8]
    assert times("3f") == [0, 3, 6, 9]
    assert times("keyframe") == [0, 4, 8]
    both = Pool(tmp_path / "t.mcap", reading=Reading(every="1f"))
    assert len(list(both)) == 2 * COUNT
    for item in both:
        assert isinstance(item, PoolItem)
        place = ((item.timestamp_ns or 0) - T0) // STEP
        assert (shown(item) == pictures[place]).all()


def test_a_log_that_begins_between_keyframes_gives_the_frames_from_the_first_one_on(
    tmp_path: Path,
) -> None:
    pictures, packets = film()
    write_protobuf(tmp_path / "t.mcap", packets[2:])
    items = listed(tmp_path / "t.mcap", "1f")
    assert [((item.timestamp_ns or 0) - T0) // STEP for item in items] == [2, 3, 4, 5, 6, 7]
    assert (shown(items[1]) == pictures[5]).all()
    pool = Pool(tmp_path / "t.mcap")
    list(pool)
    assert f"no keyframe of {FILM} before its first 2 frames, which are left out" in pool.notes()[0]


def test_a_damaged_frame_is_an_error_and_the_next_keyframe_is_whole(tmp_path: Path) -> None:
    pictures, packets = film()
    packets[1] = packets[1][:5] + b"\xff" * 40
    write_protobuf(tmp_path / "t.mcap", packets)
    items = listed(tmp_path / "t.mcap", "1f")
    with pytest.raises(ItemError) as raised:
        shown(items[1])
    assert raised.value.code == "decode"
    assert (shown(items[4]) == pictures[4]).all()
    with pytest.raises(ItemError, match="more than 10; --max-pixels"):
        items[4].locator.read(10)


def test_a_codec_that_is_not_read_is_a_row_that_says_so(tmp_path: Path) -> None:
    _, packets = film(1)
    with writing_foxglove(tmp_path / "t.mcap") as log:
        log.message("CompressedVideo", FILM, T0, data=packets[0], format="vp9")
    (item,) = listed(tmp_path / "t.mcap", "1f")
    with pytest.raises(ItemError, match="video in 'vp9' is not read, only h264 and h265"):
        item.locator.read()


def test_images_of_protobuf_messages_are_read(tmp_path: Path) -> None:
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    png = encode(Image.fromarray(image), "PNG")
    with writing_foxglove(tmp_path / "t.mcap") as log:
        log.message("CompressedImage", "/a", T0, "left", data=png, format="png")
        raw = {"width": 6, "height": 4, "step": 18, "encoding": "rgb8", "data": image.tobytes()}
        log.message("RawImage", "/b", T0 + 7, **raw)
    first, second = list(Pool(tmp_path / "t.mcap"))
    assert isinstance(first, PoolItem)
    assert isinstance(second, PoolItem)
    assert (first.camera, first.timestamp_ns, second.camera) == ("left", T0, "/b")
    assert first.locator.read() == png
    assert (shown(second) == image).all()


def test_keyframes_are_told_by_the_first_picture() -> None:
    _, packets = film()
    assert [is_keyframe("h264", packet) for packet in packets[:5]] == [True, *[False] * 3, True]
    assert is_keyframe("h265", b"\0\0\0\1\x40\1x\0\0\1\x26\1")
    assert not is_keyframe("h265", b"\0\0\1\x02\1")
    assert not is_keyframe("h264", b"")
