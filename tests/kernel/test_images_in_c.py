"""deal_resize against what scoring does in Python: Pillow's filters, on any strides."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from PIL import Image

from deal import _native

LIBRARY = ctypes.CDLL(_native.__file__)
LIBRARY.deal_last_error.restype = ctypes.c_char_p
FILTERS = {"bilinear": 0, "bicubic": 1, "nearest": 2}


def resized_by_c(image, size, name):
    """[h, w, 3] by the C interface, from an array of any strides."""
    out = np.full((*size, 3), 7, np.uint8)
    strides = (ctypes.c_int64 * 3)(*image.strides)
    status = LIBRARY.deal_resize(
        ctypes.c_void_p(image.ctypes.data),
        strides,
        ctypes.c_int64(image.shape[0]),
        ctypes.c_int64(image.shape[1]),
        FILTERS[name],
        ctypes.c_void_p(out.ctypes.data),
        ctypes.c_int64(size[0]),
        ctypes.c_int64(size[1]),
    )
    assert status == 0, LIBRARY.deal_last_error()
    return out


def resized_by_python(image, size, name):
    dense = np.ascontiguousarray(image)
    if name == "nearest":
        return np.asarray(Image.fromarray(dense).resize(size[::-1], Image.Resampling.NEAREST))
    return _native.resample(dense, *size, name == "bicubic")


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((37, 53), (16, 21)),
        ((37, 53), (64, 99)),
        ((37, 53), (37, 21)),
        ((37, 53), (20, 53)),
        ((37, 53), (37, 53)),
        ((1, 1), (5, 3)),
        ((480, 641), (3, 7)),
    ],
)
def test_resizing_gives_the_bytes_of_scoring_from_any_strides(shape, size, name):
    rng = np.random.default_rng(3)
    wide = rng.integers(0, 256, (shape[0], shape[1] + 5, 4), np.uint8)
    views = {
        "packed": np.ascontiguousarray(wide[:, 5:, :3]),
        "padded rows": np.ascontiguousarray(wide[:, :, :3])[:, 5:],
        "rgba": wide[:, 5:, :3],
        "bgr": wide[:, 5:, 2::-1],
        "mirrored": wide[::-1, :4:-1, :3],
    }
    for view, image in views.items():
        found = resized_by_c(image, size, name)
        np.testing.assert_array_equal(found, resized_by_python(image, size, name), err_msg=view)


def test_nearest_is_pillows_for_many_sizes():
    rng = np.random.default_rng(4)
    for _ in range(60):
        shape, size = rng.integers(1, 90, (2, 2))
        image = rng.integers(0, 256, (*shape, 3), np.uint8)
        found = resized_by_c(image, tuple(map(int, size)), "nearest")
        np.testing.assert_array_equal(found, resized_by_python(image, tuple(size), "nearest"))


@pytest.mark.parametrize(
    ("sides", "filter_", "says"),
    [
        ((0, 4, 4, 4), 0, b"a side of 0"),
        ((4, 4, 4, 65536), 0, b"a side of 65536"),
        ((4, 4, 4, -(2**62)), 0, b"a side of -"),
        ((4, 4, 4, 4), 3, b"no deal_filter"),
    ],
)
def test_sizes_and_filters_that_are_none_are_refused(sides, filter_, says):
    image = np.zeros((4, 4, 3), np.uint8)
    at = ctypes.c_void_p(image.ctypes.data)
    height, width, out_height, out_width = map(ctypes.c_int64, sides)
    assert LIBRARY.deal_resize(at, None, height, width, filter_, at, out_height, out_width) == 1
    assert says in LIBRARY.deal_last_error()
    assert LIBRARY.deal_resize(None, None, height, width, 0, at, out_height, out_width) == 1
