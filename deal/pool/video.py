"""Videos: frames at an interval, decoded in order by a run and by seeking for previews.

One pass over the packets, without decoding, tells every frame's presentation time and which are
keyframes. A frame is then decoded from the keyframe before it, or from where the reader stands if
that is nearer; frames that no other needs are left out unless they are wanted. Either way the
pixels are those of decoding the whole film.
"""

# Names may be millions and need not be UTF-8: plain strings, not Path objects.

from __future__ import annotations

import re
import threading
from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, partial
from itertools import chain
from typing import Any

import numpy as np

from deal._install import pip_install
from deal.errors import ItemError, PoolError
from deal.pool.formats import VIDEO_SUFFIXES
from deal.pool.ids import path_to_id
from deal.pool.inside import Every, InOrder
from deal.pool.parent import Parent, exists
from deal.text import one_line
from deal.types import MAX_PIXELS, Decoded, FailedItem, PoolItem

__all__ = [
    "VideoFrame",
    "check_pixels",
    "list_video",
    "locate_in_video",
    "pixels_of",
    "require_av",
]

# A seek costs about as much as decoding so many frames.
_WORTH_A_SEEK = 4
# Packets that a decoder takes, at most, before it gives a frame: it holds up to 16 to order them,
# and one per thread.
_LONGEST_DELAY = 256
# Quarter turns counterclockwise → EXIF orientation.
_ORIENTATIONS = (1, 8, 3, 6)


@dataclass(frozen=True, slots=True)
class VideoFrame(InOrder):
    """A frame of a video.

    Attributes
    ----------
    parent : Parent
    pts : int
        Presentation time in units of the stream.
    """

    parent: Parent
    pts: int

    def version(self) -> str:
        """``<size>-<mtime_ns>`` of the file, as it was when it was listed."""
        return self.parent.stamp

    def fetch(self, max_pixels: int = MAX_PIXELS) -> Callable[[], bytes | Decoded]:
        """See `InOrder`."""
        with self.parent.opened():
            frame = _reader(self.parent).frame(self.pts)
        check_pixels(frame.width, frame.height, max_pixels)
        return partial(pixels_of, frame)


@dataclass(frozen=True, slots=True)
class _Track:
    """What the packets of a video tell.

    Attributes
    ----------
    unit : Fraction
        Seconds of one tick.
    times : array of int
        Presentation times of all frames, in ticks, ascending.
    keys : array of int
        Those of keyframes.
    problem : str or None
        Why the file ends before its end.
    """

    unit: Fraction
    times: array[int]
    keys: array[int]
    problem: str | None

    def milliseconds(self, pts: int) -> int:
        return round(pts * self.unit * 1000)

    def chosen(self, every: Every) -> Iterator[int]:
        """Times of the frames that are asked for; of those in one millisecond the first."""
        last = None
        for pts in every.chosen(self.times, self.keys, self.unit):
            if self.milliseconds(pts) != last:
                yield pts
            last = self.milliseconds(pts)


def require_av() -> Any:
    """PyAV; PoolError if it is not installed."""
    try:
        import av
    except ImportError as error:
        raise PoolError(f"reading videos needs PyAV: {pip_install('video')}") from error
    return av


def list_video(
    path: str, relative: str, every: Every, endpoint: str | None = None
) -> Iterator[PoolItem | FailedItem]:
    """List the frames of a video that are asked for, in the order of their times.

    Raises PoolError without PyAV.
    """
    require_av()
    shown = path_to_id(relative)
    try:
        parent = Parent.of(path, endpoint)
        track = _track(parent)
    except ItemError as error:
        yield _failed(Parent(path, ""), shown, error)
        return
    for pts in track.chosen(every):
        place = f"#t={_seconds(track.milliseconds(pts))}"
        yield PoolItem(
            shown + place,
            parent.shown + place,
            VideoFrame(parent, pts),
            parent.stamp,
            sequence=shown,
            timestamp_ns=round(pts * track.unit * 10**9),
        )
    if track.problem is not None:
        yield _failed(parent, shown, ItemError("io", track.problem))


