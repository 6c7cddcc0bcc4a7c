"""Batches made on a device show what Pillow makes of the same draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from deal.training.augment import Augmentation
from deal.training.batches import DeviceBatches, HostBatches, batch_maker
from deal.training.data import Sample

VOID = 200
CPU = torch.device("cpu")


def samples(label_sizes=((60, 80),) * 4) -> list[Sample]:
    """Smooth pictures with fine detail, and labels of their own sizes."""
    rng = np.random.default_rng(0)
    made = []
    for number, size in enumerate(label_sizes):
        coarse = rng.integers(0, 256, (6, 8, 3), np.uint8)
        smooth = np.array(Image.fromarray(coarse).resize((80, 60), Image.Resampling.BICUBIC))
        noisy = smooth + rng.normal(0, 12, smooth.shape)
        image = np.clip(noisy, 0, 255).astype(np.uint8)
        made.append(Sample(str(number), image, rng.integers(0, 11, size, np.uint8)))
    return made


def both(changes, source=None, seeds=range(12)):
    """Images [n, 3, h, w] and labels [n, h, w] of host and device for the same draws."""
    options = {
        "crop": (40, 56),
        "scale": (1.0, 1.0),
        "blur": 0.0,
        "color_jitter": 0.0,
        "mean": (0.485, 0.456, 0.406),
        "ignore_index": VOID,
    }
    source = source or samples()
    augment = Augmentation(**{**options, **changes})
    indices = [seed % len(source) for seed in seeds]
    draws = [(7, seed) for seed in seeds]
    return (maker(source, augment, CPU)(indices, draws) for maker in (HostBatches, DeviceBatches))


@pytest.mark.parametrize(
    ("changes", "largest", "mean"),
    [
        ({}, 0, 0.0),
        ({"scale": (1.2, 2.5)}, 1, 0.3),
        ({"scale": (0.3, 0.9)}, 1, 0.3),
        ({"scale": (0.5, 2.0), "crop": (90, 70)}, 1, 0.3),
        ({"scale": (0.5, 2.0), "color_jitter": 0.4}, 2, 0.5),
        # Pillow's blur is three boxes, and of 8 bits.
        ({"blur": 1.0}, 16, 1.5),
    ],
    ids=["crop", "enlarge", "reduce", "pad", "jitter", "blur"],
)
def test_pixels_are_those_of_pillow_but_for_its_rounding(changes, largest, mean):
    (expected, _), (found, _) = both(changes)
    assert found.dtype == torch.uint8
    assert found.shape == expected.shape
    difference = (found.int() - expected.int()).abs()
    assert difference.max() <= largest
    assert difference.float().mean() <= mean


def edges(span, crop, mirrored, size, length):
    """Pixels of the crop whose centre lies on the edge of two pixels of the label: bool [crop]."""
    places = np.arange(crop)[::-1] if mirrored else np.arange(crop)
    step = (span.stop - span.start) / span.length
    centers = (span.start + (places - span.offset + 0.5) * step) * length / size
    return np.abs(centers - np.round(centers)) < 1e-4


@pytest.mark.parametrize("sizes", [[(60, 80)] * 4, [(60, 80), (120, 160), (30, 40), (60, 81)]])
@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.2, 0.9), (1.1, 3.0)])
@pytest.mark.parametrize("crop", [(40, 56), (97, 101)])
def test_labels_are_those_of_pillow_but_on_edges_of_their_pixels(scale, crop, sizes):
    source = samples(sizes)
    (_, expected), (_, found) = both({"scale": scale, "crop": crop}, source)
    augment = Augmentation(crop, scale, 0.0, 0.0, (0.5, 0.5, 0.5), VOID)
    assert torch.equal(found == VOID, expected == VOID)
    for seed, differs in enumerate((found != expected).numpy()):
        sample = source[seed % len(source)]
        draw = augment.draw(sample, np.random.default_rng((7, seed)))
        tied = (
            edges(draw.y, crop[0], False, 60, sample.label.shape[0])[:, None]
            | edges(draw.x, crop[1], draw.mirrored, 80, sample.label.shape[1])[None]
        )
        assert not differs[~tied].any()


def test_blur_is_that_of_a_gaussian():
    scipy = pytest.importorskip("scipy.ndimage")
    source = samples()[:1]
    augment = Augmentation((60, 80), (1.0, 1.0), 1.0, 0.0, (0.5, 0.5, 0.5), VOID)
    draw = augment.draw(source[0], np.random.default_rng((1,)))
    found = DeviceBatches(source, augment, CPU)([0], [(1,)])[0][0].permute(1, 2, 0).numpy()
    image = source[0].image[:, ::-1] if draw.mirrored else source[0].image
    expected = scipy.gaussian_filter(image.astype(float), (draw.radius, draw.radius, 0))
    inner = np.s_[8:-8, 8:-8]
    assert np.abs(found[inner] - expected[inner]).max() <= 1


def test_images_lie_in_channels_last_layout_on_both():
    for images, labels in both({}):
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert labels.dtype == torch.int64


def test_the_host_makes_batches_for_a_cpu():
    augment = Augmentation((8, 8), (1.0, 1.0), 0.0, 0.0, (0.5, 0.5, 0.5), VOID)
    assert isinstance(batch_maker(samples(), augment, CPU), HostBatches)
