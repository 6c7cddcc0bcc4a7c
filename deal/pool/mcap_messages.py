"""What an MCAP file holds: its topics, and the messages of those that are images."""

from __future__ import annotations

import importlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
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
    "ImageMessages",
    "Topic",
    "decoded",
    "header_of",
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


def list_topics(
    path: str, endpoint: str | None = None, *, note: Callable[[str], None] = lambda text: None
) -> list[Topic]:
    """The topics of a log, by name; PoolError if none can be read.

    ``note`` is told where a log cannot be read to its end, such as one that is cut off.
    """
    require_mcap()
    try:
        with Parent.of(path, endpoint).open() as file:
            messages = ImageMessages(file)
            if not messages.has_summary:
                try:
                    deque(messages, maxlen=0)
                except ItemError:  # of the store that holds it
                    raise
                except Exception as error:
                    if not messages.topics():
                        raise
                    note(
                        f"{path_to_id(path)!r} is cut off or damaged ({why(error)}): a topic that "
                        "comes later is not listed"
                    )
            return messages.topics()
    except ItemError as error:
        raise PoolError(f"{path_to_id(path)!r}: {error.message}") from error
    except Exception as error:  # damaged files make the library raise almost anything
        raise PoolError(
            f"{path_to_id(path)!r} is not a readable MCAP file: {why(error)}"
        ) from error


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


class ImageMessages(Iterator[tuple[Any, Any, Any]]):
    """(schema, channel, message) of all image topics of an open log, or of one.

    Parameters
    ----------
    file : binary file
    start_time : int, optional
        Messages of an earlier log time are left out, if there is an index.
    topic : str, optional

    Attributes
    ----------
    by_time : bool
        Whether messages come by log time, through the index of the file. Otherwise all come, from
        the first on, in the order of the file.
    has_summary : bool
        Whether a summary names all channels and their schemas, which the format leaves open.
    """

    def __init__(self, file: Any, start_time: int | None = None, topic: str | None = None) -> None:
        from mcap.reader import make_reader

        self._file, self._topic = file, topic
        self._reader = make_reader(file, validate_crcs=True)
        summary = _summary(self._reader)
        self.has_summary = summary is not None
        self.by_time = summary is not None and bool(summary.chunk_indexes)
        self._channels: dict[int, Any] = {}
        self._schemas: dict[int, Any] = {}
        self._counts: Mapping[int, int] = {}
        if summary is not None:
            self._channels, self._schemas = summary.channels, summary.schemas
            if summary.statistics is not None:
                self._counts = summary.statistics.channel_message_counts
        self._messages = self._in_time_order(start_time) if self.by_time else self._in_file_order()

    def __next__(self) -> tuple[Any, Any, Any]:
        return next(self._messages)

    def topics(self) -> list[Topic]:
        """All topics, by name; without a summary those that were read so far."""
        found = []
        for channel in self._channels.values():
            # The format: an empty map does not tell.
            count = self._counts.get(channel.id, 0) if self._counts else None
            schema, encoding = self._kind(channel)
            found.append(Topic(channel.topic, schema, count, _problem(channel, schema, encoding)))
        return sorted(found, key=lambda topic: (topic.name, topic.schema))

    def _kind(self, channel: Any) -> tuple[str, str]:
        """Name and encoding of the schema of a channel; empty where it has none."""
        schema = self._schemas.get(channel.schema_id)
        return ("", "") if schema is None else (schema.name, schema.encoding)

    def _is_wanted(self, channel: Any) -> bool:
        wanted = self._topic in (None, channel.topic)
        return wanted and _problem(channel, *self._kind(channel)) is None

    def _in_time_order(self, start_time: int | None) -> Iterator[tuple[Any, Any, Any]]:
        topics = {one.topic for one in self._channels.values() if self._is_wanted(one)}
        if topics:
            for schema, channel, message in self._reader.iter_messages(
                topics, starting_at=start_time
            ):
                if self._is_wanted(channel):
                    yield schema, channel, message

    def _in_file_order(self) -> Iterator[tuple[Any, Any, Any]]:
        from mcap.records import Channel, Message, Schema
        from mcap.stream_reader import StreamReader

        counts: Counter[int] = Counter()
        if not self.has_summary:
            self._counts = counts
        self._file.seek(0)
        for record in StreamReader(self._file, validate_crcs=True).records:
            if isinstance(record, Schema):
                self._schemas[record.id] = record
            elif isinstance(record, Channel):
                if record.schema_id and record.schema_id not in self._schemas:
                    raise ValueError(f"no schema has the id {record.schema_id}")
                self._channels[record.id] = record
            elif isinstance(record, Message):
                channel = self._channels.get(record.channel_id)
                if channel is None:
                    raise ValueError(f"no channel has the id {record.channel_id}")
                counts[channel.id] += 1
                if self._is_wanted(channel):
                    yield self._schemas[channel.schema_id], channel, record


def _summary(reader: Any) -> Any:
    """The summary of a file; None where it was cut off or leaves out channels or schemas."""
    try:
        summary = reader.get_summary()
    except Exception:  # damaged files make the library raise almost anything
        return None
    return summary if summary is not None and _names_all(summary) else None


def _names_all(summary: Any) -> bool:
    """Whether a summary holds all channels that it speaks of, and their schemas."""
    used = {one for index in summary.chunk_indexes for one in index.message_index_offsets}
    if summary.statistics is not None:
        used.update(summary.statistics.channel_message_counts)
    channels = summary.channels
    schemas = {channel.schema_id for channel in channels.values()} - {0}
    return bool(channels) and used <= channels.keys() and schemas <= summary.schemas.keys()


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
