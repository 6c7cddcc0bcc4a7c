"""Random crops keep image and label together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deal.training.augment import Augmentation
from deal.training.data import Sample

VOID = 200


def augmentation(**changes) -> Augmentation:
    options = {
        "crop": (24, 32),
        "scale": (1.0, 1.0),
        "blur": 0.0,
        "color_jitter": 0.0,
        "mean": (0.5, 0.5, 0.5),
        "ignore_index": VOID,
    }
    return Augmentation(**{**options, **changes})


def crop_of(augment: Augmentation, source: Sample, seed: int):
    return augment.apply(source, augment.draw(source, np.random.default_rng(seed)))


def sample(height: int = 48, width: int = 64) -> Sample:
    """A sample whose label can be read off its colours."""
    label = np.random.default_rng(0).integers(0, 5, (height, width), np.uint8)
    return Sample("s", np.repeat(label[:, :, None] * 40, 3, axis=2), label)


def test_unscaled_crops_show_what_the_label_says():
    for seed in range(10):
        image, label = crop_of(augmentation(), sample(), seed)
        np.testing.assert_array_equal(image[:, :, 0], label * 40)


def test_crops_differ_and_some_are_mirrored():
    whole = augmentation(crop=(48, 64))
    source = sample()
    labels = [crop_of(whole, source, seed)[1] for seed in range(12)]
    mirrored = [np.array_equal(label, source.label[:, ::-1]) for label in labels]
    plain = [np.array_equal(label, source.label) for label in labels]
    assert any(mirrored)
    assert any(plain)
    assert all(a or b for a, b in zip(mirrored, plain, strict=True))


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    scale=st.floats(0.05, 3),
    crop=st.tuples(st.integers(1, 60), st.integers(1, 70)),
)
def test_any_scale_fills_the_crop(seed, scale, crop):
    image, label = crop_of(augmentation(scale=(scale, scale), crop=crop), sample(), seed)
    assert image.shape == (*crop, 3)
    assert label.shape == crop
    assert set(np.unique(label)) <= {0, 1, 2, 3, 4, VOID}


def test_outside_a_shrunken_image_is_mean_and_void():
    image, label = crop_of(augmentation(scale=(0.25, 0.25)), sample(), 1)
    outside = label == VOID
    assert outside.sum() == 24 * 32 - 12 * 16
    assert (image[outside] == 128).all()


def test_the_same_generator_state_gives_the_same_crop():
    busy = augmentation(scale=(0.5, 2.0), blur=1.0, color_jitter=0.3)
    first = crop_of(busy, sample(), 5)
    second = crop_of(busy, sample(), 5)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


@pytest.mark.parametrize("change", [{"blur": 1.0}, {"color_jitter": 0.5}])
def test_blur_and_jitter_change_pixels_and_leave_labels(change):
    source = sample()
    plain = crop_of(augmentation(crop=(48, 64)), source, 3)
    changed = crop_of(augmentation(crop=(48, 64), **change), source, 3)
    assert not np.array_equal(plain[0], changed[0])
    assert np.array_equal(np.sort(plain[1].ravel()), np.sort(changed[1].ravel()))


def test_labels_of_another_size_are_resized_to_the_image():
    label = np.zeros((24, 32), np.uint8)
    label[:, 16:] = 1
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, 32:] = 255
    crop, target = crop_of(augmentation(crop=(48, 64)), Sample("s", image, label), 0)
    np.testing.assert_array_equal(crop[:, :, 0] > 127, target == 1)
