"""How much images that were only screened may be worth, from a sample that was scored both ways.

Let ``x`` be the screen's scores, ``y`` the exact ones, and ``f`` a line through the sample. Below a
cut of ``f(x)`` the sample's members there are as likely as any others, so their residuals
``y - f(x)`` tell how often an image that was not scored exceeds its forecast by ``s``: for the
``j`` largest residuals by the bound of Clopper and Pearson, which assumes nothing of their
distribution. Beyond the largest one the chance is taken to fall as a power of ``s``.
`docs/explanation/screening.md` says why, and what that assumes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["CONFIDENCE", "Line", "Residuals", "fitted", "kept_by_more", "mean_kept"]

CONFIDENCE = 0.95
"""Of what is reported: so often at least it is true."""
_POWER = 4.0  # of the chance beyond the largest residual, as of Student's t with 4 degrees
_DEVIATIONS = 2.0  # by which the sum over images may exceed its expectation
_LEAST = 8  # residuals

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Line:
    """A forecast of exact scores: ``intercept + slope * screen``, with a slope of at least 0."""

    intercept: float
    slope: float

    def __call__(self, screen: Floats) -> Floats:
        """Forecasts, float64 [n]."""
        return np.asarray(self.intercept + self.slope * screen)


def fitted(screen: Floats, exact: Floats) -> Line:
    """The line of least squares through a sample, float64 [n] each."""
    centre, mean = float(screen.mean()), float(exact.mean())
    spread = float(((screen - centre) ** 2).sum())
    slope = 0.0 if spread == 0 else float(((screen - centre) * (exact - mean)).sum()) / spread
    slope = max(slope, 0.0)
    return Line(mean - slope * centre, slope)


class Residuals:
    """An upper bound of the chance that an image exceeds its forecast by ``s``, for every ``s``.

    Parameters
    ----------
    values : ndarray of float64 [n]
        Residuals of the members of a uniform sample.
    """

    def __init__(self, values: Floats) -> None:
        ordered = np.sort(values)[::-1]
        counts = [2**i for i in range(len(ordered).bit_length()) if 2**i <= len(ordered) / 2]
        miss = (1 - CONFIDENCE) / max(len(counts), 1)
        self.enough = len(ordered) >= _LEAST
        self._centre = float(np.median(ordered)) if len(ordered) else 0.0
        # Steps: from `at[j]` on, up to `at[j - 1]`, the chance is at most `chance[j]`.
        self._at = np.array([ordered[count - 1] for count in counts])
        self._chance = np.array([_most(count, len(ordered), miss) for count in counts])

    def excess(self, need: Floats) -> tuple[float, float]:
        """Expectation and variance, bounded, of the sum of excesses over ``need``, float64 [m].

        An image's excess is ``max(residual - need, 0)``.
        """
        if not len(need):
            return 0.0, 0.0
        if not self.enough:
            return math.inf, math.inf
        d = np.maximum(need, self._centre)
        given = d - need  # the chance below the centre is taken to be 1
        width = float(self._at[0]) - self._centre
        u, w = np.maximum(d - self._centre, width), width
        first, second = np.zeros(len(d)), np.zeros(len(d))
        if w > 0:
            # Integrals of chance(s) and of 2 (s - d) chance(s) from the largest residual on.
            tail = self._chance[0] * (w / u) ** _POWER
            lag = u - (d - self._centre)  # from d to where the tail begins
            one, two = u / (_POWER - 1), 2 * u**2 / ((_POWER - 1) * (_POWER - 2))
            first += tail * one
            second += tail * (two + 2 * lag * one)
        above = self._at[:-1], self._at[1:], self._chance[1:]
        steps = [*zip(*above, strict=True), (self._at[-1], self._centre, 1.0)]
        for high, low, chance in steps:
            far, near = np.maximum(high - d, 0), np.maximum(low - d, 0)
            first += chance * (far - near)
            second += chance * (far**2 - near**2)
        # Of d itself: E[(r - need)+²] with need below the centre.
        second += given * 2 * first + given**2
        first += given
        return float(first.sum()), float(second.sum())


@cache
def _most(count: int, of: int, miss: float) -> float:
    """The largest share of a pool of which ``count`` in a sample of ``of`` are exceeded by chance.

    ``count`` values of the sample lie at or above its ``count``-th largest one; the share of the
    pool above it is beta distributed.
    """
    low, high = count / of, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _below(count, of, middle) > miss:
            low = middle
        else:
            high = middle
    return high


def _below(count: int, of: int, share: float) -> float:
    """Chance that fewer than ``count`` of ``of`` draws hit a share of the pool."""
    if share >= 1:
        return 0.0
    logs = (math.log(share), math.log1p(-share))
    total = 0.0
    for hits in range(count):
        ways = math.lgamma(of + 1) - math.lgamma(hits + 1) - math.lgamma(of - hits + 1)
        total += math.exp(ways + hits * logs[0] + (of - hits) * logs[1])
    return total


def mean_kept(
    picked: float, least: float, forecasts: Floats, residuals: Residuals, times: float = 1.0
) -> float:
    """Lower bound of the sum of the picks' scores, divided by the largest possible sum.

    Parameters
    ----------
    picked : float
        Sum of the picks' exact scores.
    least : float
        The least of them: an image that was not scored can replace a pick only if it exceeds it.
    forecasts : ndarray of float64 [m]
        Of the images that were not scored.
    residuals : Residuals
        Of the sample's members that lie where those images lie.
    times : float
        How many images each forecast stands for.
    """
    mean, variance = residuals.excess(least - forecasts)
    most = times * mean + _DEVIATIONS * math.sqrt(times * variance)
    if not math.isfinite(most):
        return 0.0
    return picked / (picked + most) if picked > 0 else float(most <= 0)


def kept_by_more(
    picks: Floats,
    forecasts: Floats,
    of_sample: Floats,
    exact: Floats,
    others: Floats,
    times: float = 1.0,
) -> Callable[[int], float]:
    """`mean_kept` as a function of how many more images are scored exactly, best forecasts first.

    The smallest of three bounds counts: by the residuals of the sample's members whose forecasts
    are no better than what is left, by those of the whole sample, and by those of all images that
    are scored exactly. The last two are larger, and so more likely to have met what is rare.

    Parameters
    ----------
    picks : ndarray of float64 [k]
        Exact scores of the picks, which stay as they are.
    forecasts : ndarray of float64 [m]
        Of the images that are not scored exactly, descending.
    of_sample, exact : ndarray of float64 [n]
        Forecasts and exact scores of a uniform sample.
    others : ndarray of float64 [e]
        Residuals of all images that are scored exactly.
    times : float
        How many images each forecast stands for.
    """
    total, least = float(picks.sum()), float(picks.min(initial=math.inf))
    residuals = exact - of_sample
    known = (Residuals(residuals), Residuals(others))

    def kept(more: int) -> float:
        left = forecasts[more:]
        if not len(left) or not len(picks):
            return 1.0
        below = Residuals(residuals[of_sample <= left[0]])
        return min(mean_kept(total, least, left, one, times) for one in (*known, below))

    return kept
