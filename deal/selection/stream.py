"""Select from frames as they come: `Stream`, over the selector of the C library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deal import _native
from deal.errors import UsageError
from deal.pool.signature import BYTES, thumbnail
from deal.selection.amounts import parse_bytes, parse_duration
from deal.selection.stochastic import Stochastic, parse_stochastic

__all__ = ["Decision", "Frame", "Stream", "StreamCounters", "StreamRules", "number_of"]

Action = Literal["keep", "evict", "drop"]
_ACTIONS: tuple[Action, ...] = ("keep", "evict", "drop")
_MOST_FRAMES = 1_000_000
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


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRules:
    """The rules of a stream as numbers: nanoseconds, bytes, grey levels; None does not limit.

    Raises
    ------
    UsageError
        A number is out of its range, or rules do not fit together.
    """

    budget: int
    max_bytes: int | None = None
    window_ns: int | None = None
    window_budget: int | None = None
    window_bytes: int | None = None
    min_gap_ns: int | None = None
    look_ahead_ns: int | None = None
    context_before_ns: int | None = None
    context_after_ns: int | None = None
    max_context: int | None = None
    near_duplicates: float | None = None
    near_per: Literal["pool", "camera"] = "pool"
    stochastic: Stochastic | None = None
    random_share: float = 0.0
    seed: int = 0
    pending: int = 1024
    groups: int = 64

    def __post_init__(self) -> None:
        for name in ("budget", "window_budget", "max_context", "pending", "groups"):
            value = getattr(self, name)
            if value is not None and not (type(value) is int and 1 <= value <= _MOST_FRAMES):
                raise UsageError(
                    f"{name} must be a whole number from 1 to {_MOST_FRAMES}, not {value!r}"
                )
        if self.window_ns is None and (self.window_budget or self.window_bytes):
            raise UsageError("window_budget and window_bytes need a window, such as window='1h'")
        if self.window_ns is not None and not (self.window_budget or self.window_bytes):
            raise UsageError("a window needs window_budget or window_bytes, its limits")
        if self.window_ns == 0:
            raise UsageError("a window must last longer than 0")
        if self.near_duplicates is not None and not 0 <= self.near_duplicates <= 255:
            raise UsageError(
                f"near_duplicates must be 0 to 255 grey levels, not {self.near_duplicates!r}"
            )
        if self.near_per not in ("pool", "camera"):
            raise UsageError(f"near_per must be pool or camera, not {self.near_per!r}")
        if not 0 <= self.random_share <= 1:
            raise UsageError(f"random_share must be 0 to 1, not {self.random_share!r}")
        if self.stochastic is not None and self.stochastic.kind != "power":
            raise UsageError(
                "a stream draws by power alone: softrank needs the ranks of the whole pool"
            )

    def native(self) -> dict[str, float]:
        """The fields of ``deal_stream_options`` that are not 0."""
        near = self.near_duplicates
        options: dict[str, float | None] = {
            "max_frames": self.budget,
            "max_bytes": self.max_bytes,
            "window_ns": self.window_ns,
            "max_frames_per_window": self.window_budget,
            "max_bytes_per_window": self.window_bytes,
            "min_gap_ns": self.min_gap_ns,
            "look_ahead_ns": self.look_ahead_ns,
            "context_before_ns": self.context_before_ns,
            "context_after_ns": self.context_after_ns,
            "max_context_frames": self.max_context,
            "near": None if near is None else {"camera": 1, "pool": 2}[self.near_per],
            "near_threshold": None if near is None else float(near),
            "draw": None if self.stochastic is None else 1,
            "beta": None if self.stochastic is None else self.stochastic.beta,
            "random_share": float(self.random_share),
            "seed": self.seed % 2**64,
            "pending": self.pending,
            "groups": self.groups,
        }
        return {name: value for name, value in options.items() if value is not None}


class Stream:
    """Decides for every frame whether to keep it, and which kept frame has to go.

    After a trip the kept frames are those that `deal.select` picks from the whole trip with the
    same budget, gap and draw. Memory is fixed by the options.

    Parameters
    ----------
    budget : int
        Frames to keep, up to a million; context frames do not count.
    max_bytes : int or str, optional
        Bytes that all kept frames may take: ``2GB``.
    window : str or int, optional
        Windows of time that have limits of their own: ``1h``, or nanoseconds.
    window_budget : int, optional
        Frames to keep of each window.
    window_bytes : int or str, optional
        Bytes to keep of each window, without context.
    min_gap : str or int, optional
        Least time between kept frames of a sequence and camera: ``2s``, or nanoseconds.
    look_ahead : str or int, optional
        How long a frame may wait for the decision about its neighbours; four gaps by default.
    context_before, context_after : str or int, optional
        Frames around a kept frame that are kept as long as it is: ``1s``.
    max_context : int, optional
        Most frames around kept frames; eight per frame of the budget by default.
    near_duplicates : float, optional
        Grey levels within which two frames show the same; only the better is kept.
    near_per : ``pool`` or ``camera``
        Whether near-duplicates are looked for among all kept frames, or in the same sequence and
        camera.
    stochastic : str, optional
        ``power`` or ``power:BETA`` draws frames by their scores instead of taking the best.
    random_share : float
        Share of ``budget`` and ``max_bytes`` for a random sample of all frames, 0…1.
    seed : int
        Of the draw and the sample.
    pending : int
        Frames that may wait at a time.
    groups : int
        Sequences and cameras that may have waiting frames at a time.

    Raises
    ------
    UsageError
        A value is out of its range, or options do not fit together.
    """

    def __init__(
        self,
        *,
        budget: int,
        max_bytes: int | str | None = None,
        window: int | str | None = None,
        window_budget: int | None = None,
        window_bytes: int | str | None = None,
        min_gap: int | str | None = None,
        look_ahead: int | str | None = None,
        context_before: int | str | None = None,
        context_after: int | str | None = None,
        max_context: int | None = None,
        near_duplicates: float | None = None,
        near_per: Literal["pool", "camera"] = "pool",
        stochastic: str | Stochastic | None = None,
        random_share: float = 0.0,
        seed: int = 0,
        pending: int = 1024,
        groups: int = 64,
    ) -> None:
        self._start(
            StreamRules(
                budget=budget,
                max_bytes=parse_bytes(max_bytes, "max_bytes"),
                window_ns=parse_duration(window, "window"),
                window_budget=window_budget,
                window_bytes=parse_bytes(window_bytes, "window_bytes"),
                min_gap_ns=parse_duration(min_gap, "min_gap"),
                look_ahead_ns=parse_duration(look_ahead, "look_ahead"),
                context_before_ns=parse_duration(context_before, "context_before"),
                context_after_ns=parse_duration(context_after, "context_after"),
                max_context=max_context,
                near_duplicates=near_duplicates,
                near_per=near_per,
                stochastic=parse_stochastic(stochastic),
                random_share=random_share,
                seed=seed,
                pending=pending,
                groups=groups,
            )
        )

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
            A number is out of its range, or the image or signature has another shape.
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
        if not -_MOST_TIME <= timestamp_ns <= _MOST_TIME:
            raise UsageError(f"timestamp_ns must be within 2⁶¹ of 0, not {timestamp_ns}")
        if not 0 <= size <= _MOST_BYTES:
            raise UsageError(f"size must be 0 to 2³⁹ bytes, not {size}")
        return Frame(
            number_of(frame_id),
            timestamp_ns,
            size,
            float(score),
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
        data = bytes(signature) if isinstance(signature, bytes) else signature.tobytes()
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
