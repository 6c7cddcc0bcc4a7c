"""What an MCAP file holds: its topics, and the messages of those that are images."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, NamedTuple

from deal._install import pip_install
from deal.errors import ItemError, PoolError
from deal.pool.ids import path_to_id
from deal.pool.parent import Parent
from deal.text import one_line

__all__ = [
    "COMPRESSED",
    "FOREIGN",
    "VIDEO",
    "Topic",
    "decoded",
    "header_of",
    "image_messages",
    "list_topics",
    "require_mcap",
    "why",
]

COMPRESSED = (
    "sensor_msgs/msg/CompressedImage",
    "foxglove_msgs/msg/CompressedImage",
    "foxglove.CompressedImage",
)
VIDEO = ("foxglove_msgs/msg/CompressedVideo", "foxglove.CompressedVideo")
_RAW = ("sensor_msgs/msg/Image", "foxglove_msgs/msg/RawImage", "foxglove.RawImage")
FOREIGN = ("sensor_msgs/CompressedImage", "sensor_msgs/Image")
_ENCODINGS = {"cdr": "ros2msg", "protobuf": "protobuf"}  # of messages → of their schemas


class Topic(NamedTuple):
    """A topic of a log.

    Attributes
    ----------
    messages : int or None
        None where the file does not tell.
    problem : str or None
        Why its messages are no images that are read; None for those that are.
    """

    name: str
    schema: str
    messages: int | None
    problem: str | None


def require_mcap() -> None:
    """PoolError if the libraries are not installed."""
    try:
        for name in ("mcap.reader", "mcap_ros2.decoder", "mcap_protobuf.decoder"):
            importlib.import_module(name)
    except ImportError as error:
        raise PoolError(f"reading MCAP needs three packages: {pip_install('mcap')}") from error


def list_topics(path: str, endpoint: str | None = None) -> list[Topic]:
    """The topics of a log, by name; PoolError if it cannot be read."""
    require_mcap()
    try:
        with Parent.of(path, endpoint).open() as file:
            return sorted(_topics(file))
    except ItemError as error:
        raise PoolError(f"{path_to_id(path)!r}: {error.message}") from error
    except Exception as error:  # damaged files make the library raise almost anything
        raise PoolError(
            f"{path_to_id(path)!r} is not a readable MCAP file: {why(error)}"
        ) from error


def _topics(file: Any) -> Iterator[Topic]:
    from mcap.reader import make_reader

    summary = make_reader(file).get_summary()
    if summary is None:
        raise ValueError("it has no summary; mcap recover makes one")
    counts = {} if summary.statistics is None else summary.statistics.channel_message_counts
    for channel in summary.channels.values():
        schema = summary.schemas.get(channel.schema_id)
        name = "" if schema is None else schema.name
        encoding = "" if schema is None else schema.encoding
        yield Topic(channel.topic, name, counts.get(channel.id), _problem(channel, name, encoding))


def _problem(channel: Any, schema: str, encoding: str) -> str | None:
    """Why the messages of a channel are no images that are read."""
    if schema in FOREIGN:
        if encoding == "ros1msg":
            return f"{schema} of ROS 1: convert the log to ROS 2 (rosbags-convert)"
        return f"{schema} is not read: record CompressedImage or Image of ROS 2"
    if schema not in (*COMPRESSED, *VIDEO, *_RAW):
        return f"{schema or 'no schema'} is no image"
    if _ENCODINGS.get(channel.message_encoding) != encoding:
        how = encoding or channel.message_encoding
        return f"{schema} in {how} is not read, only in ros2msg and protobuf"
    if schema in VIDEO and find_spec("av") is None:
        return f"{schema} needs PyAV: {pip_install('video')}"
    if channel.topic.endswith("/compressedDepth"):
        return "depth is no image to segment"
    return None


def image_messages(
    file: Any, start_time: int | None = None, topic: str | None = None
) -> Iterator[tuple[Any, Any, Any]]:
    """(schema, channel, message) of all image topics, or of one; by log time if there is an index.

    Without an index all messages come, from the first on, in the order of the file.
    """
    from mcap.reader import NonSeekingReader, make_reader

    reader = make_reader(file, validate_crcs=True)
    summary = _summary(reader)
    if summary is None or not summary.chunk_indexes:
        file.seek(0)
        stream = NonSeekingReader(file, validate_crcs=True).iter_messages(log_time_order=False)
    else:
        schemas = summary.schemas
        topics = [
            channel.topic
            for channel in summary.channels.values()
            if channel.schema_id in schemas
            and topic in (None, channel.topic)
            and _problem(channel, *_kind(schemas[channel.schema_id])) is None
        ]
        if not topics:
            return
        stream = reader.iter_messages(topics, starting_at=start_time)
    for schema, channel, message in stream:
        if topic not in (None, channel.topic):
            continue
        if schema is not None and _problem(channel, *_kind(schema)) is None:
            yield schema, channel, message


def _kind(schema: Any) -> tuple[str, str]:
    return schema.name, schema.encoding


def _summary(reader: Any) -> Any:
    """The summary of a file; None where it was cut off."""
    try:
        return reader.get_summary()
    except Exception:  # damaged files make the library raise almost anything
        return None


def why(error: BaseException) -> str:
    """What an error of the library says, on one line."""
    return one_line(error)[:200] or type(error).__name__


def decoded(schema: Any, message: Any) -> Any:
    """The fields of a message; ItemError (``decode``)."""
    try:
        decoder = _decoder(schema.name, schema.data, schema.encoding)
        if isinstance(decoder, str):
            raise ValueError(decoder)
        return decoder(message.data)
    except Exception as error:  # damaged files make the library raise almost anything
        raise ItemError("decode", f"the message is damaged: {why(error)}") from error


@lru_cache(maxsize=64)
def _decoder(name: str, definition: bytes, encoding: str) -> Any:
    """What decodes messages of a type; a reason where its definition is damaged."""
    from mcap.records import Schema

    library, messages = "mcap_ros2", "cdr"
    if encoding == "protobuf":
        library, messages = "mcap_protobuf", "protobuf"
    schema = Schema(id=1, data=definition, encoding=encoding, name=name)
    try:
        factory = importlib.import_module(f"{library}.decoder").DecoderFactory()
        return factory.decoder_for(messages, schema)
    except Exception as error:  # damaged files make the library raise almost anything
        return f"its definition cannot be read: {why(error)}"


def header_of(schema: Any, message: Any) -> tuple[int, str]:
    """Stamp in ns (0 if it is not set) and ``frame_id``; of a damaged message none."""
    try:
        fields = decoded(schema, message)
    except ItemError:
        return 0, ""
    header = getattr(fields, "header", fields)
    stamp = header.stamp if hasattr(header, "stamp") else header.timestamp
    if hasattr(stamp, "nanos"):  # of protobuf
        return stamp.seconds * 10**9 + stamp.nanos, str(header.frame_id)
    return stamp.sec * 10**9 + stamp.nanosec, str(header.frame_id)
