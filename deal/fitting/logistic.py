"""The head's numbers from examples: logistic regression inside a search over gamma.

Before the sigmoid, the difficulty of a raster pixel is linear in its features for a given gamma::

    a = w · (f + gamma · A) + b

with ``f`` the class probabilities p (and their variances p(1 − p)) of the attention grid's cells
and ``A`` their attention averages, both resized to the pixel (resizing is linear, so it commutes
with ``w``). Fitting w and b is convex: Newton's method. The loss is that of training
(docs/explanation/mathematics.md): right and wrong pixels each by their own mean, weighted
∝ 1/√(n+1).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

__all__ = ["Examples", "HeadNumbers", "fit_linear", "fit_numbers"]

Float64 = NDArray[np.float64]

GAMMAS = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Where the search starts: gamma is 0 to 1 in heads that were trained with their network."""

_RIDGE = 1e-5
_MAX_STEPS = 50
_MIN_STEP = 1e-12
_DECREMENT = 1e-12
_GOLDEN = (math.sqrt(5) - 1) / 2
_GAMMA_TOLERANCE = 1e-2
# Rows per step. With so few, BLAS uses one thread, several times faster with few classes.
_BLOCK = 512


@dataclass(frozen=True)
class Examples:
    """Sampled pixels.

    Attributes
    ----------
    features, average : ndarray of float32 [n, F]
        ``f`` and ``A``.
    wrong : ndarray of bool [n]
    pixels : ndarray of float64 [n]
        How many pixels of its image and kind an example stands for.
    """

    features: NDArray[np.float32]
    average: NDArray[np.float32]
    wrong: NDArray[np.bool_]
    pixels: Float64

    def first(self, count: int) -> Examples:
        """The same examples with only the first features."""
        return replace(self, features=self.features[:, :count], average=self.average[:, :count])

    def weights(self) -> Float64:
        """Weight of each example in the loss [n]; they sum to 1."""
        counts = np.array([self.pixels[~self.wrong].sum(), self.pixels[self.wrong].sum()])
        kinds = 1 / np.sqrt(counts + 1)
        kinds /= kinds.sum()
        return np.asarray(self.pixels * (kinds / counts)[self.wrong.astype(np.int64)])


@dataclass(frozen=True)
class HeadNumbers:
    """A fitted head and its loss on the examples (ridge left out)."""

    gamma: float
    weight: Float64
    bias: float
    loss: float


def fit_numbers(examples: Examples) -> tuple[HeadNumbers, HeadNumbers]:
    """Fit a head, and one without attention.

    The loss is convex in w and b but not in gamma, so gamma is searched: on a coarse grid, then by
    golden section around its best point, to 0.01.

    Parameters
    ----------
    examples : Examples
        Of both kinds.

    Returns
    -------
    HeadNumbers
        The best head found; on the examples it is never worse than the other.
    HeadNumbers
        The head with gamma = 0.
    """
    found: dict[float, tuple[float, Float64]] = {}
    start = np.zeros(examples.features.shape[1] + 1)

    def loss(gamma: float) -> float:
        if gamma not in found:
            # Two or three steps are enough from the nearest solution.
            near = min(found, key=lambda other: abs(other - gamma), default=None)
            found[gamma] = fit_linear(examples, gamma, start if near is None else found[near][1])
        return found[gamma][0]

    best = min(range(len(GAMMAS)), key=lambda index: loss(GAMMAS[index]))
    low, high = GAMMAS[max(best - 1, 0)], GAMMAS[min(best + 1, len(GAMMAS) - 1)]
    _golden_section(loss, low, high)
    gamma = min(found, key=lambda gamma: (found[gamma][0], abs(gamma)))
    return _numbers(examples, gamma, found), _numbers(examples, 0.0, found)


def _numbers(
    examples: Examples, gamma: float, found: dict[float, tuple[float, Float64]]
) -> HeadNumbers:
    penalised, theta = found[gamma]
    weight = theta[:-1]
    return HeadNumbers(gamma, weight, float(theta[-1]), penalised - _ridge(weight))


def fit_linear(examples: Examples, gamma: float, start: Float64) -> tuple[float, Float64]:
    """Minimise the loss over w and b by Newton's method.

    F is the number of features. A ridge of 1e-5/2·|w|² makes the solution unique: probabilities
    sum to 1, so that a constant could move between w and b.

    Parameters
    ----------
    examples : Examples
    gamma : float
    start : ndarray of float64 [F + 1]
        Weights, then bias.

    Returns
    -------
    loss : float
        With the ridge.
    theta : ndarray of float64 [F + 1]
    """
    weights = examples.weights()
    theta = start
    value, gradient, hessian = _derivatives(examples, weights, gamma, theta)
    for _ in range(_MAX_STEPS):
        direction = np.linalg.solve(hessian, gradient)
        decrement = float(gradient @ direction)
        if decrement < _DECREMENT:
            break
        step = 1.0
        while True:
            moved = theta - step * direction
            at = _derivatives(examples, weights, gamma, moved)
            if at[0] <= value - 0.25 * step * decrement:
                theta, (value, gradient, hessian) = moved, at
                break
            step /= 2
            if step < _MIN_STEP:  # rounding leaves nothing to gain
                return value, theta
    return value, theta


def _derivatives(
    examples: Examples, weights: Float64, gamma: float, theta: Float64
) -> tuple[float, Float64, Float64]:
    """Loss with ridge, gradient [F+1] and Hessian [F+1, F+1]."""
    size = len(theta)
    value, gradient, hessian = 0.0, np.zeros(size), np.zeros((size, size))
    for begin in range(0, len(weights), _BLOCK):
        rows = slice(begin, begin + _BLOCK)
        x = np.ones((len(weights[rows]), size))
        np.multiply(examples.average[rows], gamma, out=x[:, :-1])
        x[:, :-1] += examples.features[rows]
        a = x @ theta
        wrong, weight = examples.wrong[rows], weights[rows]
        # log(1 + e^±a) and the sigmoid from one exponential that cannot overflow
        power = np.exp(-np.abs(a))
        value += float(weight @ (np.maximum(np.where(wrong, -a, a), 0) + np.log1p(power)))
        difficulty = np.where(a >= 0, 1, power) / (1 + power)
        gradient += (weight * (difficulty - wrong)) @ x
        hessian += (x * (weight * difficulty * (1 - difficulty))[:, None]).T @ x
    gradient[:-1] += _RIDGE * theta[:-1]
    hessian[range(size - 1), range(size - 1)] += _RIDGE
    hessian[-1, -1] += 1e-12  # certain examples leave the bias no curvature
    return value + _ridge(theta[:-1]), gradient, hessian


def _ridge(weight: Float64) -> float:
    return float(_RIDGE / 2 * (weight @ weight))


def _golden_section(loss: Callable[[float], float], low: float, high: float) -> None:
    """Evaluate a function ever closer to a minimum between low and high."""
    width = _GOLDEN * (high - low)
    left, right = high - width, low + width
    while high - low > _GAMMA_TOLERANCE:
        if loss(left) <= loss(right):
            high, right = right, left
            left = high - _GOLDEN * (high - low)
        else:
            low, left = left, right
            right = low + _GOLDEN * (high - low)
