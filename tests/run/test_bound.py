"""The bound of what unscored images may be worth: its parts by other ways, and its coverage."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate, stats

from deal.run.bound import CONFIDENCE, Residuals, fitted, kept_by_more

Floats = NDArray[np.float64]
POOLS = 200
SIZE, SAMPLE, BUDGET, GOAL = 600, 100, 30, 0.98


def test_the_forecast_is_the_line_of_least_squares() -> None:
    rng = np.random.default_rng(1)
    x = rng.random(50)
    y = 0.3 + 2 * x + rng.normal(size=50)
    slope, intercept = np.polyfit(x, y, 1)
    line = fitted(x, y)
    assert (line.slope, line.intercept) == pytest.approx((slope, intercept))
    assert fitted(x, -y).slope == 0  # a forecast never turns the screen's order around
    assert fitted(np.ones(5), np.arange(5.0))(np.ones(1)) == 2


def chance(values: Floats, grid: Floats) -> Floats:
    """The bound of the chance to exceed ``grid``, by the beta distribution of order statistics."""
    ordered, n, centre = np.sort(values)[::-1], len(values), np.median(values)
    counts = [2**i for i in range(20) if 2**i <= n / 2]
    miss = (1 - CONFIDENCE) / len(counts)
    most = [stats.beta.ppf(1 - miss, count, n - count + 1) for count in counts]
    found = np.ones(len(grid))
    for count, bound in zip(counts, most, strict=True):
        found = np.where(grid > ordered[count - 1], np.minimum(found, bound), found)
    tail = most[0] * ((ordered[0] - centre) / np.maximum(grid - centre, 1e-9)) ** 4
    return np.where(grid <= centre, 1.0, np.where(grid > ordered[0], tail, found))


@pytest.mark.parametrize("need", [-1.0, 0.05, 0.6, 1.7, 4.0])
def test_the_excess_is_the_integral_of_the_bounded_chance(need: float) -> None:
    values = np.random.default_rng(2).normal(size=50)
    grid = np.concatenate([np.linspace(need, 8, 100_001), 8 + np.geomspace(1e-9, 1e5, 4001)])
    found = chance(values, grid)
    mean = integrate.trapezoid(found, grid)
    second = integrate.trapezoid(2 * (grid - need) * found, grid)
    got = Residuals(values).excess(np.array([need, need]))
    assert got == pytest.approx((2 * mean, 2 * second), rel=2e-3)


def test_a_sample_that_is_too_small_bounds_nothing() -> None:
    assert Residuals(np.zeros(7)).excess(np.ones(3)) == (math.inf, math.inf)
    assert Residuals(np.zeros(7)).excess(np.empty(0)) == (0.0, 0.0)
    assert Residuals(np.zeros(40)).excess(np.ones(3)) == (0.0, 0.0)


SHAPES: dict[str, Callable[[np.random.Generator, Floats], Floats]] = {
    "normal": lambda rng, z: 0.03 * rng.normal(size=len(z)),
    "laplace": lambda rng, z: 0.03 * rng.laplace(size=len(z)),
    "uniform": lambda rng, z: 0.1 * rng.random(len(z)),
    "student": lambda rng, z: 0.03 * rng.standard_t(4, len(z)),
    "lognormal": lambda rng, z: 0.02 * rng.lognormal(size=len(z)),
    "wide at the top": lambda rng, z: 0.06 * z * rng.normal(size=len(z)),
    "wide at the bottom": lambda rng, z: 0.06 * (1.5 - z).clip(0) * rng.normal(size=len(z)),
    "unrelated": lambda rng, z: 0.5 * rng.normal(size=len(z)),
    "exact": lambda rng, z: np.zeros(len(z)),
    "weak": lambda rng, z: 0.15 * rng.normal(size=len(z)),
}


def screen(x: Floats, y: Floats, rng: np.random.Generator) -> tuple[float, float, float]:
    """Screen a pool as a run does: the bound, the true share, and the share scored exactly."""
    exact = np.zeros(len(x), bool)
    exact[rng.permutation(len(x))[:SAMPLE]] = True
    sample = np.flatnonzero(exact)
    line = fitted(x[sample], y[sample])
    forecasts = line(x)
    while True:
        values = np.where(exact, y, forecasts)
        top = np.argsort(-values)[:BUDGET]
        left = np.flatnonzero(~exact)
        left = left[np.argsort(-forecasts[left])]
        others = (y - forecasts)[exact]
        kept = kept_by_more(values[top], forecasts[left], forecasts[sample], y[sample], others)
        if kept(0) >= GOAL and exact[top].all():
            best = np.sort(y)[::-1][:BUDGET]
            return kept(0), float(y[top].sum() / best.sum()), float(exact.mean())
        more = next((m for m in range(0, len(left), 16) if kept(m) >= GOAL), len(left))
        exact[left[:more]] = True
        exact[top] = True


def test_the_bound_is_true_in_95_of_100_resampled_pools() -> None:
    rng = np.random.default_rng(3)
    held: dict[str, list[bool]] = {shape: [] for shape in SHAPES}
    shares: dict[str, list[float]] = {shape: [] for shape in SHAPES}
    for pool in range(POOLS):
        shape = list(SHAPES)[pool % len(SHAPES)]
        hidden = rng.gamma(9, 1 / 9, SIZE)
        y = np.maximum(hidden + SHAPES[shape](rng, hidden), 0)
        bound, true, share = screen(hidden, y, rng)
        assert bound >= GOAL
        held[shape].append(true >= bound - 1e-12)
        shares[shape].append(share)
    everything = [one for found in held.values() for one in found]
    assert len(everything) == POOLS
    assert np.mean(everything) >= CONFIDENCE
    assert {n: np.mean(f) for n, f in held.items() if np.mean(f) < 0.9} == {}
    assert np.mean(shares["normal"]) < 0.35  # a bound that asks for everything would be true, too
    assert np.mean(shares["exact"]) < 0.22
    assert np.mean(shares["unrelated"]) > 0.8
