"""Robot logs in MCAP: images of ROS 2 and Foxglove topics, compressed, raw or as video.

One pass over the messages of the image topics tells their stamps and frames, and is kept for the
file; after that a message is read by its time, through the file's index.
"""

# Names may be millions and need not be UTF-8: plain strings, not Path objects.

from __future__ import annotations

import re
import threading
import weakref
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache, partial
from itertools import islice
from typing import Any

from deal.errors import ItemError, PoolError
from deal.pool.ids import path_to_id
from deal.pool.inside import Every, InOrder, check_size
from deal.pool.mcap_messages import (
    COMPRESSED,
    FOREIGN,
    VIDEO,
    ImageMessages,
    Topic,
    decoded,
    header_of,
    require_mcap,
    why,
)
from deal.pool.mcap_video import VideoTopic, is_keyframe
from deal.pool.parent import Parent, exists
from deal.pool.raw import raw_image
from deal.pool.video import check_pixels, pixels_of
from deal.types import MAX_PIXELS, Decoded, FailedItem, PoolItem

__all__ = ["LogMessage", "list_mcap", "locate_in_mcap"]

_SUFFIX = ".mcap"
# Messages that are read over rather than looked up.
_WORTH_A_LOOK_UP = 4


@dataclass(frozen=True, slots=True)
class LogMessage(InOrder):
    """An image in a log.

    Attributes
    ----------
    parent : Parent
    place : int
        Of the message among those of all image topics.
    """

    parent: Parent
    place: int

    def version(self) -> str:
        """``<size>-<mtime_ns>`` of the file, as it was when it was listed."""
        return self.parent.stamp

    def fetch(self, max_pixels: int = MAX_PIXELS) -> Callable[[], bytes | Decoded]:
        """See `InOrder`."""
        with self.parent.opened():
            index = _index(self.parent)
            if index.topics[index.topic[self.place]] in index.videos:
                frame = _video(self.parent, index.topic[self.place]).frame(index.count[self.place])
                check_pixels(frame.width, frame.height, max_pixels)
                return partial(pixels_of, frame)
            schema, message = _cursor(self.parent).at(self.place)
        return partial(_image, schema, message, max_pixels)


@dataclass
class _Index:
    """The messages of all image topics, in the order in which they are read.

    Attributes
    ----------
    topics : list of str
    topic, time, repeat, stamp, frame, count : arrays
        Per message: index of its topic, log time, how many of its topic have this log time before
        it, header stamp (ns), index of its ``frame_id`` in ``frames``, how many of its topic are
        before it.
    videos : dict
        Topics of compressed video → which of their messages are keyframes.
    found : list of Topic
        All topics of the file, also of no images, so far as it was read.
    problem : str or None
        Why the file was not read to its end.
    """

    topics: list[str] = field(default_factory=list)
    topic: array[int] = field(default_factory=lambda: array("q"))
    time: array[int] = field(default_factory=lambda: array("q"))
    repeat: array[int] = field(default_factory=lambda: array("q"))
    stamp: array[int] = field(default_factory=lambda: array("q"))
    frame: array[int] = field(default_factory=lambda: array("q"))
    count: array[int] = field(default_factory=lambda: array("q"))
    frames: list[str] = field(default_factory=list)
    videos: dict[str, array[int]] = field(default_factory=dict)
    found: list[Topic] = field(default_factory=list)
    problem: str | None = None

    def places(self, topic: int) -> array[int]:
        """Places of the messages of a topic."""
        return array("q", (place for place, one in enumerate(self.topic) if one == topic))

    def wanted(self, every: Every) -> set[int]:
        """Places of the frames of videos that are asked for and can be decoded."""
        found: set[int] = set()
        for name, keys in self.videos.items():
            places = self.places(self.topics.index(name))
            if keys:
                places = places[keys[0] :]
                first = {self.stamp[place]: place for place in reversed(places)}
                times = array("q", sorted(first))
                held = array("q", sorted(self.stamp[places[key - keys[0]]] for key in keys))
                found.update(first[time] for time in every.chosen(times, held, Fraction(1, 10**9)))
        return found


