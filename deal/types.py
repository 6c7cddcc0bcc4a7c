"""Frozen records that travel between the stages, with shapes, dtypes and units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "COMMITTEE_COLUMNS",
    "HISTOGRAM_LEVELS",
    "MAX_PIXELS",
    "Decoded",
    "EngineOutput",
    "FailedItem",
    "Locator",
    "PoolItem",
    "Statistics",
]

HISTOGRAM_LEVELS = 240
"""Levels of every stored histogram; any L that divides it can be asked of ``de`` later."""

MAX_PIXELS = 200_000_000
"""Pixels of the largest image that is decoded unless the caller allows more."""

COMMITTEE_COLUMNS = ("vote_entropy_mean", "mutual_information_mean", "consensus_entropy_mean")
"""Columns that only a committee has; null without one."""


class Locator(Protocol):
    """Where an image lies, and how it is read (:mod:`deal.pool.locator`)."""

    def version(self) -> str:
        """Changes when the image does; ItemError (``io``) if it is not there."""

    def read(self, max_pixels: int = MAX_PIXELS) -> bytes | Decoded:
        """Read the bytes of an image file, or a frame that has no file, such as of a video.

        Any number of threads may read at once.

        Raises
        ------
        ItemError
            ``io``: it cannot be read; ``too_large``: it must have more pixels than that; for
            frames ``decode``.
        """


@dataclass(frozen=True, slots=True)
class PoolItem:
    """One image of the pool, not yet read.

    Attributes
    ----------
    id : str
        Unique and stable: the path relative to its pool root with ``/`` separators, bytes that are
        not UTF-8 percent-encoded; a manifest's own id wins. Images inside other files:
        docs/howto/pool.md.
    uri : str
        Where the image lies, as recorded in the results (UTF-8; undecodable bytes percent-encoded).
    locator : Locator
        Reads the image.
    source_version : str
        What the locator tells, ``"<size>-<mtime_ns>"`` for a file, followed by ``+`` and that of
        the file of segments if there is one: changes when the files do.
    """

    id: str
    uri: str
    locator: Locator
    source_version: str
    sequence: str | None = None
    camera: str | None = None
    timestamp_ns: int | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FailedItem:
    """Something in the pool that cannot even be listed or stat'ed: becomes an ``error`` row.

    ``error_code`` is one of the codes of :class:`deal.errors.ItemError`.
    """

    item: PoolItem
    error_code: str
    error: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded image after EXIF orientation.

    Attributes
    ----------
    image : ndarray of uint8, shape [H, W, 3]
        RGB, C-contiguous; smaller than the original where it was decoded to scale.
    orientation : int
        The EXIF orientation that was applied, 1 to 8; 1 when there was none.
    color_mode : str
        What was converted to RGB: ``RGB``, ``L``, ``RGBA``, ``CMYK``, ``I;16``, ``P``, ….
    original : (H, W), optional
        Size of the oriented original; None where ``image`` has it.
    """

    image: NDArray[np.uint8]
    orientation: int
    color_mode: str
    original: tuple[int, int] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the oriented original."""
        return self.original or (self.image.shape[0], self.image.shape[1])

    @property
    def width(self) -> int:
        """Width of the oriented original in pixels."""
        return self.size[1]

    @property
    def height(self) -> int:
        """Height of the oriented original in pixels."""
        return self.size[0]


@dataclass(frozen=True, slots=True)
class EngineOutput:
    """What a network gives for a batch, on the network's own grid.

    Arrays of an engine on a CUDA device are :class:`deal.engines.device.DeviceArray`, and good
    until its next batch.

    Attributes
    ----------
    logits : array [B, C, h, w], float32, float16 or bfloat16
        Always logits: engines convert probabilities and sigmoid outputs.
    difficulty : array [B, 1, h', w'] or None
        The graph's own difficulty, before the sigmoid.
    embedding : array [B, E] of float32, or as the network gives it on a device; or None
    members : array [M, B, C, h, w] or None
        Logits of all members of a committee, the first of which is ``logits``; None without one.
    """

    logits: Any
    difficulty: Any | None = None
    embedding: Any | None = None
    members: Any | None = None


@dataclass(frozen=True, slots=True)
class Statistics:
    """Per-image and per-region statistics of a batch of B images (docs/reference/stored.md).

    Attributes
    ----------
    images : dict of column name to ndarray [B] or [B, K]
        Means are float64, counts int64, histograms int64 [B, 240]. Difficulty columns are
        absent when no difficulty was given. Where ``n_pixels`` is 0 (everything masked, or
        non-finite logits) means are NaN and counts 0.
    regions : dict of column name to ndarray [B, R], or None
    nonfinite : ndarray of int64 [B]
        How many logits (or difficulty values) of the image are NaN or infinite; when it is not 0
        the image's statistics are not computed.
    """

    images: dict[str, NDArray[Any]]
    regions: dict[str, NDArray[Any]] | None
    nonfinite: NDArray[np.int64]
