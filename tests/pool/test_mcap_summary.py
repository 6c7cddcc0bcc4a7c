"""Robot logs whose summary leaves out what the format lets it leave out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deal.errors import PoolError
from deal.pool.inside import Reading
from deal.pool.listing import Pool
from deal.pool.locator import read_uri
from deal.pool.mcap_messages import Topic, list_topics
from deal.types import FailedItem, PoolItem
from tests.helpers.logs import rewrite_log, writing_log

pytest.importorskip("mcap_ros2", reason="mcap-ros2-support is not installed")
from mcap.writer import IndexType

FRONT = "/front/image/compressed"
STRING = "std_msgs/msg/String"
NOTHING = {
    "index_types": IndexType.NONE,
    "repeat_channels": False,
    "repeat_schemas": False,
    "use_statistics": False,
    "use_summary_offsets": False,
}
SUMMARIES: dict[str, dict[str, Any]] = {
    "no-channels": {"repeat_channels": False},
    "no-schemas": {"repeat_schemas": False},
    "no-channels-nor-counts": {"repeat_channels": False, "use_statistics": False},
    "no-channels-nor-messages": {
        "repeat_channels": False,
        "use_statistics": False,
        "index_types": IndexType.CHUNK,
    },
    "no-statistics": {"use_statistics": False},
    "no-index": {"index_types": IndexType.NONE},
    "no-chunks": {"use_chunking": False},
    "nothing": NOTHING,
}


def image(number: int) -> bytes:
    return b"\xff\xd8\xff" + bytes([number]) * 900


def drive(path: Path, **options: Any) -> Path:
    with writing_log(path) as log:
        for i in range(6):
            log.compressed(FRONT, image(i), 100 + i)
            log.other(STRING, "string data", "/chatter", {"data": "x"}, 100 + i)
    return rewrite_log(path, chunk_size=2000, **options)


@pytest.mark.parametrize("kind", SUMMARIES)
def test_no_image_is_lost(tmp_path: Path, kind: str) -> None:
    path = drive(tmp_path / "t.mcap", **SUMMARIES[kind])
    found = list(Pool(path, reading=Reading(topic=(FRONT,))))
    assert [item.id for item in found if isinstance(item, PoolItem)] == [
        f"t.mcap#{FRONT}@{100 + i}" for i in range(6)
    ]
    assert len(found) == 6 == len(list(Pool(path)))
    for index in (0, 1, 5, 2):
        item = found[index]
        assert isinstance(item, PoolItem)
        assert item.locator.read() == image(index) == read_uri(item.uri)


@pytest.mark.parametrize("kind", SUMMARIES)
def test_all_topics_are_told(tmp_path: Path, kind: str) -> None:
    path = drive(tmp_path / "t.mcap", **SUMMARIES[kind])
    count = None if kind == "no-statistics" else 6
    assert list_topics(str(path)) == [
        Topic("/chatter", STRING, count, f"{STRING} is no image"),
        Topic(FRONT, "sensor_msgs/msg/CompressedImage", count, None),
    ]
    for topic, words in (("/chatter", "holds no images"), ("/none", "is not there")):
        with pytest.raises(PoolError, match=f"{words}.*topics of images: {FRONT}"):
            list(Pool(path, reading=Reading(topic=(topic,))))


def test_a_log_without_a_summary_that_was_cut_says_so(tmp_path: Path) -> None:
    path = drive(tmp_path / "t.mcap", **NOTHING)
    path.write_bytes(path.read_bytes()[:-1])
    *found, last = Pool(path)
    assert len(found) == 6
    assert isinstance(last, FailedItem)
    assert "cut or damaged" in last.error
    assert last.error.endswith("; 6 images are read")