def list_mcap(
    path: str,
    relative: str,
    wanted: Sequence[str],
    say: Callable[[str], None],
    endpoint: str | None = None,
    every: Every = Every(seconds=Fraction(1)),  # noqa: B008 (frozen)
) -> Iterator[PoolItem | FailedItem]:
    """List the images of a log, in the order of their log times.

    Parameters
    ----------
    path : str
    relative : str
        What ids begin with.
    wanted : sequence of str
        Topics; by default all of images.
    say : callable
        Called with notes for the user.
    endpoint : str, optional
        ``--endpoint-url``.
    every : Every
        Which frames of topics of video.

    Raises
    ------
    PoolError
        A topic that is wanted is not there or holds no images; the libraries are missing.
    """
    require_mcap()
    shown = path_to_id(relative)
    try:
        parent = Parent.of(path, endpoint)
        index = _index(parent)
    except ItemError as error:
        yield _failed(Parent(path, ""), shown, error.message)
        return
    chosen = _chosen(shown, index, wanted, say)
    frames = index.wanted(every)
    for name, keys in index.videos.items():
        lost = keys[0] if keys else len(index.places(index.topics.index(name)))
        if name in chosen and lost:
            say(
                f"{shown}: the log holds no keyframe of {name} before its first {lost} frames, "
                "which are left out"
            )
    ids: dict[str, int] = {}
    listed = 0
    for place in range(len(index.time)):
        topic = index.topics[index.topic[place]]
        if topic not in chosen:
            continue
        inside = f"#{topic}@{index.stamp[place]}"
        count = ids[inside] = ids.get(inside, 0) + 1
        if count > 1:  # of several messages with one stamp
            inside += f".{count - 1}"
        if topic in index.videos and place not in frames:
            continue
        yield PoolItem(
            shown + inside,
            parent.shown + inside,
            LogMessage(parent, place),
            parent.stamp,
            sequence=f"{shown}#{topic}",
            camera=index.frames[index.frame[place]] or topic,
            timestamp_ns=index.stamp[place],
        )
        listed += 1
    if index.problem is not None:
        yield _failed(parent, shown, f"{index.problem}; {listed} images are read")


def locate_in_mcap(path: str, endpoint: str | None = None) -> LogMessage | None:
    """The message that a stored path ``FILE#/TOPIC@STAMP`` means; None if it means none.

    Raises ItemError (``io``).
    """
    match = re.fullmatch(r"(.*?\.mcap)#(.*)@(-?\d+)(?:\.(\d+))?", path, re.DOTALL | re.IGNORECASE)
    if match is None or not exists(match[1]):
        return None
    try:
        require_mcap()
    except PoolError as error:
        raise ItemError("io", str(error)) from error
    parent = Parent.of(match[1], endpoint)
    index = _index(parent)
    stamp, skipped = int(match[3]), int(match[4] or 0)
    for place, one in enumerate(index.stamp):
        if one == stamp and index.topics[index.topic[place]] == match[2]:
            if skipped == 0:
                return LogMessage(parent, place)
            skipped -= 1
    raise ItemError("io", f"{parent.shown} no longer holds this message")


def _failed(parent: Parent, shown: str, reason: str) -> FailedItem:
    item = PoolItem(f"{shown}#", parent.shown, LogMessage(parent, 0), parent.stamp)
    return FailedItem(item, "io", reason)


def _chosen(
    shown: str, index: _Index, wanted: Sequence[str], say: Callable[[str], None]
) -> set[str]:
    """Names of the topics to read; PoolError."""
    images = {topic.name for topic in index.found if topic.problem is None}
    listed = ", ".join(sorted(images)) or "none"
    if not wanted:
        for topic in index.found:
            if topic.schema in FOREIGN:
                say(f"{shown}: {topic.name} is left out: {topic.problem}")
        return images
    for name in wanted:
        other = next((topic for topic in index.found if topic.name == name), None)
        if other is None and index.problem is not None:
            say(
                f"{shown}: the log is cut or damaged before any message of {name}; "
                f"topics of images: {listed}"
            )
        elif name not in images:
            what = "is not there" if other is None else f"holds no images: {other.problem}"
            raise PoolError(f"{shown!r}: the topic {name!r} {what}; topics of images: {listed}")
    return set(wanted)


