"""Generated scenes that are painted once: trainings of many tests take the same few."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from numpy.typing import NDArray

import deal.synthetic.scenes

__all__ = ["paint_once"]

_paint = lru_cache(maxsize=128)(deal.synthetic.scenes.scene)


def paint_once(patch: pytest.MonkeyPatch) -> None:
    """Let data sets of generated scenes take what an earlier test has painted."""
    patch.setattr(deal.synthetic.scenes, "scene", _painted)


def _painted(
    seed: int, size: tuple[int, int] = (240, 320)
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    rgb, label = _paint(seed, tuple(size))
    return rgb.copy(), label.copy()
