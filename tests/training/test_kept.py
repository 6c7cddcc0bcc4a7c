"""Features of a frozen encoder that are kept for all runs."""

from __future__ import annotations

import numpy as np
import torch

from deal.training.data import Sample
from deal.training.kept import KeptFeatures
from deal.training.networks import build_network


def _samples(count=3, size=(48, 64)):
    rng = np.random.default_rng(0)
    return [
        Sample(f"{i}", rng.integers(0, 256, (*size, 3), np.uint8), np.zeros(size, np.uint8))
        for i in range(count)
    ]


def _kept(folder):
    torch.manual_seed(0)
    network = build_network("lite0", 3, width=0.1).eval()
    kept = KeptFeatures(network, _samples(), folder, "train")
    kept.compute()
    return network, kept


def test_a_decoder_gives_single_cells_the_logits_of_whole_maps(tmp_path):
    network, kept = _kept(tmp_path)
    height, width = kept.grid
    y, x = (each.ravel() for each in np.indices(kept.grid))
    images = np.full(len(y), 1)
    with torch.inference_mode():
        whole = network.decode(kept.maps([1]))[0]
        cells = network.decoder(kept.columns(images, y, x))[0, :, :, 0]
    torch.testing.assert_close(cells.reshape(3, height, width), whole, rtol=1e-4, atol=1e-4)


def test_maps_and_statistics_are_those_of_the_encoder_within_half_precision(tmp_path):
    network, kept = _kept(tmp_path)
    stacked = torch.from_numpy(np.stack([each.image for each in _samples()])).permute(0, 3, 1, 2)
    with torch.inference_mode():
        expected = network.backbone(network.normalization(stacked))
    for found, wanted in zip(kept.maps([0, 1, 2]), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=2e-3, atol=2e-3)
    for (mean, variance), wanted in zip(kept.statistics(), expected, strict=True):
        torch.testing.assert_close(mean, wanted.mean((0, 2, 3)), rtol=1e-2, atol=1e-3)
        torch.testing.assert_close(
            variance, wanted.var((0, 2, 3), unbiased=False), rtol=1e-2, atol=1e-3
        )


def test_the_file_depends_on_weights_and_images(tmp_path):
    network, kept = _kept(tmp_path)
    assert KeptFeatures(network, _samples(), tmp_path, "train").path == kept.path
    changed = _samples()
    changed[2].image[0, 0, 0] ^= 1
    assert KeptFeatures(network, changed, tmp_path, "train").path != kept.path
    other = build_network("lite0", 3, width=0.1).eval()
    assert KeptFeatures(other, _samples(), tmp_path, "train").path != kept.path


def test_cells_take_the_label_at_their_place_in_labels_of_any_size(tmp_path):
    _, kept = _kept(tmp_path)
    height, width = kept.grid
    label = np.arange(height, dtype=np.uint8)[:, None] * np.ones(width, np.uint8)
    np.testing.assert_array_equal(kept.label_at_cells(label), label)
    twice = np.zeros((2 * height - 1, 2 * width - 1), np.uint8)
    twice[::2, ::2] = label
    np.testing.assert_array_equal(kept.label_at_cells(twice), label)