def locate_in_video(path: str, endpoint: str | None = None) -> VideoFrame | None:
    """The frame that a stored path ``FILE#t=SECONDS`` means; None if it means none.

    Raises ItemError (``io``).
    """
    match = re.fullmatch(r"(.*)#t=(-?)(\d+)\.(\d{3})", path, re.DOTALL)
    if match is None or not match[1].lower().endswith(VIDEO_SUFFIXES):
        return None
    file, sign = match[1], -1 if match[2] else 1
    if not exists(file):
        return None
    try:
        require_av()
    except PoolError as error:
        raise ItemError("io", str(error)) from error
    parent = Parent.of(file, endpoint)
    track = _track(parent)
    wanted = sign * (int(match[3]) * 1000 + int(match[4]))
    place = bisect_left(track.times, wanted, key=track.milliseconds)
    if place == len(track.times) or track.milliseconds(track.times[place]) != wanted:
        raise ItemError("io", f"{parent.shown} no longer has a frame at this time")
    return VideoFrame(parent, track.times[place])


def _failed(parent: Parent, shown: str, error: ItemError) -> FailedItem:
    item = PoolItem(f"{shown}#", parent.shown, VideoFrame(parent, 0), parent.stamp)
    return FailedItem(item, error.code, error.message)


def _seconds(milliseconds: int) -> str:
    whole, rest = divmod(abs(milliseconds), 1000)
    return f"{'-' if milliseconds < 0 else ''}{whole}.{rest:03}"


@lru_cache(maxsize=64)
def _track(parent: Parent) -> _Track:
    """Read all packets of a video; ItemError (``io``, ``decode``)."""
    av = require_av()
    times, keys = array("q"), array("q")
    untimed, problem = 0, None
    try:
        with _opened(parent) as container:
            stream = container.streams.best("video")
            if stream is None:
                raise ItemError("decode", "the file holds no video")
            if stream.codec_context is None:
                raise ItemError("decode", "FFmpeg has no decoder for the video")
            try:
                for packet in container.demux(stream):
                    if packet.size == 0 or packet.is_discard:
                        continue
                    if packet.pts is None:
                        untimed += 1
                        continue
                    times.append(packet.pts)
                    if packet.is_keyframe:
                        keys.append(packet.pts)
            except av.FFmpegError as error:
                problem = f"the video is damaged: {one_line(error.strerror)}"
            unit = stream.time_base
            ordered = array("q", sorted(set(times)))
            problem = problem or _shortfall(container, stream, len(times), ordered)
    except (av.FFmpegError, ValueError) as error:
        reason = one_line(getattr(error, "strerror", None) or error)
        raise ItemError("decode", f"not a video that FFmpeg reads, or cut: {reason}") from error
    if not ordered:
        remedy = "; put it into a container: ffmpeg -i FILE -c copy FILE.mp4" if untimed else ""
        raise ItemError("decode", f"the video has no frame with a time{remedy}")
    return _Track(unit, ordered, array("q", sorted(set(keys))), problem)


def _shortfall(container: Any, stream: Any, count: int, times: array[int]) -> str | None:
    """What the header promises and the file does not hold."""
    if stream.frames > count:
        return f"the file is cut: it holds {count} of {stream.frames} frames"
    if stream.frames == 0 and container.duration and times:
        held = float(times[-1] * stream.time_base)
        # FFmpeg counts the duration from the first frame, but that of Matroska from 0.
        begins = 0 if "matroska" in container.format.name else container.start_time or 0
        told = (container.duration + begins) / 1e6
        if held < told - max(1.0, 0.01 * told):
            return f"the file is cut: it holds {held:.1f} of {told:.1f} seconds"
    return None


def _opened(parent: Parent) -> Any:
    return require_av().open(parent.open() if parent.is_far else parent.path)


