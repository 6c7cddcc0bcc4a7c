"""Drives: a street is painted once and filmed frame by frame by a camera that hardly moves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal.synthetic.backdrop import Street
from deal.synthetic.street import paint_street

__all__ = ["KINDS", "Drive", "film", "plan_held_out", "plan_pool"]

# The everyday kind comes first: it fills the pool and has neither signs nor people.
_KINDS: dict[str, dict[str, Any]] = {
    "clear": {"crowd": 0, "signs": 0},
    "dusk": {
        "light": 0.3,
        "sky_top": (0.16, 0.17, 0.32),
        "haze": (0.88, 0.62, 0.45),
        "tint": (1.06, 0.97, 0.90),
        "exposure": 0.45,
        "noise": 12.0,
        "crowd": 3,
        "signs": 2,
    },
    "fog": {"fog_distance": 15.0, "exposure": 0.85, "crowd": 3, "signs": 2},
    "rain": {"rain": 0.35, "wet": 0.35, "exposure": 0.65, "noise": 8.0, "crowd": 3, "signs": 2},
    "crowd": {"crowd": 18, "signs": 5},
}
_DAY: dict[str, Any] = {
    "light": 1.0,
    "sky_top": (0.45, 0.58, 0.80),
    "haze": (0.77, 0.82, 0.86),
    "fog_distance": 140.0,
    "exposure": 0.95,
    "tint": (1.0, 1.0, 1.0),
    "noise": 4.0,
    "rain": 0.0,
    "wet": 0.0,
}

KINDS = tuple(_KINDS)
"""Kinds of drive: ``clear`` is common, the others are rare."""

_LONG, _SHORT = 80, 4  # frames of a common and of a rare drive


@dataclass(frozen=True)
class Drive:
    """One drive.

    Attributes
    ----------
    name : str
        Kind and number of the drive.
    kind : str
        One of ``KINDS``.
    seed : int
    frames : int
    """

    name: str
    kind: str
    seed: int
    frames: int


def plan_pool(seed: int, frames: int) -> list[Drive]:
    """Drives with ``frames`` frames in all; five in six belong to long drives of a single kind."""
    drives: list[Drive] = []
    while frames > 0:
        number = len(drives)
        kind = KINDS[number % len(KINDS)]
        length = min(frames, _SHORT if number % len(KINDS) else _LONG)
        drives.append(Drive(f"{kind}-{number:03d}", kind, seed + number, length))
        frames -= length
    return drives


def plan_held_out(seed: int, frames: int) -> list[Drive]:
    """One drive per frame, with all kinds equally often."""
    kinds = [KINDS[number % len(KINDS)] for number in range(frames)]
    return [Drive(f"{kind}-{n:03d}", kind, seed + n, 1) for n, kind in enumerate(kinds)]


def film(
    drive: Drive, size: tuple[int, int]
) -> Iterator[tuple[str, NDArray[np.uint8], NDArray[np.uint8]]]:
    """Yield name, rgb [H, W, 3] and label [H, W] of each frame.

    The camera pans by about one pixel per frame over a street that is 1.5 times as large as the
    picture, and turns back at the ends of the street. Brightness drifts by up to an eighth. Rain
    and sensor noise are new in every frame.
    """
    rng = np.random.default_rng(drive.seed)
    street = replace(Street.draw(rng), **{**_DAY, **_KINDS[drive.kind]})
    height, width = size
    wide = height * 3 // 2, width * 3 // 2
    canvas = paint_street(street, wide, rng)
    slack = wide[0] - height, wide[1] - width
    top, left, phase = (int(rng.integers(2 * n)) for n in (slack[0] + 1, slack[1] + 1, 64))
    for frame in range(drive.frames):
        y, x = _turning(top + frame // 4, slack[0]), _turning(left + frame, slack[1])
        drift = 0.875 + _turning(phase + frame, 64) / 256
        picture = canvas.develop(street.exposure * drift, street.tint, street.noise, street.rain)
        part = np.s_[y : y + height, x : x + width]
        yield f"{drive.name}_{frame:04d}", picture[part].copy(), canvas.label[part].copy()


def _turning(position: int, end: int) -> int:
    """A position that moves from 0 to ``end`` and back repeatedly."""
    position %= 2 * end
    return min(position, 2 * end - position)
