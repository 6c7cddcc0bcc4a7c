"""Select from frames as they come: `Stream`, over the selector of the C library."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Literal, NamedTuple, Unpack

import numpy as np
from numpy.typing import NDArray

from deal import _native
from deal._options import takes
from deal.errors import UsageError
from deal.pool.signature import BYTES, thumbnail
from deal.selection.stream_rules import StreamOptions, StreamRules

__all__ = ["Decision", "Frame", "Stream", "StreamCounters", "number_of"]

Action = Literal["keep", "evict", "drop"]
_ACTIONS: tuple[Action, ...] = ("keep", "evict", "drop")
_MOST_TIME = 2**61
_MOST_BYTES = 2**39


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a frame.

    Attributes
    ----------
    id : str
    action : ``keep``, ``evict`` or ``drop``
        Write the frame; delete what was written; forget it.
    why : str
        For a kept frame ``ranked``, ``random`` or ``context``. Else the reason: ``gap``,
        ``look-ahead``, ``near``, ``frames``, ``bytes``, ``window-frames``, ``window-bytes``,
        ``context-frames``, ``context`` (the pick went), ``not-finite``, ``negative``.
    score : float
    key : float
        What ranks the frame: the score, or the key of a draw.
    arrival : int
        Number of the frame, from 0 in the order of pushes.
    timestamp_ns : int
    waiting : bool
        The frame is still undecided: hold it in memory, another decision may follow.
    sent : bool
        `Stream.sent` was called for it.
    """

    id: str
    action: Action
    why: str
    score: float
    key: float
    arrival: int
    timestamp_ns: int
    waiting: bool = False
    sent: bool = False


class Frame(NamedTuple):
    """A frame as the selector takes it: numbers, and 192 bytes of a signature or None."""

    number: int
    timestamp_ns: int
    size: int
    score: float
    sequence: int
    camera: int
    signature: bytes | None


@dataclass(frozen=True, slots=True)
class StreamCounters:
    """What a stream has seen, and holds.

    Attributes
    ----------
    pushed, not_finite, negative, repeated : int
        Frames; those dropped for their score; those pushed again while they were known.
    forced : int
        Frames decided at the end of the look-ahead while a better neighbour was undecided. As long
        as it is 0, a stream with a budget of frames keeps what `deal.select` would pick.
    overflow : int
        Frames or cameras decided early, since ``pending`` or ``groups`` was full.
    clock_steps : int
        How often the times of a camera went back by more than the look-ahead.
    ranked, random, context, waiting : int
        Frames now; one may be several of these.
    bytes : int
        Of all kept frames.
    """

    pushed: int
    not_finite: int
    negative: int
    repeated: int
    forced: int
    overflow: int
    clock_steps: int
    ranked: int
    random: int
    context: int
    waiting: int
    bytes: int