class _Reader:
    """Decodes the frames of a video; one that follows the last costs only what is between."""

    def __init__(self, parent: Parent) -> None:
        self._av = require_av()
        self._parent = parent
        self._track = _track(parent)
        self._lock = threading.Lock()
        self._last: int | None = None  # time of the last frame that was given out or passed
        self._decoded: deque[Any] = deque()
        self._open()

    def _open(self) -> None:
        """Begin anew at the start of the file."""
        self._container = _opened(self._parent)
        self._stream = self._container.streams.best("video")
        # The frames of a run come from one thread, so that FFmpeg's own may work beside it.
        self._stream.thread_type = "AUTO"
        self._packets: Iterator[Any] = self._container.demux(self._stream)
        self._decoded.clear()
        self._last = None

    def frame(self, pts: int) -> Any:
        """The frame of a time; ItemError (``decode``)."""
        with self._lock:
            try:
                return self._found(pts)
            except self._av.FFmpegError as error:
                self._last = None
                reason = one_line(error.strerror)
                raise ItemError("decode", f"the video is damaged here: {reason}") from error

    def _found(self, pts: int) -> Any:
        key = max(bisect_right(self._track.keys, pts) - 1, 0)
        if self._is_far(pts, key):
            self._go_before(pts, key)
        found = self._forward(pts)
        if found is None:
            self._last = None
            raise ItemError("decode", "the frame cannot be decoded: the video is damaged here")
        if found.is_corrupt:
            raise ItemError("decode", "the frame is damaged")
        return found

    def _is_far(self, pts: int, key: int) -> bool:
        """Whether to seek rather than to decode what is between."""
        if self._last is None or pts <= self._last:
            return True
        times, keys = self._track.times, self._track.keys
        if not keys or keys[key] <= self._last:
            return False
        between = bisect_left(times, keys[key]) - bisect_right(times, self._last)
        return between > _WORTH_A_SEEK

    def _go_before(self, pts: int, key: int) -> None:
        """Go to the keyframe of a time, or to an earlier one."""
        # Some containers seek to what follows the keyframe that is meant.
        for place in (key, key - 1):
            if place > 0 and self._seek(self._track.keys[place], pts):
                return
        self._open()

    def _seek(self, keyframe: int, pts: int) -> bool:
        """Seek, and pass what precedes the next keyframe; whether that is not behind ``pts``."""
        self._container.seek(keyframe, stream=self._stream, backward=True)
        self._decoded.clear()
        self._last = None
        packets = self._container.demux(self._stream)
        for packet in packets:
            if packet.size and packet.is_keyframe:
                self._packets = chain([packet], packets)
                return packet.pts is not None and packet.pts <= pts
        return False

    def _forward(self, pts: int) -> Any | None:
        """Decode until the time has come; None if no frame has it."""
        behind = 0
        while True:
            while self._decoded:
                frame = self._decoded[0]
                if frame.pts is not None and frame.pts > pts:
                    return None
                self._decoded.popleft()
                if frame.pts is not None:
                    self._last = frame.pts
                if frame.pts == pts:
                    return frame
            packet = next(self._packets, None)
            behind += packet is not None and packet.dts is not None and packet.dts > pts
            if packet is None or behind > _LONGEST_DELAY:
                return None
            self._decode(packet, pts)

    def _decode(self, packet: Any, wanted: int) -> None:
        # Frames that no other is predicted from are decoded only if they may be asked for.
        passes = packet.size and packet.pts is not None and packet.pts < wanted
        self._stream.codec_context.skip_frame = "NONREF" if passes else "DEFAULT"
        try:
            self._decoded.extend(self._stream.codec_context.decode(packet if packet.size else None))
        except self._av.error.EOFError:
            pass
        except self._av.error.InvalidDataError:
            pass  # its frame will be missing; those after it may be whole


@lru_cache(maxsize=4)
def _reader(parent: Parent) -> _Reader:
    """A reader that all threads share."""
    return _Reader(parent)


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Raise ItemError (``too_large``) for a frame of more pixels."""
    if width * height > max_pixels:
        raise ItemError(
            "too_large",
            f"{width}×{height} pixels, more than {max_pixels}; --max-pixels allows more",
        )


def pixels_of(frame: Any) -> Decoded:
    """RGB of a frame of PyAV, upright; ItemError (``decode``)."""
    try:
        image = frame.to_ndarray(format="rgb24")
    except (ValueError, MemoryError, OSError) as error:
        raise ItemError("decode", f"the frame cannot be converted: {one_line(error)}") from error
    turns = round(frame.rotation / 90) % 4
    upright = np.ascontiguousarray(np.rot90(image, turns))
    return Decoded(upright, _ORIENTATIONS[turns], frame.format.name)
