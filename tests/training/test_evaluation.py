"""Evaluation of a network with a known answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from deal.training.data import Sample
from deal.training.difficulty import WithDifficulty
from deal.training.evaluation import evaluate


class FirstChannels(nn.Module):
    """Logits are the image's own channels, scaled."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.02))

    def forward(self, image):
        return self.scale * image.float()


def module_and_samples():
    module = WithDifficulty(FirstChannels(), 3)
    rng = np.random.default_rng(4)
    images = rng.integers(0, 256, (3, 12, 16, 3), np.uint8)
    labels = images.argmax(axis=3).astype(np.uint8)
    flip = rng.random(labels.shape) < 0.3
    labels[flip] = (labels[flip] + 1) % 3
    labels[:, 0] = 255
    return module, [Sample(str(i), images[i], labels[i]) for i in range(3)]


def test_scores_agree_with_numpy_over_all_labeled_pixels():
    module, samples = module_and_samples()
    result = evaluate(module, samples, ignore_index=255, align_corners=True)
    z = np.concatenate([s.image.reshape(-1, 3) for s in samples]) * 0.02
    label = np.concatenate([s.label.ravel() for s in samples])
    z, label = z[label != 255], label[label != 255]
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    prediction = z.argmax(1)
    wrong = prediction != label
    assert result.accuracy == pytest.approx(1 - wrong.mean())
    ious = [
        ((prediction == c) & (label == c)).sum() / ((prediction == c) | (label == c)).sum()
        for c in range(3)
    ]
    np.testing.assert_allclose(result.iou, ious)
    assert result.miou == pytest.approx(np.mean(ious))
    ordered = np.sort(p, axis=1)
    scores = {
        "entropy": -(p * np.log(p)).sum(1),
        "margin": 1 - (ordered[:, 2] - ordered[:, 1]),
        "least-confidence": 1 - ordered[:, 2],
    }
    for name, score in scores.items():
        difference = score[wrong][:, None] - score[~wrong][None]
        auroc = np.mean((difference > 0) + 0.5 * (difference == 0))
        assert result.auroc[name] == pytest.approx(auroc, abs=2e-3)


def test_difficulty_that_knows_the_hard_class_beats_a_constant():
    module, samples = module_and_samples()
    with torch.no_grad():
        module.difficulty.weight.zero_()
    constant = evaluate(module, samples, ignore_index=255, align_corners=True)
    assert constant.auroc["difficulty"] == pytest.approx(0.5)
    hard = [
        Sample(s.name, s.image, np.where(s.image.argmax(2) == 2, 0, s.image.argmax(2)))
        for s in samples
    ]
    with torch.no_grad():
        module.difficulty.weight.copy_(torch.tensor([0.0, 0.0, 4.0]))
    assert evaluate(module, hard, ignore_index=255, align_corners=True).auroc["difficulty"] > 0.95


def test_perfect_predictions_have_no_auroc():
    module, samples = module_and_samples()
    perfect = [Sample(s.name, s.image, s.image.argmax(2).astype(np.uint8)) for s in samples]
    result = evaluate(module, perfect, ignore_index=255, align_corners=True)
    assert result.miou == 1
    assert set(result.auroc.values()) == {None}
    assert result.to_dict(["a", "b", "c"])["iou"] == {"a": 1, "b": 1, "c": 1}
