"""Robot logs as ROS 2 records them, written by the libraries of MCAP's makers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["COMPRESSED", "IMAGE", "Log", "writing_log"]

_HEADER = """
================================================================================
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
================================================================================
MSG: builtin_interfaces/Time
int32 sec
uint32 nanosec
"""
COMPRESSED = "std_msgs/Header header\nstring format\nuint8[] data\n" + _HEADER
IMAGE = (
    "std_msgs/Header header\nuint32 height\nuint32 width\nstring encoding\nuint8 is_bigendian\n"
    "uint32 step\nuint8[] data\n" + _HEADER
)


class Log:
    """Writes messages; times in nanoseconds."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._schemas: dict[str, Any] = {}

    def compressed(
        self, topic: str, data: bytes, time: int, stamp: int | None = None, frame: str = ""
    ) -> None:
        message = {"header": _header(stamp, time, frame), "format": "jpeg", "data": data}
        self.other("sensor_msgs/msg/CompressedImage", COMPRESSED, topic, message, time)

    def raw(self, topic: str, time: int, frame: str = "", **fields: Any) -> None:
        message = {"header": _header(None, time, frame), "is_bigendian": 0, **fields}
        self.other("sensor_msgs/msg/Image", IMAGE, topic, message, time)

    def other(
        self, name: str, definition: str, topic: str, message: dict[str, Any], time: int
    ) -> None:
        if name not in self._schemas:
            self._schemas[name] = self._writer.register_msgdef(name, definition)
        self._writer.write_message(topic, self._schemas[name], message, time, time)


@contextmanager
def writing_log(path: Path, **options: Any) -> Iterator[Log]:
    """Write a log; ``options`` are those of the library's writer."""
    from mcap_ros2.writer import Writer

    with path.open("wb") as file:
        writer = Writer(file, **options)
        yield Log(writer)
        writer.finish()


def _header(stamp: int | None, time: int, frame: str) -> dict[str, Any]:
    seconds, rest = divmod(time if stamp is None else stamp, 10**9)
    return {"stamp": {"sec": seconds, "nanosec": rest}, "frame_id": frame}
