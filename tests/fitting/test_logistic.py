"""Fitting the head's numbers: found again from examples that a known head made."""

from __future__ import annotations

import numpy as np
import pytest

from deal.fitting.logistic import Examples, fit_linear, fit_numbers

C = 4


def examples(n=6000, gamma=0.8, seed=0) -> Examples:
    """Pixels that are wrong with the probability a known head gives them."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(C, 0.5), n).astype(np.float32)
    average = rng.dirichlet(np.full(C, 3.0), n).astype(np.float32)
    weight, bias = np.array([3.0, -2.0, 1.0, -1.0]), -0.3
    a = (p + gamma * average) @ weight + bias
    return Examples(p, average, rng.random(n) < 1 / (1 + np.exp(-a)), np.ones(n))


def loss(found: Examples, gamma: float, theta: np.ndarray) -> float:
    """The training loss as docs/explanation/mathematics.md writes it, kind by kind."""
    a = (found.features + gamma * found.average).astype(np.float64) @ theta[:-1] + theta[-1]
    difficulty = 1 / (1 + np.exp(-a))
    wrong, pixels = found.wrong, found.pixels
    counts = [pixels[wrong].sum(), pixels[~wrong].sum()]
    kinds = 1 / np.sqrt(np.array(counts) + 1)
    kinds /= kinds.sum()
    means = [
        (pixels * -np.log(difficulty))[wrong].sum() / counts[0],
        (pixels * -np.log(1 - difficulty))[~wrong].sum() / counts[1],
    ]
    return float(kinds @ means)


def test_the_head_that_made_the_errors_is_found_again():
    found = examples(30_000)
    head, _ = fit_numbers(found)
    assert head.gamma == pytest.approx(0.8, abs=0.2)
    difference = np.diff(head.weight)  # a constant could move between weights and bias
    np.testing.assert_allclose(difference, np.diff([3.0, -2.0, 1.0, -1.0]), atol=0.3)


def test_the_loss_is_that_of_training():
    found = examples()
    pixels = np.random.default_rng(1).uniform(1, 9, len(found.wrong))
    found = Examples(found.features, found.average, found.wrong, pixels)
    head, plain = fit_numbers(found)
    for numbers in (head, plain):
        theta = np.append(numbers.weight, numbers.bias)
        assert numbers.loss == pytest.approx(loss(found, numbers.gamma, theta), rel=1e-9)
    assert plain.gamma == 0
    assert head.loss <= plain.loss


def test_no_nearby_weights_are_better():
    found = examples()
    best, theta = fit_linear(found, 0.5, np.zeros(C + 1))
    ridge = 0.5e-5
    assert best == pytest.approx(loss(found, 0.5, theta) + ridge * theta[:-1] @ theta[:-1])
    rng = np.random.default_rng(2)
    for _ in range(20):
        near = theta + 0.01 * rng.normal(size=C + 1)
        assert loss(found, 0.5, near) + ridge * near[:-1] @ near[:-1] >= best


def test_where_it_starts_does_not_matter():
    found = examples()
    near, far = (fit_linear(found, 1.0, np.full(C + 1, start))[1] for start in (0.0, 8.0))
    np.testing.assert_allclose(near, far, atol=1e-5)


def test_a_gamma_beside_the_one_found_is_not_better():
    found = examples()
    head, _ = fit_numbers(found)
    start = np.append(head.weight, head.bias)
    losses = [fit_linear(found, gamma, start)[0] for gamma in (head.gamma - 0.2, head.gamma + 0.2)]
    assert min(losses) > fit_linear(found, head.gamma, start)[0]


def test_examples_count_as_often_as_the_pixels_they_stand_for():
    found = examples(400)
    twice = np.where(found.wrong, 3, 2)
    repeated = Examples(
        np.repeat(found.features, twice, axis=0),
        np.repeat(found.average, twice, axis=0),
        np.repeat(found.wrong, twice),
        np.ones(twice.sum()),
    )
    weighted = Examples(found.features, found.average, found.wrong, twice.astype(float))
    thetas = [fit_linear(each, 0.3, np.zeros(C + 1))[1] for each in (repeated, weighted)]
    np.testing.assert_allclose(*thetas, atol=1e-8)


def test_examples_that_can_be_told_apart_keep_finite_weights():
    p = np.eye(C, dtype=np.float32)[np.arange(80) % C]
    found = Examples(p, np.full((80, C), 0.25, np.float32), p[:, 0] > 0.5, np.ones(80))
    head, _ = fit_numbers(found)
    assert np.isfinite(head.weight).all()
    assert head.weight[0] > head.weight[1:].max() + 5
