"""Where images lie in what the network sees: hand-made cases and the frameworks' own rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deal.errors import ItemError
from deal.model.placing import Placement, placement, raster_size
from deal.model.spec import ModelSpec


def spec(**values: Any) -> ModelSpec:
    return ModelSpec(path="model.onnx", classes=("a", "b"), **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "original", "content", "offset"),
    [
        ((640, 640), (480, 640), (480, 640), (80, 0)),
        ((640, 640), (1080, 1920), (360, 640), (140, 0)),
        ((640, 640), (1920, 1080), (640, 360), (0, 140)),
        ((640, 640), (333, 500), (426, 640), (107, 0)),
        ((64, 64), (100, 99), (64, 63), (0, 0)),  # of an odd rest the smaller half comes first
        ((64, 64), (1000, 1), (64, 1), (0, 31)),
        ((48, 64), (24, 32), (48, 64), (0, 0)),
    ],
)
def test_a_letterbox_fits_the_image_and_centres_it(size, original, content, offset) -> None:  # type: ignore[no-untyped-def]
    assert placement(spec(resize="letterbox", input_size=size), *original) == Placement(
        size, content, offset
    )


@given(st.tuples(*[st.integers(1, 3000)] * 2), st.tuples(*[st.integers(32, 700)] * 2))
def test_a_letterbox_is_that_of_ultralytics(
    original: tuple[int, int], size: tuple[int, int]
) -> None:
    # ultralytics/data/augment.py, LetterBox.__call__ with auto=False and scaleup=True
    r = min(size[0] / original[0], size[1] / original[1])
    unpadded = round(original[1] * r), round(original[0] * r)
    dw, dh = (size[1] - unpadded[0]) / 2, (size[0] - unpadded[1]) / 2
    top, left = round(dh - 0.1), round(dw - 0.1)
    if min(unpadded) < 1:
        return  # an image too thin for it; ours keeps one pixel
    found = placement(spec(resize="letterbox", input_size=size), *original)
    assert found == Placement(size, unpadded[::-1], (top, left))


def test_a_letterbox_at_the_top_left_pads_below_and_to_the_right() -> None:
    values = spec(resize="letterbox", input_size=(64, 64), pad_position="top-left")
    assert placement(values, 100, 50) == Placement((64, 64), (64, 32))


def test_a_letterbox_of_any_size_pads_to_the_multiple() -> None:
    values = spec(resize="letterbox", size_multiple=32)
    assert placement(values, 97, 64) == Placement((128, 64), (97, 64), (15, 0))
    assert placement(values, 96, 64).is_whole


@pytest.mark.parametrize(
    ("size", "original", "content", "offset"),
    [
        ((224, 224), (480, 640), (224, 298), (0, -37)),
        ((224, 224), (640, 480), (298, 224), (-37, 0)),
        ((224, 224), (224, 229), (224, 229), (0, -2)),  # halves go to the even number
        ((224, 224), (224, 227), (224, 227), (0, -2)),
        ((48, 64), (48, 64), (48, 64), (0, 0)),
        ((48, 64), (96, 96), (64, 64), (-8, 0)),
    ],
)
def test_a_crop_covers_the_window_and_cuts_both_sides(size, original, content, offset) -> None:  # type: ignore[no-untyped-def]
    assert placement(spec(resize="crop", input_size=size), *original) == Placement(
        size, content, offset
    )


@given(st.tuples(*[st.integers(1, 3000)] * 2), st.integers(32, 700))
def test_a_square_crop_is_that_of_torchvision(original: tuple[int, int], side: int) -> None:
    # torchvision/transforms/functional.py: _compute_resized_output_size, then center_crop
    short, long = min(original), max(original)
    longer = int(side * long / short)
    content = (longer, side) if original[0] > original[1] else (side, longer)
    top, left = (round((length - side) / 2.0) for length in content)
    found = placement(spec(resize="crop", input_size=(side, side)), *original)
    assert found == Placement((side, side), content, (-top, -left))


def test_a_crop_of_any_size_cuts_to_the_multiple() -> None:
    values = spec(resize="crop", size_multiple=32)
    assert placement(values, 97, 70) == Placement((96, 64), (97, 70), (0, -3))
    with pytest.raises(ItemError, match="too small for a model that crops to multiples of 32"):
        placement(values, 97, 31)


@pytest.mark.parametrize("resize", ["letterbox", "crop"])
@given(original=st.tuples(*[st.integers(1, 200)] * 2), size=st.tuples(*[st.integers(1, 99)] * 2))
def test_window_and_image_show_each_other(
    resize: str, original: tuple[int, int], size: tuple[int, int]
) -> None:
    found = placement(spec(resize=resize, input_size=size), *original)
    content = np.arange(np.prod(found.content)).reshape(found.content)
    window = np.full(found.size, -1)
    window[found.inside] = content[found.shown]
    # pixel by pixel, by the definition
    for y, x in ((0, 0), (size[0] // 2, size[1] // 2), (size[0] - 1, size[1] - 1)):
        row, column = y - found.offset[0], x - found.offset[1]
        is_image = 0 <= row < found.content[0] and 0 <= column < found.content[1]
        assert window[y, x] == (content[row, column] if is_image else -1)
    if resize == "crop":
        assert (window >= 0).all()
    else:
        assert (window >= 0).sum() == content.size
    assert found.size == raster_size(spec(resize=resize, input_size=size), *original) == size
