"""The bound of what unscored images may be worth: its parts by other ways, and its coverage."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate, stats

from deal.run.bound import Evidence, Residuals, fitted, kept_by_more, share_needed

Floats = NDArray[np.float64]
POOLS = 200
SIZE, SAMPLE, BUDGET, STEP, GOAL = 600, 40, 30, 16, 0.98
CONFIDENCE = 0.95


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
    """The bound of the chance to exceed ``grid``, by SciPy's distributions and loops."""
    ordered, n = np.sort(values)[::-1], len(values)
    tail = max(8, round(n / 10))
    start, certain = ordered[tail], stats.norm.cdf(0.674)
    share = stats.binomtest(tail, n).proportion_ci(2 * certain - 1, method="wilson").high
    rate = 2 * tail / stats.chi2.ppf(1 - certain, 2 * tail)  # of the gamma distribution
    over = ordered[:tail] - start
    scale = rate * max(np.mean(over), np.sqrt(np.mean(over**2) / 2))
    met = (n - np.searchsorted(ordered[::-1], grid, side="right")) * share / tail
    return np.where(grid < start, met, share * np.exp(-(grid - start) / scale))


@pytest.mark.parametrize("need", [-1.0, 0.05, 0.6, 1.7, 4.0])
@pytest.mark.parametrize("count", [20, 150])
def test_the_excess_is_the_integral_of_the_chance(need: float, count: int) -> None:
    values = np.random.default_rng(2).normal(size=count)
    grid = np.linspace(need, 30, 300_001)
    found = chance(values, grid)
    mean = integrate.trapezoid(found, grid)
    second = integrate.trapezoid(2 * (grid - need) * found, grid)
    got = Residuals(values).excess(np.array([need, need]), np.ones(2))
    assert got == pytest.approx((2 * mean, 2 * second), rel=1e-2)
    wide = Residuals(values).excess(np.array([3 * need]), np.full(1, 3.0))
    assert wide == pytest.approx((3 * mean, 9 * second), rel=1e-2)


def test_a_sample_that_is_too_small_bounds_nothing() -> None:
    assert Residuals(np.zeros(11)).excess(np.ones(3), np.ones(3)) == (math.inf, math.inf)
    assert Residuals(np.zeros(11)).excess(np.empty(0), np.empty(0)) == (0.0, 0.0)
    assert Residuals(np.zeros(40)).excess(np.ones(3), np.ones(3)) == (0.0, 0.0)


def test_the_usual_residual_grows_with_the_forecast_or_is_the_same_for_all() -> None:
    forecasts = np.linspace(0, 1, 400)
    noise, every = np.random.default_rng(5).normal(size=400), np.ones(400, bool)
    growing = Evidence(forecasts, forecasts * noise, every).spread()(np.array([0.0, 0.5, 1.0]))
    mean = np.abs(forecasts * noise).mean()
    assert growing == pytest.approx((mean / 2, 0.4, 0.8), rel=0.1)
    falling = Evidence(forecasts, (1 - forecasts) * noise, every).spread()(np.array([0.0, 1.0]))
    assert falling[0] == falling[1] > 0
    assert Evidence(forecasts, 0 * noise, every).spread()(np.zeros(2)).tolist() == [1, 1]


def test_the_worst_of_all_that_is_known_counts() -> None:
    forecasts = np.linspace(1, 0, 400)
    small = 0.01 * np.random.default_rng(4).normal(size=400)
    is_sample = np.arange(400) % 10 == 0
    picks = np.full(20, 1.3)

    def kept(residuals: Floats) -> float:
        return kept_by_more(picks, forecasts[:300], Evidence(forecasts, residuals, is_sample))(0)

    calm = kept(small)
    assert calm > 0.99
    assert kept(np.where(is_sample, 30 * small, small)) < calm - 0.01  # wrong in the whole sample
    assert kept(np.where(forecasts > 0.8, 30 * small, small)) < calm - 0.01  # wrong near the cut
    assert kept(np.where(forecasts < 0.5, 90 * small, small)) < calm - 0.01  # wrong far from it


def test_the_sample_says_how_much_of_a_pool_is_needed() -> None:
    rng = np.random.default_rng(6)
    forecasts = np.sort(rng.gamma(9, 1 / 9, 120))
    every = np.ones(120, bool)

    def share(noise: float, goal: float) -> float:
        residuals = noise * np.random.default_rng(7).normal(size=120)
        return share_needed(Evidence(forecasts, residuals, every), 50, 1000, goal)

    assert share(0.0, 0.99) < 0.06
    assert 0 < share(0.2, 0.95) < share(0.2, 0.99) < 1
    assert share(5.0, 0.99) == 1
    nothing = Evidence(np.empty(0), np.empty(0), np.empty(0, bool))
    assert share_needed(nothing, 50, 1000, 0.9) == 1
    assert kept_by_more(np.ones(5), np.zeros(30), nothing)(0) == 0
    assert kept_by_more(np.ones(5), np.zeros(30), nothing)(30) == 1


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


def screen(x: Floats, y: Floats, rng: np.random.Generator) -> tuple[float, float]:
    """Screen a pool as a run does: the true share, and the share scored exactly."""
    exact = np.zeros(len(x), bool)
    exact[rng.permutation(len(x))[:SAMPLE]] = True
    sample = exact.copy()
    line = fitted(x[sample], y[sample])
    forecasts = line(x)
    while True:
        values = np.where(exact, y, forecasts)
        top = np.argsort(-values)[:BUDGET]
        left = np.flatnonzero(~exact)
        left = left[np.argsort(-forecasts[left])]
        evidence = Evidence(forecasts[exact], (y - forecasts)[exact], sample[exact])
        kept = kept_by_more(values[top], forecasts[left], evidence)
        if kept(0) >= GOAL and exact[top].all():
            best = np.sort(y)[::-1][:BUDGET]
            return float(y[top].sum() / best.sum()), float(exact.mean())
        enough = bisect.bisect_left(range(len(left)), GOAL, key=kept)
        exact[left[: max(enough, STEP)]] = True
        exact[top] = True


def test_the_promise_is_kept_in_95_of_100_resampled_pools() -> None:
    rng = np.random.default_rng(3)
    held: dict[str, list[bool]] = {shape: [] for shape in SHAPES}
    shares: dict[str, list[float]] = {shape: [] for shape in SHAPES}
    for pool in range(POOLS):
        shape = list(SHAPES)[pool % len(SHAPES)]
        hidden = rng.gamma(9, 1 / 9, SIZE)
        y = np.maximum(hidden + SHAPES[shape](rng, hidden), 0)
        true, share = screen(hidden, y, rng)
        held[shape].append(true >= GOAL)
        shares[shape].append(share)
    everything = [one for found in held.values() for one in found]
    assert len(everything) == POOLS
    assert np.mean(everything) >= CONFIDENCE
    assert {n: np.mean(f) for n, f in held.items() if np.mean(f) < 0.9} == {}
    assert np.mean(shares["normal"]) < 0.15  # a bound that asks for everything would be true, too
    assert np.mean(shares["exact"]) < 0.13
    assert np.mean(shares["unrelated"]) > 0.8
