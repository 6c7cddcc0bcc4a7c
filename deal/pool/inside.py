"""What images inside other files share: how they are asked for, read in order, and their size."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypedDict

from deal.errors import ItemError, UsageError
from deal.types import MAX_PIXELS, Decoded, Locator

__all__ = [
    "Every",
    "Held",
    "InOrder",
    "Reading",
    "ReadingOptions",
    "check_size",
]


class ReadingOptions(TypedDict, total=False):
    """Types of the options of `Reading`."""

    image_column: str | None
    every: str
    topic: Sequence[str]
    endpoint_url: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is read of files that hold images.

    Parameters
    ----------
    image_column : str, optional
        The column of Parquet files that holds images, such as ``image`` or ``views.front``. By
        default the one that a Parquet file has (docs/howto/pool.md).
    every : str
        Which frames of videos: ``1s`` or ``0.5s``, the first of every second or half second;
        ``10f``, every tenth; ``keyframe``, the keyframes.
    topic : sequence of str
        Topics of MCAP files, such as ``/front/image/compressed``. By default all of images.
    endpoint_url : str, optional
        Where a store speaks S3 (MinIO, Ceph, R2), if it is not Amazon's; by default the environment
        variable AWS_ENDPOINT_URL.

    Raises
    ------
    UsageError
        ``every`` is none of these.
    """

    image_column: str | None = None
    every: str = "1s"
    topic: tuple[str, ...] = ()
    endpoint_url: str | None = None

    def __post_init__(self) -> None:
        Every.parse(self.every)


@dataclass(frozen=True, slots=True)
class Every:
    """Which frames of a video are read; one of the three is set."""

    seconds: Fraction = Fraction(0)
    frames: int = 0
    keyframes: bool = False

    def chosen(self, times: Sequence[int], keys: Sequence[int], unit: Fraction) -> Iterator[int]:
        """Times of the frames that are asked for.

        Parameters
        ----------
        times : sequence of int
            Of all frames, ascending, in units of ``unit`` seconds.
        keys : sequence of int
            Of keyframes.
        unit : Fraction
        """
        if self.keyframes:
            yield from keys
        elif self.frames:
            yield from times[:: self.frames]
        elif times:
            step = self.seconds / unit
            following = Fraction(times[0])
            for time in times:
                if time >= following:
                    yield time
                    following += ((time - following) // step + 1) * step

    @classmethod
    def parse(cls, text: str) -> Every:
        """Read ``1s``, ``10f`` or ``keyframe``; UsageError otherwise."""
        if text.strip().lower() in ("keyframe", "keyframes"):
            return cls(keyframes=True)
        match = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*([sf])\s*", text, re.ASCII)
        if match is not None and match[2] == "s" and Fraction(match[1]) > 0:
            return cls(seconds=Fraction(match[1]))
        if match is not None and match[2] == "f" and match[1].isdecimal() and int(match[1]) > 0:
            return cls(frames=int(match[1]))
        raise UsageError(f"--every {text!r}: write it as 1s, 10f or keyframe")


class InOrder(ABC):
    """A locator whose images cost much less if they are read in the order of the pool.

    A run has a single thread :meth:`fetch` them in that order, ahead of those that decode.
    """

    __slots__ = ()

    @abstractmethod
    def fetch(self, max_pixels: int = MAX_PIXELS) -> Callable[[], bytes | Decoded]:
        """Get what `Locator.read` needs; the result does the rest, in whatever thread.

        Raises ItemError.
        """

    @abstractmethod
    def version(self) -> str:
        """See `Locator`."""

    def read(self, max_pixels: int = MAX_PIXELS) -> bytes | Decoded:
        """See `Locator`."""
        return self.fetch(max_pixels)()


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A locator of what was fetched already.

    Attributes
    ----------
    origin : Locator
        What it came from.
    rest : callable
        Gives the image; raises ItemError.
    """

    origin: Locator
    rest: Callable[[], bytes | Decoded]

    def version(self) -> str:
        """See `Locator`."""
        return self.origin.version()

    def read(self, max_pixels: int = MAX_PIXELS) -> bytes | Decoded:
        """See `Locator`."""
        return self.rest()


def check_size(size: int, max_pixels: int) -> None:
    """Raise ItemError (``too_large``) for a file that holds more than such an image can."""
    # no supported format needs more than four 32-bit channels a pixel
    if size > 16 * max_pixels + 2**20:
        raise ItemError(
            "too_large",
            f"{size} bytes, more than {max_pixels} pixels fill; --max-pixels allows more",
        )
