"""Topics of compressed video in robot logs: a message is a frame, and needs those before it.

Foxglove's schema has no frames that are shown in another order than they are stored, and repeats
the parameters of the stream with every keyframe. So a frame is decoded from the keyframe before it,
or from where the reader stands if that is nearer.
"""

from __future__ import annotations

import re
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from deal.errors import ItemError
from deal.pool.mcap_messages import ImageMessages, decoded, why
from deal.pool.video import require_av

__all__ = ["VideoTopic", "is_keyframe"]

_CODECS = {"h264": "h264", "avc": "h264", "h265": "hevc", "hevc": "hevc"}
_START = re.compile(b"\x00\x00\x01(.)", re.DOTALL)


def is_keyframe(codec: str, data: bytes) -> bool:
    """Whether a frame (Annex B) can be decoded without another: its first picture tells.

    Of a codec that is not read every frame counts, so that each becomes a row that says so.
    """
    if codec.lower() not in _CODECS:
        return True
    hevc = _CODECS[codec.lower()] == "hevc"
    for unit in _START.finditer(data):
        kind = (unit[1][0] >> 1) & 0x3F if hevc else unit[1][0] & 0x1F
        if kind <= 31 if hevc else 1 <= kind <= 5:  # the others are no pictures
            return 16 <= kind <= 21 if hevc else kind == 5
    return False


class VideoTopic:
    """Decodes the frames of a topic; one that follows the last costs only what is between.

    Parameters
    ----------
    file : binary file
        The log, for this topic alone.
    topic : str
    times : sequence of int
        Log times of its messages, in the order in which they are read.
    keys : sequence of int
        Which of them are keyframes, ascending.
    """

    def __init__(self, file: Any, topic: str, times: Sequence[int], keys: Sequence[int]) -> None:
        self._av = require_av()
        self._file, self._topic, self._times, self._keys = file, topic, times, keys
        self._lock = threading.Lock()
        self._next = -1  # the message that the reader gives next; -1 if that is not known
        self._messages: Iterator[tuple[Any, Any, Any]] = iter(())
        self._codec: Any = None

    def frame(self, place: int) -> Any:
        """A frame, as PyAV has it; ItemError (``io``, ``decode``)."""
        with self._lock:
            try:
                return self._found(place)
            except ItemError:
                self._next = -1
                raise
            except self._av.FFmpegError as error:
                self._next = -1
                raise ItemError("decode", f"the video is damaged here: {why(error)}") from error
            except Exception as error:  # damaged files make the library raise almost anything
                self._next = -1
                raise ItemError("io", f"the log is damaged here: {why(error)}") from error

    def _found(self, place: int) -> Any:
        key = bisect_right(self._keys, place) - 1
        if key < 0:
            raise ItemError("decode", "no keyframe precedes it in the log")
        start = self._keys[key]
        if not start <= self._next <= place:
            self._go_to(start)
        found = None
        while self._next <= place:
            schema, _, message = next(self._messages)
            fields = decoded(schema, message)
            codec = self._decoder(str(fields.format))
            packet = self._av.Packet(bytes(fields.data))
            packet.pts = packet.dts = self._next
            self._next += 1
            found = self._one(codec.decode(packet), place) or found
        if found is None:  # the decoder holds it back, as for streams that do not say otherwise
            found = self._one(codec.decode(None), place)
            self._next = -1
        if found is None or found.is_corrupt:
            raise ItemError("decode", "the frame cannot be decoded: the video is damaged here")
        return found

    def _go_to(self, key: int) -> None:
        """Stand before a keyframe."""
        self._codec = None
        self._file.seek(0)
        time = self._times[key]
        stream = ImageMessages(self._file, start_time=time, topic=self._topic)
        skipped = key - bisect_left(self._times, time) if stream.by_time else key
        self._messages = islice(stream, skipped, None)
        self._next = key

    def _decoder(self, name: str) -> Any:
        if name.lower() not in _CODECS:
            raise ItemError("decode", f"video in {name!r} is not read, only h264 and h265")
        if self._codec is None:
            self._codec = self._av.CodecContext.create(_CODECS[name.lower()], "r")
            self._codec.thread_count = 1  # more would hold frames back
            self._codec.flags |= self._av.codec.context.Flags.low_delay
        return self._codec

    @staticmethod
    def _one(frames: Sequence[Any], place: int) -> Any | None:
        return next((frame for frame in frames if frame.pts == place), None)
