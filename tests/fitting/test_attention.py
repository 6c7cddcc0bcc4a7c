"""Attention averages against the oracle, by the kernel and by all pairs."""

from __future__ import annotations

import numpy as np
import pytest

from deal.fitting.attention import attention_means, pair_means
from deal.model.head import DifficultyHead
from tests.oracle import reference


@pytest.mark.parametrize("classes", [2, 11, 24, 25, 60])
@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("uncertainty", [False, True])
def test_averages_make_up_the_difficulty_of_any_head(classes, align_corners, uncertainty):
    rng = np.random.default_rng(classes)
    logits = rng.normal(scale=3, size=(1, classes, 12, 15)).astype(np.float32)
    extra = rng.normal(size=classes) if uncertainty else None
    head = DifficultyHead(-1.5, rng.normal(size=classes), 0.3, (17, 19), extra)
    features, average = attention_means(logits, head.grid, align_corners, None, uncertainty)
    weight = np.concatenate([head.weight, head.uncertainty_weight or ()])
    assert len(features) == len(average) == len(weight)
    a = np.tensordot(weight, head.gamma * average + features, axes=1) + head.bias
    oracle = reference.difficulty_grid(logits, head, align_corners)[0]
    np.testing.assert_allclose(a, oracle, atol=3e-5 * np.ptp(weight))
    np.testing.assert_allclose(average[:classes].sum(axis=0), 1, atol=3e-5)


def test_the_weights_of_pairs_may_be_any_function_of_their_product():
    p = np.random.default_rng(0).dirichlet(np.ones(4), 700).T.astype(np.float32)
    weights = (1 + p.T @ p) ** 3
    expected = p @ weights.T / weights.sum(axis=1)
    np.testing.assert_allclose(pair_means(p, p, lambda x: (1 + x) ** 3), expected, atol=1e-6)
