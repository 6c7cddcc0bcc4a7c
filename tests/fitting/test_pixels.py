"""Values at pixels, against the oracle."""

from __future__ import annotations

import numpy as np
import pytest

from deal.fitting.pixels import bands, pixel_scores, resize, sample, softmax
from tests.oracle import reference


def logits(shape=(5, 7, 9), seed=0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=3, size=shape).astype(np.float32)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("size", [(20, 31), (4, 5), (1, 1), (7, 9)])
def test_resizing_agrees_with_the_oracle(align_corners, size):
    maps = logits()
    wanted = reference.resize(maps, size, align_corners)
    np.testing.assert_allclose(resize(maps, size, align_corners), wanted, atol=1e-5)
    rows = slice(size[0] // 2, size[0])
    np.testing.assert_allclose(resize(maps, size, align_corners, rows), wanted[:, rows], atol=1e-5)


@pytest.mark.parametrize("align_corners", [True, False])
def test_sampled_pixels_are_those_of_the_resized_map(align_corners):
    maps, size = logits(), (20, 31)
    pixels = np.array([0, 5, 300, 619])
    wanted = reference.resize(maps, size, align_corners).reshape(5, -1)[:, pixels].T
    np.testing.assert_allclose(sample(maps, pixels, size, align_corners), wanted, atol=1e-5)


def test_uncertainties_agree_with_their_formulas():
    z = logits((6, 40))
    p = reference.softmax(z[None].astype(np.float64))[0]
    ordered = np.sort(p, axis=0)
    found = pixel_scores(z.copy())
    np.testing.assert_array_equal(found.predicted, p.argmax(axis=0))
    wanted = reference.entropy(p[None])[0] / np.log(6)
    np.testing.assert_allclose(found.entropy, wanted, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(found.margin, 1 - (ordered[-1] - ordered[-2]), rtol=1e-5)
    np.testing.assert_allclose(found.least_confidence, 1 - ordered[-1], rtol=1e-5)
    np.testing.assert_allclose(softmax(z), p, rtol=1e-5)


def test_confident_pixels_are_still_told_apart():
    found = pixel_scores(np.array([[30.0, 31.0], [0.0, 0.0]], np.float32))
    np.testing.assert_allclose(found.least_confidence, np.exp([-30.0, -31.0]), rtol=1e-5)


def test_bands_cover_every_row_once():
    rows = np.zeros(1000, int)
    for band in bands(19, (1000, 2000)):
        rows[band] += 1
    assert (rows == 1).all()
    assert len(list(bands(19, (1000, 2000)))) > 1
