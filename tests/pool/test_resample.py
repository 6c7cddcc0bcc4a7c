"""Resizing to the network's input: the bytes of Pillow, one direction after the other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from deal import _native

FILTERS = {False: Image.Resampling.BILINEAR, True: Image.Resampling.BICUBIC}
sides = st.integers(1, 70)


@settings(deadline=None, max_examples=150)
@given(
    size=st.tuples(sides, sides),
    new=st.tuples(sides, sides),
    bicubic=st.booleans(),
    extreme=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_rows_then_columns_are_resized_as_pillow_resizes_each(
    size: tuple[int, int], new: tuple[int, int], bicubic: bool, extreme: bool, seed: int
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    if extreme:  # cubic weights overshoot
        image = (image > 127).astype(np.uint8) * np.uint8(255)
    rows = Image.fromarray(image).resize((new[1], size[0]), FILTERS[bicubic])
    expected = np.asarray(rows.resize((new[1], new[0]), FILTERS[bicubic]))
    for vector in (False, True):
        found = _native.resample(image, *new, bicubic, vector)
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("size", [(1080, 1920), (540, 960), (720, 1280)])
def test_frames_come_out_as_pillow_gives_them(size: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = Image.fromarray(image).resize((480, 360), Image.Resampling.BILINEAR)
    difference = np.asarray(expected).astype(int) - _native.resample(image, 360, 480, False)
    assert np.abs(difference).max() <= 1


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(ValueError, match="an image"):
        _native.resample(np.zeros((2, 2, 4), np.uint8), 2, 2, False)
    with pytest.raises(ValueError, match="a size"):
        _native.resample(np.zeros((2, 2, 3), np.uint8), 0, 2, False)
    with pytest.raises(TypeError):
        _native.resample(np.zeros((2, 2, 3), np.float32), 2, 2, False)