@takes(StreamOptions, StreamRules.of)
class Stream:
    """Decides for every frame whether to keep it, and which kept frame has to go.

    After a trip the kept frames are those that `deal.select` picks from the whole trip with the
    same budget, gap and draw. Memory is fixed by the options.

    Raises
    ------
    UsageError
        A value is out of its range, or options do not fit together.
    """

    def __init__(self, **options: Unpack[StreamOptions]) -> None:
        self._start(StreamRules.of(**options))

    @classmethod
    def of(cls, rules: StreamRules) -> Stream:
        """Make a stream of checked rules."""
        stream = cls.__new__(cls)
        stream._start(rules)
        return stream

    def _start(self, rules: StreamRules) -> None:
        self._rules = rules
        try:
            self._native = _native.FrameStream(rules.native())
        except ValueError as error:
            raise UsageError(str(error)) from None
        self._names: dict[int, str] = {}  # of the frames that the selector knows
        self._repeated = 0
        self._places: dict[tuple[str | None, str | None], tuple[int, int]] = {}

    @property
    def memory(self) -> int:
        """Bytes that the selector takes, whatever comes; ids and frames are not among them."""
        return self._native.memory

    @property
    def counters(self) -> StreamCounters:
        """What the stream has seen, and holds."""
        return StreamCounters(**self._native.counters() | {"repeated": self._repeated})

    def push(
        self,
        frame_id: str,
        *,
        score: float,
        timestamp_ns: int = 0,
        size: int = 0,
        sequence: str | None = None,
        camera: str | None = None,
        image: NDArray[np.uint8] | None = None,
        signature: NDArray[np.uint8] | bytes | None = None,
    ) -> list[Decision]:
        """Take a frame; return the decisions that follow, evictions before frames to keep.

        Parameters
        ----------
        frame_id : str
            Unique; a frame that is known already is counted and ignored. Draws and the sample
            depend on it. Equal scores go by arrival, so push frames
            in the order of their ids to keep what `deal.select` picks.
        score : float
            Of an acquisition function; higher is kept sooner.
        timestamp_ns : int
            Nanoseconds, for gaps, windows and context.
        size : int
            Bytes that keeping the frame takes, for limits of bytes.
        sequence, camera : str, optional
            Gaps and context do not reach beyond them.
        image : ndarray of uint8 [H, W, 3], optional
            The upright image, RGB, for near-duplicates.
        signature : ndarray of uint8 [12, 16] or bytes, optional
            Its signature, if that is known already.

        Raises
        ------
        UsageError
            A value is of another type or out of its range, or the image or signature has another
            shape.
        """
        frame = self.frame(
            frame_id,
            score=score,
            timestamp_ns=timestamp_ns,
            size=size,
            sequence=sequence,
            camera=camera,
            image=image,
            signature=signature,
        )
        if self.knows(frame.number):
            self._repeated += 1
            return []
        return [decision for _, decision in self.take(frame, frame_id)]

    def end(self) -> list[Decision]:
        """Decide all that waits, as at the end of a trip; the stream can go on."""
        return [decision for _, decision in self.finish()]

    def kept(self) -> list[Decision]:
        """All kept frames, best first; ``why`` is the part of each."""
        found = [self._decision(decision) for decision in self._native.kept()]
        return sorted(found, key=lambda d: (d.why != "ranked", -d.key, -d.score, d.arrival))

    def best(self) -> Decision | None:
        """The best ranked frame that is not sent yet, for a link that takes nothing back."""
        found = self._native.best()
        return None if found is None else self._decision(found)

    def sent(self, frame_id: str) -> None:
        """Pin a ranked frame that was sent: it is never evicted, and counts in every limit.

        Raises UsageError if no unsent pick has the id.
        """
        try:
            self._native.sent(_native.name_hash(_encoded(frame_id)))
        except ValueError:
            raise UsageError(f"no pick that is not sent has the id {frame_id!r}") from None

    # ---- for a recorder, which knows frames by number -------------------------------------------

    def frame(
        self,
        frame_id: str,
        *,
        score: float,
        timestamp_ns: int,
        size: int,
        sequence: str | None,
        camera: str | None,
        image: NDArray[np.uint8] | None,
        signature: NDArray[np.uint8] | bytes | None,
    ) -> Frame:
        """Check what :meth:`push` takes, and write it as numbers; raises UsageError."""
        for name, text in (("frame_id", frame_id), ("sequence", sequence), ("camera", camera)):
            if not isinstance(text, str) and (text is not None or name == "frame_id"):
                raise UsageError(f"{name} must be a text, not {text!r}: give str({name})")
        try:
            time, length = operator.index(timestamp_ns), operator.index(size)
            value = float(score)
        except (TypeError, ValueError, OverflowError):
            raise UsageError(
                f"timestamp_ns and size must be whole numbers, such as time.time_ns(), and score a "
                f"number, not {timestamp_ns!r}, {size!r} and {score!r}"
            ) from None
        if not -_MOST_TIME <= time <= _MOST_TIME:
            raise UsageError(f"timestamp_ns must be within 2⁶¹ of 0, not {time}")
        if not 0 <= length <= _MOST_BYTES:
            raise UsageError(f"size must be 0 to 2³⁹ bytes, not {length}")
        return Frame(
            number_of(frame_id),
            time,
            length,
            value,
            *self._place(sequence, camera),
            self._signature(image, signature),
        )

    def take(self, frame: Frame, frame_id: str) -> list[tuple[int, Decision]]:
        """Push a checked frame that is not known; decisions with the numbers of their frames."""
        told = self._native.push(frame.number, *frame)
        self._names[frame.number] = frame_id
        return self._told(told)

    def finish(self) -> list[tuple[int, Decision]]:
        """:meth:`end`, with the numbers of the frames."""
        return self._told(self._native.end())

    def pin(self, number: int) -> None:
        """:meth:`sent` by the number of a frame; raises ValueError if it is no unsent pick."""
        self._native.sent(number)

    def knows(self, number: int) -> bool:
        """Whether a frame is kept, or waits."""
        return number in self._names

    def rename(self, number: int, frame_id: str) -> None:
        """Give a known frame its id, where only its number was known."""
        self._names[number] = frame_id

    def kept_numbers(self) -> set[int]:
        """Numbers of the kept frames."""
        return {decision[0] for decision in self._native.kept()}

    def waiting_numbers(self) -> set[int]:
        """Numbers of the frames that wait and are not kept."""
        return set(self._names) - self.kept_numbers()

    def _place(self, sequence: str | None, camera: str | None) -> tuple[int, int]:
        """Numbers of a sequence and a camera."""
        found = self._places.get((sequence, camera))
        if found is None:
            drive, lens = (
                0 if text is None else _native.name_hash(_encoded(text))
                for text in (sequence, camera)
            )
            found = (drive, lens % 2**31)
            if len(self._places) > 4096:  # of a trip without end
                self._places.clear()
            self._places[sequence, camera] = found
        return found

    def _signature(
        self, image: NDArray[np.uint8] | None, signature: NDArray[np.uint8] | bytes | None
    ) -> bytes | None:
        if self._rules.near_duplicates is None:
            return None
        if signature is None and image is not None:
            try:
                signature = thumbnail(image)
            except (TypeError, ValueError):
                raise UsageError("image must be uint8 [H, W, 3] of at least one pixel") from None
        if signature is None:
            return None
        is_array = isinstance(signature, np.ndarray) and signature.dtype == np.uint8
        if not is_array and not isinstance(signature, (bytes, bytearray, memoryview)):
            raise UsageError("signature must be uint8 [12, 16] or its bytes")
        data = signature.tobytes() if isinstance(signature, np.ndarray) else bytes(signature)
        if len(data) != BYTES:
            raise UsageError(f"signature must have {BYTES} bytes, not {len(data)}")
        return data

    def _told(self, decisions: list[_native.StreamDecision]) -> list[tuple[int, Decision]]:
        told = [(decision[0], self._decision(decision)) for decision in decisions]
        for number, decision in told:
            if decision.action != "keep" and not decision.waiting:
                del self._names[number]
        return told

    def _decision(self, decision: _native.StreamDecision) -> Decision:
        number, arrival, score, key, time, action, why, waiting, sent = decision
        return Decision(
            id=self._names[number],
            action=_ACTIONS[action - 1],
            why=_native.why_name(why),
            score=score,
            key=key,
            arrival=arrival,
            timestamp_ns=time,
            waiting=waiting,
            sent=sent,
        )


def number_of(frame_id: str) -> int:
    """The number of a frame: the hash that draws use."""
    return _native.name_hash(_encoded(frame_id))


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
