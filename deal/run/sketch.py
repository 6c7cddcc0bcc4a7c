"""A mergeable quantile sketch with bounded relative error.

Values are counted in logarithmic buckets; a quantile is the middle of a bucket. Source: Masson, Rim
and Lee, "DDSketch", VLDB 2019, arXiv 1908.10693 (without bucket collapsing).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from deal.errors import UsageError

__all__ = ["QuantileSketch"]

_TINY = 1e-9


class QuantileSketch:
    """Counts of values in buckets of equal relative width.

    ``quantile`` has at most this relative error for magnitudes of at least 1e-9; smaller values
    count as 0. Merging sketches gives exactly the sketch of all values.

    Parameters
    ----------
    relative_error : float
        In (0, 1); 0.01 keeps about 1,000 buckets for values of 1e-9 to 1.
    """

    def __init__(self, relative_error: float = 0.01) -> None:
        if not 0 < relative_error < 1:
            raise UsageError(f"relative error must lie between 0 and 1, not {relative_error!r}")
        self.relative_error = relative_error
        self._log_base = math.log((1 + relative_error) / (1 - relative_error))
        self._positive: Counter[int] = Counter()
        self._negative: Counter[int] = Counter()
        self._zeros = 0

    @property
    def count(self) -> int:
        """Values added."""
        return self._zeros + self._positive.total() + self._negative.total()

    def add(self, values: Iterable[float]) -> None:
        """Add finite values; UsageError on NaN or infinity."""
        for value in map(float, values):
            if not math.isfinite(value):
                raise UsageError(f"a quantile sketch takes finite values, not {value!r}")
            if abs(value) < _TINY:
                self._zeros += 1
            else:
                side = self._positive if value > 0 else self._negative
                side[math.ceil(math.log(abs(value)) / self._log_base)] += 1

    def merge(self, other: QuantileSketch) -> None:
        """Add the values of a sketch of equal relative error; UsageError if it differs."""
        if other.relative_error != self.relative_error:
            raise UsageError(
                f"sketches of relative error {self.relative_error!r} and "
                f"{other.relative_error!r} cannot be merged"
            )
        self._positive.update(other._positive)
        self._negative.update(other._negative)
        self._zeros += other._zeros

    def quantile(self, q: float) -> float | None:
        """Value of rank ⌊q · (count − 1)⌋ for q in 0…1; None if the sketch is empty."""
        if not 0 <= q <= 1:
            raise UsageError(f"a quantile lies in 0…1, not {q!r}")
        rank = math.floor(q * (self.count - 1))
        for value, count in self._ascending():
            if rank < count:
                return value
            rank -= count
        return None

    def _ascending(self) -> Iterable[tuple[float, int]]:
        def middle(bucket: int) -> float:
            # between base^(bucket−1) and base^bucket, at equal relative distance from both
            return math.exp(bucket * self._log_base) * (1 - self.relative_error)

        for bucket in sorted(self._negative, reverse=True):
            yield -middle(bucket), self._negative[bucket]
        if self._zeros:
            yield 0.0, self._zeros
        for bucket in sorted(self._positive):
            yield middle(bucket), self._positive[bucket]

    def to_dict(self) -> dict[str, Any]:
        """The sketch as JSON values, with buckets as sorted [index, count] pairs."""
        return {
            "relative_error": self.relative_error,
            "zeros": self._zeros,
            "positive": [list(pair) for pair in sorted(self._positive.items())],
            "negative": [list(pair) for pair in sorted(self._negative.items())],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> QuantileSketch:
        """Invert :meth:`to_dict`."""
        sketch = cls(values["relative_error"])
        sketch._zeros = values["zeros"]
        sketch._positive.update(dict(values["positive"]))
        sketch._negative.update(dict(values["negative"]))
        return sketch
