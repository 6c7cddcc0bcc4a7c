"""Signatures of images, against the same means in exact fractions."""

from __future__ import annotations

import io
import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from deal.pool.decode import decode_bytes
from deal.pool.signature import centred, difference, distance, limit_of, thumbnail
from tests.helpers.models import scenes

LUMA = Fraction(19595, 65536), Fraction(38470, 65536), Fraction(7471, 65536)


def expected(image: np.ndarray) -> list[list[int]]:
    """Rounded mean grey of every area, all of its rows counted."""
    height, width, _ = image.shape
    result = []
    for i in range(12):
        rows = range(i * height // 12, max(i * height // 12 + 1, (i + 1) * height // 12))
        line = []
        for j in range(16):
            columns = range(j * width // 16, max(j * width // 16 + 1, (j + 1) * width // 16))
            grey = [
                sum(c * int(v) for c, v in zip(LUMA, image[y, x], strict=True))
                for y in rows
                for x in columns
            ]
            line.append(int(sum(grey) / len(grey) + Fraction(1, 2)))
        result.append(line)
    return result


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_a_thumbnail_holds_the_rounded_mean_grey_of_its_areas(height, width, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    small = thumbnail(image)
    assert (small.shape, small.dtype) == ((12, 16), np.uint8)
    assert small.tolist() == expected(image)


@pytest.mark.parametrize("level", [0, 1, 127, 255])
def test_a_grey_image_keeps_its_level_however_large_it_is(level):
    for shape in ((1, 1, 3), (13, 17, 3), (500, 700, 3)):
        assert (thumbnail(np.full(shape, level, np.uint8)) == level).all()


def test_of_tall_images_rows_spread_over_each_area_are_averaged():
    image = np.zeros((12 * 64, 16, 3), np.uint8)
    image[1::2] = 100  # of 64 rows the 32 odd ones are taken
    assert (thumbnail(image) == 100).all()
    image = np.zeros((12 * 40, 16, 3), np.uint8)
    image[: 12 * 20] = 200
    assert thumbnail(image)[:6].min() == 200
    assert thumbnail(image)[6:].max() == 0


def test_views_and_copies_of_an_image_have_the_same_signature():
    image = np.random.default_rng(0).integers(0, 256, (90, 130, 3), np.uint8)
    turned = np.ascontiguousarray(image[::-1, ::-1])
    assert thumbnail(turned[::-1, ::-1]).tobytes() == thumbnail(image).tobytes()


def test_an_image_decoded_to_scale_has_nearly_the_same_signature():
    for view in scenes(3, (480, 640)):
        data = io.BytesIO()
        Image.fromarray(view).save(data, "JPEG", quality=90)
        whole = thumbnail(decode_bytes(data.getvalue()).image).astype(int)
        for at_least in ((240, 320), (120, 160), (60, 80)):
            decoded = decode_bytes(data.getvalue(), at_least=at_least)
            assert decoded.image.shape[:2] == at_least
            assert np.abs(thumbnail(decoded.image) - whole).max() <= 2


@given(st.lists(st.integers(0, 255), min_size=192, max_size=192), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_the_difference_is_that_of_the_thumbnails_without_their_means(values, seed):
    a = np.array(values, np.uint8).reshape(12, 16)
    b = np.random.default_rng(seed).integers(0, 256, (12, 16), np.uint8)
    delta = [int(x) - int(y) for x, y in zip(a.flat, b.flat, strict=True)]
    assert distance(a, b) == sum(abs(192 * d - sum(delta)) for d in delta)
    assert distance(a, b) == np.abs(centred(a.reshape(1, -1)) - centred(b.reshape(1, -1))).sum()
    mean = Fraction(sum(delta), 192)
    exact = sum(abs(d - mean) for d in delta) / 192
    assert difference(a, b) == pytest.approx(float(exact))
    assert distance(a, b) <= limit_of(exact)
    assert exact == 0 or distance(a, b) > limit_of(exact - Fraction(1, 10**9))


def test_exposure_counts_for_nothing():
    small = thumbnail(np.random.default_rng(1).integers(0, 200, (48, 64, 3), np.uint8))
    assert distance(small, small + 30) == 0
    halves = np.zeros((12, 16), np.uint8)
    halves[:, 8:] = 100
    assert difference(halves, np.zeros_like(halves)) == 50
    assert json.dumps(limit_of(3.0)) == "110592"
    assert limit_of(Fraction("1.5")) == 55296
