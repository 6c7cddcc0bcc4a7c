"""The greedy choice: rows in rank order, each taken if the budget and the rules still allow it."""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Cap", "Choice", "Spacing"]

_BLOCK = 8192


@dataclass
class Cap:
    """A limit on what the rows of one group may take together.

    Attributes
    ----------
    codes : ndarray of int [n]
        Group of each row.
    limits : ndarray of float64 [groups]
    weights : ndarray of float64 [n]
    """

    codes: NDArray[np.integer]
    limits: NDArray[np.float64]
    weights: NDArray[np.float64]

    def __post_init__(self) -> None:
        self.used = np.zeros(len(self.limits))

    def allows(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each of these rows would fit alone."""
        codes = self.codes[rows]
        return np.asarray(self.used[codes] + self.weights[rows] <= self.limits[codes])


class Spacing:
    """A least distance between images of one sequence; it does not separate regions of one image.

    Parameters
    ----------
    sequences, times, images : ndarray of int [n]
        Sequence, time and image of each row.
    gap : int
    """

    def __init__(
        self,
        sequences: NDArray[np.integer],
        times: NDArray[np.int64],
        images: NDArray[np.integer],
        gap: int,
    ) -> None:
        self._sequences, self._times, self._images = sequences, times, images
        self._gap = gap
        self._taken: dict[int, list[int]] = {}
        self._seen: set[int] = set()

    def allows(self, row: int) -> bool:
        """Whether the row is far enough from all rows that were taken."""
        if int(self._images[row]) in self._seen:
            return True
        taken = self._taken.get(int(self._sequences[row]), [])
        time = int(self._times[row])
        after = bisect_left(taken, time)
        return (after == len(taken) or taken[after] - time >= self._gap) and (
            after == 0 or time - taken[after - 1] >= self._gap
        )

    def take(self, row: int) -> None:
        """Remember a row."""
        self._seen.add(int(self._images[row]))
        insort(self._taken.setdefault(int(self._sequences[row]), []), int(self._times[row]))


class Choice:
    """Rows taken so far, what they cost, and what still fits.

    Parameters
    ----------
    weights : ndarray of float64 [n]
        The share of the budget that each row takes, in units of the budget.
    limit : float
        The budget.
    caps : sequence of Cap
    spacing : Spacing, optional

    Attributes
    ----------
    weights : ndarray of float64 [n]
    taken : array of int64
        In the order in which they were taken.
    spent : float
    """

    def __init__(
        self,
        weights: NDArray[np.float64],
        limit: float,
        caps: list[Cap],
        spacing: Spacing | None = None,
    ) -> None:
        self.weights, self._limit = weights, limit
        self._caps, self._spacing = caps, spacing
        self.taken = array("q")  # a list would take five times the memory
        self.spent = 0.0

    def take(self, rows: NDArray[np.int64]) -> None:
        """Take rows regardless of the rules; the rules count them for later rows."""
        for row in rows.tolist():
            self._take(row)

    def choose(self, order: NDArray[np.int64]) -> None:
        """Go through rows, best first, and take each row that still fits.

        A row that does not fit is skipped: a later one that costs less may fit.
        """
        if not len(order):
            return
        least = float(self.weights[order].min())
        for start in range(0, len(order), _BLOCK):
            if self.spent + least > self._limit:
                return
            block = order[start : start + _BLOCK]
            # A row that does not fit now never will, so most of a long tail is ruled out at once.
            for row in block[self.fits(block)].tolist():
                if self._fits(row):
                    self._take(row)

    def fits(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each of these rows would fit alone, without regard to gaps."""
        fitting = self.spent + self.weights[rows] <= self._limit
        for cap in self._caps:
            fitting &= cap.allows(rows)
        return np.asarray(fitting)

    def remaining(self, rows: NDArray[np.int64]) -> int:
        """Estimate how many of these rows the rest of the budget pays for, at least 1."""
        mean = float(self.weights[rows].mean()) if len(rows) else 1.0
        return max(int((self._limit - self.spent) / mean), 1) if mean > 0 else len(rows)

    def _fits(self, row: int) -> bool:
        if self.spent + self.weights[row] > self._limit:
            return False
        for cap in self._caps:
            code = cap.codes[row]
            if cap.used[code] + cap.weights[row] > cap.limits[code]:
                return False
        return self._spacing is None or self._spacing.allows(row)

    def _take(self, row: int) -> None:
        self.taken.append(row)
        self.spent += float(self.weights[row])
        for cap in self._caps:
            cap.used[cap.codes[row]] += cap.weights[row]
        if self._spacing is not None:
            self._spacing.take(row)