@lru_cache(maxsize=16)
def _index(parent: Parent) -> _Index:
    """Read the stamps of all images; ItemError (``io``) if the file is no MCAP."""
    index = _Index()
    try:
        with parent.open() as file:
            messages = ImageMessages(file)
            try:
                _add(index, messages)
            finally:
                index.found = messages.topics()
    except OSError as error:
        raise ItemError("io", f"cannot read the file: {error.strerror}") from error
    except Exception as error:  # damaged files make the libraries raise almost anything
        if not index.time:
            reason = f"not an MCAP file, or damaged from its beginning: {why(error)}"
            raise ItemError("io", reason) from error
        index.problem = f"the log is cut or damaged: {why(error)}"
    return index


def _add(index: _Index, messages: ImageMessages) -> None:
    topics: dict[str, int] = {}
    frames: dict[str, int] = {}
    times: dict[tuple[int, int], int] = {}
    counts: dict[int, int] = {}
    for schema, channel, message in messages:
        topic = topics.setdefault(channel.topic, len(topics))
        if topic == len(index.topics):
            index.topics.append(channel.topic)
        seconds, frame = header_of(schema, message)
        frame_index = frames.setdefault(frame, len(frames))
        if frame_index == len(index.frames):
            index.frames.append(frame)
        key = (topic, message.log_time)
        times[key] = times.get(key, -1) + 1
        index.count.append(counts.get(topic, 0))
        counts[topic] = index.count[-1] + 1
        if schema.name in VIDEO:
            keys = index.videos.setdefault(channel.topic, array("q"))
            if _is_keyframe(schema, message):
                keys.append(index.count[-1])
        index.topic.append(topic)
        index.time.append(message.log_time)
        index.repeat.append(times[key])
        index.stamp.append(seconds or message.log_time)
        index.frame.append(frame_index)


class _Cursor:
    """Reads messages in their order; one that is far is looked up by its time."""

    def __init__(self, parent: Parent) -> None:
        self._index = _index(parent)
        self._file = parent.open()  # as long as the cursor
        weakref.finalize(self, self._file.close)
        self._lock = threading.Lock()
        self._next = 0
        self._messages = ImageMessages(self._file)

    def at(self, place: int) -> tuple[Any, Any]:
        """Schema and message; ItemError (``io``)."""
        with self._lock:
            try:
                return self._at(place)
            except ItemError:
                self._next = -1
                raise
            except Exception as error:
                self._next = -1
                raise ItemError("io", f"the log is damaged here: {why(error)}") from error

    def _at(self, place: int) -> tuple[Any, Any]:
        index, ahead = self._index, place - self._next
        if self._next >= 0 and 0 <= ahead <= _WORTH_A_LOOK_UP:
            for _ in range(ahead):
                next(self._messages)
            schema, _, message = next(self._messages)
        else:
            time, topic = index.time[place], index.topics[index.topic[place]]
            self._file.seek(0)
            self._messages = ImageMessages(self._file, start_time=time)
            same = (
                (schema, message)
                for schema, channel, message in self._messages
                if message.log_time == time and channel.topic == topic
            )
            schema, message = next(islice(same, index.repeat[place], None))
        self._next = place + 1
        return schema, message


@lru_cache(maxsize=4)
def _cursor(parent: Parent) -> _Cursor:
    """A cursor that all threads share."""
    return _Cursor(parent)


@lru_cache(maxsize=4)
def _video(parent: Parent, topic: int) -> VideoTopic:
    """A reader that all threads share."""
    index = _index(parent)
    times = array("q", (index.time[place] for place in index.places(topic)))
    name = index.topics[topic]
    file = parent.open()
    found = VideoTopic(file, name, times, index.videos[name])
    weakref.finalize(found, file.close)
    return found


def _is_keyframe(schema: Any, message: Any) -> bool:
    try:
        fields = decoded(schema, message)
    except ItemError:
        return False
    return is_keyframe(str(fields.format), bytes(fields.data))


def _image(schema: Any, message: Any, max_pixels: int) -> bytes | Decoded:
    fields = decoded(schema, message)
    if schema.name in COMPRESSED:
        data = bytes(fields.data)
        check_size(len(data), max_pixels)
        return data
    return raw_image(
        bytes(fields.data),
        (fields.height, fields.width),
        fields.encoding,
        step=fields.step,
        big_endian=bool(getattr(fields, "is_bigendian", False)),
        max_pixels=max_pixels,
    )
