"""Robot logs as ROS 2 records them, written by the libraries of MCAP's makers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = [
    "COMPRESSED",
    "IMAGE",
    "Foxglove",
    "Log",
    "rewrite_log",
    "writing_foxglove",
    "writing_log",
]

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


@contextmanager
def writing_foxglove(path: Path, **options: Any) -> Iterator[Foxglove]:
    """Write a log of Foxglove's messages; ``options`` are those of the library's writer."""
    from mcap_protobuf.writer import Writer

    with path.open("wb") as file, Writer(file, **options) as writer:
        yield Foxglove(writer)


def rewrite_log(path: Path, later: Callable[[int], int] = int, **options: Any) -> Path:
    """Write a log anew, as the library's plain writer does with ``options``.

    ``later`` makes a log time of another one.
    """
    from mcap.reader import make_reader
    from mcap.writer import Writer

    with path.open("rb") as file:
        messages = list(make_reader(file).iter_messages())
    writer = Writer(str(path), **options)
    writer.start()
    schemas: dict[int, int] = {}
    channels: dict[int, int] = {}
    for schema, channel, message in messages:
        assert schema is not None
        if schema.id not in schemas:
            schemas[schema.id] = writer.register_schema(schema.name, schema.encoding, schema.data)
        if channel.id not in channels:
            channels[channel.id] = writer.register_channel(
                channel.topic, channel.message_encoding, schemas[schema.id]
            )
        time = later(message.log_time)
        writer.add_message(channels[channel.id], time, message.data, message.publish_time)
    writer.finish()
    return path


class Foxglove:
    """Writes messages of the schemas that Foxglove publishes; times in nanoseconds."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._types = _foxglove_types()

    def message(self, name: str, topic: str, time: int, frame: str = "", **fields: Any) -> None:
        kind = self._types[f"foxglove.{name}"]
        message = kind(frame_id=frame, **fields)
        message.timestamp.seconds, message.timestamp.nanos = divmod(time, 10**9)
        self._writer.write_message(topic, message, time, time)


def _foxglove_types() -> Any:
    """Classes of its messages, with the fields of github.com/foxglove/foxglove-sdk."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

    field = descriptor_pb2.FieldDescriptorProto
    text, data, fixed = field.TYPE_STRING, field.TYPE_BYTES, field.TYPE_FIXED32
    of_file = {"frame_id": (4, text), "data": (2, data), "format": (3, text)}
    schemas = {
        "CompressedImage": of_file,
        "CompressedVideo": {"frame_id": (2, text), "data": (3, data), "format": (4, text)},
        "RawImage": {
            "frame_id": (7, text),
            "width": (2, fixed),
            "height": (3, fixed),
            "encoding": (4, text),
            "step": (5, fixed),
            "data": (6, data),
        },
    }
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    for name, fields in schemas.items():
        file = descriptor_pb2.FileDescriptorProto(
            name=f"foxglove/{name}.proto",
            package="foxglove",
            syntax="proto3",
            dependency=["google/protobuf/timestamp.proto"],
        )
        kind = file.message_type.add(name=name)
        for field_name, (number, type_) in {"timestamp": (1, None), **fields}.items():
            one = kind.field.add(name=field_name, number=number, label=field.LABEL_OPTIONAL)
            one.type = type_ or field.TYPE_MESSAGE
            if type_ is None:
                one.type_name = ".google.protobuf.Timestamp"
        pool.AddSerializedFile(file.SerializeToString())
    files = [f"foxglove/{name}.proto" for name in schemas]
    return message_factory.GetMessageClassesForFiles(files, pool)


def _header(stamp: int | None, time: int, frame: str) -> dict[str, Any]:
    seconds, rest = divmod(time if stamp is None else stamp, 10**9)
    return {"stamp": {"sec": seconds, "nanosec": rest}, "frame_id": frame}
