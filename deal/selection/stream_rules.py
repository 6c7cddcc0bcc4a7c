"""The rules of a stream of frames, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict

from deal.errors import UsageError
from deal.selection.amounts import parse_bytes, parse_duration
from deal.selection.limits import Limits
from deal.selection.stochastic import Stochastic, parse_stochastic

__all__ = ["StreamOptions", "StreamRules"]

_MOST_FRAMES = 1_000_000


class StreamOptions(TypedDict, total=False):
    """Types of the options that :meth:`StreamRules.of` documents."""

    budget: int
    max_bytes: int | str | None
    window: int | str | None
    window_budget: int | None
    window_bytes: int | str | None
    min_gap: int | str | None
    look_ahead: int | str | None
    context_before: int | str | None
    context_after: int | str | None
    max_context: int | None
    near_duplicates: float | None
    near_per: Literal["pool", "camera"]
    stochastic: str | Stochastic | None
    random_share: float
    seed: int
    pending: int
    groups: int


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
        Limits(
            max_bytes=self.max_bytes,
            window_ns=self.window_ns,
            window_budget=self.window_budget,
            window_bytes=self.window_bytes,
        )
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

    @classmethod
    def of(
        cls,
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
    ) -> StreamRules:
        """Read the rules as users write them.

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
            Whether near-duplicates are looked for among all kept frames, or in the same sequence
            and camera.
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
        return cls(
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
