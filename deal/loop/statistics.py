"""Paired comparisons of learning curves: intervals, areas, wins. Pure functions, no files.

A *curve* is the metric of one run, round by round; ``Curves`` maps method → seed → curve. All
methods of a seed share the first round's model, so differences begin with the second round.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeAlias

__all__ = [
    "SEEDS",
    "Curves",
    "Interval",
    "area_under_curve",
    "labels_needed",
    "mean_interval",
    "paired_differences",
    "seeds_needed",
    "significant_wins",
    "student_cdf",
    "student_quantile",
    "wins",
]

SEEDS = 3
"""Fewest values that get an interval; for two values it is twelve times as wide as they differ."""

Curves: TypeAlias = Mapping[str, Mapping[int, Sequence[float]]]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and half the width of its confidence interval.

    Attributes
    ----------
    mean : float
    half : float
        NaN for fewer than `SEEDS` values.
    count : int
    """

    mean: float
    half: float
    count: int

    @property
    def low(self) -> float:
        """Lower end; NaN without an interval."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """Upper end; NaN without an interval."""
        return self.mean + self.half


def student_cdf(t: float, freedom: int) -> float:
    """``P(T ≤ t)`` of Student's t with a whole number of degrees of freedom, at least 1.

    Uses the finite sums of Abramowitz & Stegun, 26.7.3 and 26.7.4.
    """
    theta = math.atan2(abs(t), math.sqrt(freedom))
    cosine, sine = math.cos(theta), math.sin(theta)
    term, total = (cosine, 0.0) if freedom % 2 else (1.0, 0.0)
    for k in range(freedom % 2, freedom - 1, 2):
        total += term
        term *= cosine**2 * (k + 1) / (k + 2)
    inside = (theta + sine * total) * 2 / math.pi if freedom % 2 else sine * total
    return 0.5 + math.copysign(inside, t) / 2


def student_quantile(probability: float, freedom: int) -> float:
    """The t that ``student_cdf`` maps to ``probability`` in 0.5…1 (1 excluded), by bisection."""
    low, high = 0.0, 1.0
    while student_cdf(high, freedom) < probability:
        high *= 2
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if student_cdf(middle, freedom) < probability else (low, middle)
    return high


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Mean with a two-sided interval by Student's t; NaN if there are too few values."""
    count = len(values)
    if not count:
        return Interval(math.nan, math.nan, 0)
    mean = math.fsum(values) / count
    if count < SEEDS:
        return Interval(mean, math.nan, count)
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    quantile = student_quantile((1 + confidence) / 2, count - 1)
    return Interval(mean, quantile * math.sqrt(variance / count), count)


def seeds_needed(value: Interval, half: float, confidence: float = 0.95) -> int:
    """Number of seeds at which an interval's half-width falls to ``half``, for equal spread.

    ``value`` is an interval of the same confidence from at least `SEEDS` values.
    """
    probability = (1 + confidence) / 2
    spread = value.half / student_quantile(probability, value.count - 1) * math.sqrt(value.count)
    # The quantile of the normal distribution is the lowest, so fewer seeds never suffice.
    normal = NormalDist().inv_cdf(probability)
    seeds = max(SEEDS, math.floor((normal * spread / half) ** 2))
    while student_quantile(probability, seeds - 1) * spread / math.sqrt(seeds) > half:
        seeds += 1
    return seeds


def paired_differences(
    curves: Curves, method: str, against: str, confidence: float = 0.95
) -> tuple[list[Interval], Interval]:
    """Intervals of ``method − against`` over the seeds that both have.

    Returns
    -------
    rounds : list of Interval
        One per round from the second on, over the seeds that have the round.
    average : Interval
        Interval of each seed's mean difference over those rounds, for seeds that have all of them.
    """
    pairs = _pairs(curves, method, against)
    columns = _columns(pairs)
    means = [math.fsum(p) / len(p) for p in pairs if p and len(p) == len(columns)]
    return [mean_interval(column, confidence) for column in columns], mean_interval(
        means, confidence
    )


def area_under_curve(labeled: Sequence[float], values: Sequence[float]) -> float:
    """Area under a learning curve divided by its span: the mean metric, by the trapezoid rule.

    Parameters
    ----------
    labeled : sequence of float, ascending
        Amount of labels in each round, in any unit.
    values : sequence of float
        The metric in each round.
    """
    if len(labeled) < 2:
        return math.nan
    steps = zip(labeled, labeled[1:], values, values[1:], strict=False)
    area = math.fsum((b - a) * (u + v) / 2 for a, b, u, v in steps)
    return area / (labeled[-1] - labeled[0])


def labels_needed(labeled: Sequence[float], values: Sequence[float], target: float) -> float | None:
    """Amount of labels at which a curve first reaches ``target``, interpolated; None if never."""
    before: tuple[float, float] | None = None
    for count, value in zip(labeled, values, strict=True):
        if value >= target:
            if before is None:
                return count
            rise = (target - before[1]) / (value - before[1])
            return before[0] + rise * (count - before[0])
        before = count, value
    return None


def wins(curves: Curves) -> dict[str, dict[str, float | None]]:
    """Share of (seed, round) pairs in which the method of a row is above that of a column.

    Pairs begin with the second round. Equal values are half a win. None if the two methods share no
    seed, and for a method against itself.
    """
    return _matrix(curves, lambda pairs: _won([d for pair in pairs for d in pair]))


def significant_wins(
    curves: Curves, confidence: float = 0.95
) -> dict[str, dict[str, float | None]]:
    """Share of rounds in which the paired interval of row − column lies above 0.

    This is the pairwise comparison of BADGE (Ash et al., ICLR 2020, arXiv 1906.03671) by paired
    t-tests. It counts rounds from the second on that `SEEDS` seeds of both methods have. None if
    there is no such round, and for a method against itself.
    """

    def share(pairs: list[list[float]]) -> float | None:
        columns = [column for column in _columns(pairs) if len(column) >= SEEDS]
        above = [mean_interval(column, confidence).low > 0 for column in columns]
        return sum(above) / len(above) if above else None

    return _matrix(curves, share)


def _matrix(curves: Curves, entry: object) -> dict[str, dict[str, float | None]]:
    assert callable(entry)
    return {
        row: {
            column: None if row == column else entry(_pairs(curves, row, column))
            for column in curves
        }
        for row in curves
    }


def _won(differences: Sequence[float]) -> float | None:
    if not differences:
        return None
    return sum(1.0 if d > 0 else 0.5 if d == 0 else 0.0 for d in differences) / len(differences)


def _columns(pairs: Sequence[Sequence[float]]) -> list[list[float]]:
    """The values of each round, over the seeds that have the round."""
    rounds = max(map(len, pairs), default=0)
    return [[pair[i] for pair in pairs if i < len(pair)] for i in range(rounds)]


def _pairs(curves: Curves, method: str, against: str) -> list[list[float]]:
    """Differences from the second round on, one list per seed."""
    mine, theirs = curves[method], curves[against]
    return [
        [a - b for a, b in zip(mine[seed][1:], theirs[seed][1:], strict=False)]
        for seed in sorted(mine.keys() & theirs.keys())
    ]
