"""The greedy choice: rows in rank order, each taken if the budget and the rules still allow it."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from deal.selection.limits import LimitRule
from deal.selection.near import NearDuplicates
from deal.selection.reach import TooFewRowsError

__all__ = ["Cap", "Choice", "Rule", "Spacing"]

_BLOCK = 8192
# Rows that are compared with each other for near-duplicates.
_PART = 2048
# Rows whose signatures are read together: 100 MB.
_AHEAD = 1 << 19


class Rule(Protocol):
    """What a rule tells of rows, of which some were taken; a row once refused stays so.

    Attributes
    ----------
    reads : bool
        Whether `load` must be called before a row is asked for.
    """

    reads: bool

    def load(self, rows: NDArray[np.int64]) -> None:
        """Read what the rule needs to know of rows that come next."""

    def allows(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each of these rows would fit alone."""

    def allows_one(self, row: int) -> bool:
        """Whether a row fits."""

    def take(self, row: int) -> None:
        """Remember a row."""


@dataclass(eq=False)  # a rule is equal to itself alone, as one of several is dropped
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
    reads: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.used = np.zeros(len(self.limits))

    def load(self, rows: NDArray[np.int64]) -> None:
        """Read nothing."""

    def allows(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each of these rows would fit alone."""
        codes = self.codes[rows]
        return np.asarray(self.used[codes] + self.weights[rows] <= self.limits[codes])

    def allows_one(self, row: int) -> bool:
        """Whether a row fits."""
        code = self.codes[row]
        return bool(self.used[code] + self.weights[row] <= self.limits[code])

    def take(self, row: int) -> None:
        """Count a row."""
        self.used[self.codes[row]] += self.weights[row]


class Spacing:
    """A least distance between images of one sequence; it does not separate regions of one image.

    Rows are sorted by sequence and time once, so that a taken row marks those near it.

    Parameters
    ----------
    sequences, times : ndarray of int [n]
        Sequence and time of each row; rows of sequence −1 are near to none.
    gap : int
        Rows of one sequence must lie at least this far apart.
    images : ndarray of int [n], optional
        Image of each row, where several rows belong to one.

    Attributes
    ----------
    gap : int
    """

    reads = False

    def __init__(
        self,
        sequences: NDArray[np.integer],
        times: NDArray[np.int64],
        gap: int,
        images: NDArray[np.integer] | None = None,
    ) -> None:
        self.gap = gap
        self._images = images
        self._seen = np.zeros(0 if images is None else int(images.max(initial=-1)) + 1, bool)
        order = np.lexsort((times, sequences))
        self._place = np.empty(len(order), np.int32)
        self._place[order] = np.arange(len(order), dtype=np.int32)
        self._times = times[order]
        self._sequences = sequences
        count = int(sequences.max(initial=-1)) + 1
        self._starts = np.searchsorted(sequences[order], np.arange(count + 1))
        self._near = np.zeros(len(order), bool)
        self._taken = array("q")

    def load(self, rows: NDArray[np.int64]) -> None:
        """Read nothing."""

    def narrow(self, gap: int) -> None:
        """Allow a smaller gap from now on."""
        taken, self._taken, self.gap = self._taken, array("q"), gap
        self._near[:] = False
        for row in taken:
            self.take(row)

    def allows(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each of these rows would fit alone."""
        fits = ~self._near[self._place[rows]]
        if self._images is not None:
            fits |= self._seen[self._images[rows]]
        return np.asarray(fits)

    def allows_one(self, row: int) -> bool:
        """Whether a row is far enough from all rows that were taken."""
        if self._images is not None and self._seen[self._images[row]]:
            return True
        return not self._near[self._place[row]]

    def take(self, row: int) -> None:
        """Mark the rows that are near this one."""
        self._taken.append(row)
        if self._images is not None:
            self._seen[self._images[row]] = True
        sequence = int(self._sequences[row])
        if sequence < 0:
            return
        start, stop = self._starts[sequence : sequence + 2]
        times = self._times[start:stop]
        time = int(self._times[self._place[row]])
        first = int(np.searchsorted(times, time - self.gap, "right"))
        last = int(np.searchsorted(times, time + self.gap, "left"))
        self._near[start + first : start + last] = True


class Choice:
    """Rows taken so far, what they cost, and what still fits.

    Parameters
    ----------
    weights : ndarray of float64 [n]
        The share of the budget that each row takes, in units of the budget.
    limit : float
        The budget.
    rules : sequence of Rule
    near : NearDuplicates, optional
    limits : LimitRule, optional

    Attributes
    ----------
    weights : ndarray of float64 [n]
    limit : float
        May be lowered for a while, so that only a part of the budget is given out.
    rules : list of Rule
    near : NearDuplicates or None
    limits : LimitRule or None
    taken : array of int64
        In the order in which they were taken.
    spent : float
    """

    def __init__(
        self,
        weights: NDArray[np.float64],
        limit: float,
        rules: list[Rule],
        near: NearDuplicates | None = None,
        limits: LimitRule | None = None,
    ) -> None:
        self.weights, self.limit = weights, limit
        self.rules, self.near, self.limits = rules, near, limits
        self.taken = array("q")  # a list would take five times the memory
        self.spent = 0.0

    def take(self, rows: NDArray[np.int64]) -> None:
        """Take rows regardless of the rules; the rules count them for later rows."""
        for rule in self.rules:
            rule.load(rows)
        if self.limits is not None:
            self.limits.load(rows)
        for row in rows.tolist():
            self._take(row)
        if self.near is not None:
            self.near.cover(rows)

    def choose(self, order: NDArray[np.int64], *, more: bool = False) -> None:
        """Go through rows, best first, and take each row that still fits.

        A row that does not fit is skipped: a later one that costs less may fit. With ``more``,
        there are rows after these, of the same cost, and TooFewRowsError says that they are needed.
        """
        if not len(order):
            if more:
                raise TooFewRowsError
            return
        least = float(self.weights[order].min())
        reads = self.near is not None or self.limits is not None
        reads |= any(rule.reads for rule in self.rules)
        read = ahead = 0
        for start in range(0, len(order), _BLOCK):
            if self.spent + least > self.limit:
                return
            if start + _BLOCK > read and reads and (more or read < len(order)):
                # Rows in rank order lie in all parts, so few large readings are best.
                ahead = min(max(2 * ahead, 2 * self.remaining(order), _BLOCK), _AHEAD)
                # Whole blocks: no row is read twice, for what a full window refuses is not read
                # again, and a rule allows what it has not read.
                ahead -= ahead % _BLOCK
                read = start + ahead
                if more and read > len(order):
                    raise TooFewRowsError
                self.load(order[start:read])
            block = order[start : start + _BLOCK]
            # A row that does not fit now never will, so most of a long tail is ruled out at once.
            self._choose(block[self.fits(block)])
        if more and self.spent + least <= self.limit:
            raise TooFewRowsError

    def take_one(self, row: int) -> bool:
        """Take a row if it still fits, and return whether it does; rows were loaded before."""
        if not self._fits(row):
            return False
        if self.near is not None:
            self.near.prepare(np.array([row]))
            if not self.near.allows(row):
                return False
        if not self._admits(row):
            return False
        self._take(row)
        if self.near is not None:
            self.near.take(row)
        return True

    def load(self, rows: NDArray[np.int64]) -> None:
        """Read ahead what rules need to know of the rows that still fit."""
        rows = rows[self.fits(rows)]
        for rule in self.rules:
            rule.load(rows)
        if self.near is not None:
            self.near.load(rows)
        if self.limits is not None:
            self.limits.load(rows)

    def _choose(self, rows: NDArray[np.int64]) -> None:
        if self.near is None and self.limits is None and not self.rules:
            # All that fit before the first that does not.
            spent = np.cumsum(np.concatenate([[self.spent], self.weights[rows]]))
            count = int(np.searchsorted(spent, self.limit, "right")) - 1
            self.taken.extend(rows[:count].tolist())
            self.spent = float(spent[count])
            rows = rows[count:]
        if self.near is None:
            for row in rows.tolist():
                if self._fits(row) and self._admits(row):
                    self._take(row)
            return
        for start in range(0, len(rows), _PART):
            part = rows[start : start + _PART]
            part = part[self.fits(part)]
            self.near.prepare(part)
            for row in part.tolist():
                if self._fits(row) and self.near.allows(row) and self._admits(row):
                    self._take(row)
                    self.near.take(row)

    def is_full(self, rows: NDArray[np.int64]) -> bool:
        """Whether the budget pays for none of these rows any more."""
        return not len(rows) or self.spent + float(self.weights[rows].min()) > self.limit

    def reorder(self, first: int, rows: NDArray[np.int64]) -> None:
        """Put the rows that were taken from the ``first`` on into another order."""
        self.taken = self.taken[:first] + array("q", rows.tolist())

    def fits(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each of these rows would fit alone, whatever it looks like."""
        fitting = self.spent + self.weights[rows] <= self.limit
        for rule in self.rules:
            fitting &= rule.allows(rows)
        if self.limits is not None:
            fitting &= self.limits.allows(rows)
        return np.asarray(fitting)

    def remaining(self, rows: NDArray[np.int64]) -> int:
        """Estimate how many of these rows the rest of the budget pays for, at least 1."""
        mean = float(self.weights[rows].mean()) if len(rows) else 1.0
        return max(int((self.limit - self.spent) / mean), 1) if mean > 0 else len(rows)

    def _fits(self, row: int) -> bool:
        if self.spent + self.weights[row] > self.limit:
            return False
        return all(rule.allows_one(row) for rule in self.rules)

    def _admits(self, row: int) -> bool:
        return self.limits is None or self.limits.admits(row)

    def _take(self, row: int) -> None:
        self.taken.append(row)
        self.spent += float(self.weights[row])
        for rule in self.rules:
            rule.take(row)
        if self.limits is not None:
            self.limits.take(row)
