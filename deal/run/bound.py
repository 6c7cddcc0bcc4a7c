"""How much images that were only screened may be worth, from images that were scored both ways.

Let ``x`` be the screen's scores, ``y`` the exact ones, and ``f`` a line through a uniform sample.
Residuals ``y - f(x)`` of images that were scored exactly are divided by their usual size, which may
grow with ``f(x)``. They tell how often another image exceeds its forecast by ``s``: up to their
largest tenth, as often as they did; beyond, the chance is taken to fall exponentially, at the rate
of that tenth.
`docs/explanation/screening.md` says why, what that assumes, and how often it was true.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Evidence", "Line", "Residuals", "fitted", "kept_by_more", "mean_kept", "share_needed"]

_TAIL = 0.1  # of the residuals: the largest ones, from which the tail is drawn
_LEAST_TAIL = 8  # residuals in it
_LEAST = 12  # residuals in all
_MARGIN = 0.674  # deviations that a share and a rate are taken to be off: 75 % of a normal one
_DEVIATIONS = 2.0  # by which the sum over images may exceed its expectation
_NEAR = 96  # images that are nearest to those that were not scored
_LEAST_SPREAD = 0.5  # of the mean residual, where they are smallest

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
    if not len(screen):
        return Line(0.0, 1.0)
    centre, mean = float(screen.mean()), float(exact.mean())
    spread = float(((screen - centre) ** 2).sum())
    slope = 0.0 if spread == 0 else float(((screen - centre) * (exact - mean)).sum()) / spread
    slope = max(slope, 0.0)
    return Line(mean - slope * centre, slope)


class Residuals:
    """The chance that an image exceeds its forecast by ``s``, for every ``s``.

    Up to `start` it is the share of the residuals that do, raised by a margin. From there on it is
    ``share * exp(-(s - start) / scale)``.

    Parameters
    ----------
    values : ndarray of float64 [n]
    """

    def __init__(self, values: Floats) -> None:
        count = len(values)
        self.enough = count >= _LEAST
        if not self.enough:
            return
        ordered = np.sort(values)
        tail = min(max(_LEAST_TAIL, round(_TAIL * count)), count - 1)
        self.start = float(ordered[-tail - 1])
        self.share = _share_above(tail, count)
        over = ordered[-tail:] - self.start
        # Equal for exponential values; the second is larger if the tail is heavier.
        scale = max(float(over.mean()), math.sqrt(float((over**2).mean()) / 2))
        self.scale = scale * _scale_above(tail)
        self._lift = self.share / tail
        self._below = np.minimum(ordered, self.start)
        self._sums = _from_here_on(self._below)
        self._squares = _from_here_on(self._below**2)

    def excess(self, need: Floats, spread: Floats) -> tuple[float, float]:
        """Expectation and variance, bounded, of the sum of excesses over ``need``, float64 [m].

        An image's excess is ``max(spread * residual - need, 0)``.
        """
        if not len(need):
            return 0.0, 0.0
        if not self.enough:
            return math.inf, math.inf
        need = need / spread
        beyond, until = np.maximum(need - self.start, 0), np.maximum(self.start - need, 0)
        tail = np.zeros(len(need))
        if self.scale > 0:
            tail = self.share * self.scale * np.exp(-beyond / self.scale)
        at = np.searchsorted(self._below, need, side="right")
        hits, sums, squares = len(self._below) - at, self._sums[at], self._squares[at]
        first = self._lift * np.maximum(sums - hits * need, 0) + tail
        second = self._lift * np.maximum(squares - 2 * need * sums + hits * need**2, 0)
        second += 2 * (until + self.scale) * tail
        return float((spread * first).sum()), float((spread**2 * second).sum())


def _share_above(count: int, of: int) -> float:
    """A share of which ``count`` of ``of`` were met, and the margin (Wilson's interval)."""
    share, square = count / of, _MARGIN**2
    spread = math.sqrt(share * (1 - share) / of + square / (4 * of**2))
    return (share + square / (2 * of) + _MARGIN * spread) / (1 + square / of)


def _scale_above(count: int) -> float:
    """By what to multiply the mean of ``count`` exponential values (Wilson and Hilferty)."""
    part = 1 / (9 * count)
    return float((1 - part - _MARGIN * math.sqrt(part)) ** -3)


def _from_here_on(values: Floats) -> Floats:
    """Sums of all values from each place on, and 0 after the last, float64 [n + 1]."""
    return np.append(np.cumsum(values[::-1])[::-1], 0.0)


def mean_kept(
    picked: float,
    need: Floats,
    spread: Floats,
    residuals: Residuals,
    times: float = 1.0,
) -> float:
    """Lower bound of the sum of the picks' scores, divided by the largest possible sum.

    Parameters
    ----------
    picked : float
        Sum of the picks' exact scores.
    need, spread : ndarray of float64 [m]
        Of the images that were not scored: by how much each has to exceed its forecast to replace
        the least pick, and its usual residual.
    residuals : Residuals
        Divided by what is usual where they were met.
    times : float
        How many images each forecast stands for.
    """
    mean, variance = residuals.excess(need, spread)
    most = times * mean + _DEVIATIONS * math.sqrt(times * variance)
    if not math.isfinite(most):
        return 0.0
    return picked / (picked + most) if picked > 0 else float(most <= 0)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Images that were scored both ways.

    Attributes
    ----------
    forecasts, residuals : ndarray of float64 [n]
    is_sample : ndarray of bool [n]
        Whether they belong to the uniform sample.
    """

    forecasts: Floats
    residuals: Floats
    is_sample: NDArray[np.bool_]

    def spread(self) -> Callable[[Floats], Floats]:
        """The usual size of a residual by its forecast: the same for all, or growing."""
        sizes = np.abs(self.residuals)
        line, mean = fitted(self.forecasts, sizes), float(sizes.sum()) / max(len(sizes), 1)
        least = _LEAST_SPREAD * mean
        return lambda forecasts: np.maximum(line(forecasts), least) if least else 0 * forecasts + 1


def kept_by_more(
    picks: Floats, forecasts: Floats, evidence: Evidence, times: float = 1.0
) -> Callable[[int], float]:
    """`mean_kept` as a function of how many more images are scored exactly, best forecasts first.

    The smallest of three bounds counts: by the residuals of the uniform sample, which has members
    everywhere; by those of all images that are scored exactly, which are more likely to have met
    what is rare; and by those nearest to the best of what is left, which matters most.

    Parameters
    ----------
    picks : ndarray of float64 [k]
        Exact scores of the picks, which stay as they are.
    forecasts : ndarray of float64 [m]
        Of the images that are not scored exactly, descending.
    evidence : Evidence
    times : float
        How many images each forecast stands for.
    """
    total, need = float(picks.sum()), float(picks.min(initial=math.inf)) - forecasts
    spread = evidence.spread()
    spreads, scaled = spread(forecasts), evidence.residuals / spread(evidence.forecasts)
    known = (Residuals(scaled[evidence.is_sample]), Residuals(scaled))

    def kept(more: int) -> float:
        if more >= len(forecasts) or not len(picks):
            return 1.0
        far = np.abs(evidence.forecasts - forecasts[more])
        near = Residuals(scaled[np.argsort(far, kind="stable")[:_NEAR]])
        left = need[more:], spreads[more:]
        return min(mean_kept(total, *left, one, times) for one in (*known, near))

    return kept


def share_needed(evidence: Evidence, count: int, whole: int, goal: float) -> float:
    """Share of a pool's best forecasts that have to be scored for `mean_kept` to reach a goal.

    As the uniform sample says, which stands for the whole pool.

    Parameters
    ----------
    evidence : Evidence
    count, whole : int
        Images of the budget and of the pool.
    goal : float
    """
    forecasts, residuals = (
        values[evidence.is_sample] for values in (evidence.forecasts, evidence.residuals)
    )
    size = len(forecasts)
    if not size:
        return 1.0
    times = whole / size
    best = np.sort(forecasts + residuals)[::-1][: max(round(count / times), 1)]
    picks = np.repeat(best.mean(), max(count, 1))
    picks[-1] = best[-1]
    sample = Evidence(forecasts, residuals, np.ones(size, bool))
    kept = kept_by_more(picks, np.sort(forecasts)[::-1], sample, times)
    return next((more for more in range(size) if kept(more) >= goal), size) / size
