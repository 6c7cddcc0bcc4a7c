"""Budgets and what they count: rows, pixels, or an estimate of an annotator's clicks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal.errors import ResultsError, UsageError
from deal.selection.amounts import names_bytes, parse_bytes

__all__ = [
    "COSTS",
    "UNITS",
    "Budget",
    "ClickModel",
    "check_costs",
    "cost_columns",
    "costs",
    "decimal",
    "keys_of",
    "number_of",
    "parse_budget",
]

UNITS = ("images", "regions", "pixels", "clicks", "bytes")
COSTS = ("count", "pixels", "clicks")


@dataclass(frozen=True, slots=True)
class Budget:
    """How much to select: an amount, or a percentage of the ranked rows.

    Attributes
    ----------
    amount : Fraction, optional
        The amount in ``unit``; a whole number for images and regions.
    percent : Fraction, optional
        The percentage of the rows that have a score (excluded rows too), or of their pixels or
        clicks. If neither amount nor percentage is given, everything is selected.
    unit : str, optional
        One of ``images``, ``regions``, ``pixels``, ``clicks`` and ``bytes``; None counts rows of
        whichever table is ranked. Bytes do not limit the number of rows: they are a limit of
        their own (:mod:`deal.selection.limits`).
    """

    amount: Fraction | None = None
    percent: Fraction | None = None
    unit: str | None = None

    def __str__(self) -> str:
        number = f"{decimal(self.percent)}%" if self.percent is not None else None
        number = decimal(self.amount) if self.amount is not None else number
        return "all" if number is None else f"{self.unit}:{number}" if self.unit else number

    @property
    def cost(self) -> str:
        """The cost that is counted: ``count``, ``pixels`` or ``clicks``."""
        return self.unit if self.unit in COSTS else "count"

    @property
    def table(self) -> str | None:
        """The table that the unit implies."""
        return self.unit if self.unit in ("images", "regions") else None

    def resolve(self, total: float) -> float:
        """Return the budget for a pool that costs ``total``; a share of rows is rounded up."""
        if self.unit == "bytes":
            return total
        if self.amount is not None:
            whole = self.amount.denominator == 1
            return int(self.amount) if whole else float(self.amount)
        if self.percent is None:
            return total
        if self.cost != "count":
            return float(self.percent * Fraction(total) / 100)
        return -(-self.percent.numerator * int(total) // (self.percent.denominator * 100))


@dataclass(frozen=True, slots=True)
class ClickModel:
    """Estimate of the clicks that labeling takes: corner · corners + length · length + fixed.

    Corners and length are those of the predicted boundaries (``boundary_corners``,
    ``boundary_length``): an annotator who outlines a segment clicks its corners. Counting clicks of
    polygon outlines as annotation cost follows CEREALS (Mackowiak et al., BMVC 2018,
    arXiv 1810.09726) and MetaBox+ (Colling et al. 2020, arXiv 2010.01884), which estimate them
    from predicted segmentations too.

    Attributes
    ----------
    corner : float
        Clicks per corner.
    length : float
        Clicks per raster pixel of boundary, for tools that trace instead of clicking corners.
    fixed : float
        Clicks that each image or region takes even without a boundary, such as opening it.
    """

    corner: float = 1.0
    length: float = 0.0
    fixed: float = 1.0

    def __post_init__(self) -> None:
        values = (self.corner, self.length, self.fixed)
        if not all(map(_is_amount, values)) or not any(values):
            raise UsageError(
                "click_corner, click_length and click_fixed must be numbers of at least 0, and at "
                f"least one above 0; not {', '.join(map(repr, values))}"
            )


def _is_amount(value: object) -> bool:
    """Whether a value is a finite number of at least 0."""
    return isinstance(value, Real) and math.isfinite(value) and float(value) >= 0


def parse_budget(budget: str | int | Budget | None) -> Budget:
    """Read ``50``, ``"5%"``, ``"regions:2000"``, ``"pixels:5e6"`` or ``"clicks:10%"``.

    ``"2GB"`` are bytes. None selects everything.

    Raises
    ------
    UsageError
        The unit is unknown, or the number is neither a positive amount nor a percentage above 0
        and up to 100.
    """
    if budget is None:
        return Budget()
    if isinstance(budget, Budget):
        return budget
    text = str(budget).strip()
    unit, colon, amount = text.rpartition(":")
    if unit == "bytes" or (not colon and names_bytes(text)):
        return Budget(amount=Fraction(parse_bytes(amount, "budget") or 0), unit="bytes")
    if colon and unit not in UNITS:
        raise UsageError(
            f"budget {text!r}: unknown unit {unit!r}; use one of {', '.join(UNITS)}, as in "
            "regions:2000"
        )
    counted = unit not in ("pixels", "clicks")
    try:
        if amount.endswith("%"):
            percent = number_of(amount[:-1])
            if 0 < percent <= 100:
                return Budget(percent=percent, unit=unit or None)
        else:
            number = number_of(str(int(amount)) if counted else amount)
            if number > 0:
                return Budget(amount=number, unit=unit or None)
    except (ValueError, ZeroDivisionError):
        pass
    raise UsageError(
        f"budget must be a positive number of images or a percentage above 0% and up to 100%, "
        "such as 50 or 5%, or have a unit: 2GB, regions:2000, pixels:5e6, clicks:20000; not "
        f"{text!r}"
    )


def number_of(text: str) -> Fraction:
    """Read a number above 0 exactly; ValueError for other text and above 2⁵³ (sums lose digits)."""
    if not 0 < float(text) <= 2**53:  # before Fraction, which takes forever for 1e999999999
        raise ValueError(text)
    return Fraction(text)


def decimal(number: Fraction) -> str:
    """``5000000`` or ``0.5``."""
    return str(number.numerator) if number.denominator == 1 else repr(float(number))


def cost_columns(cost: str, clicks: ClickModel) -> tuple[str, ...]:
    """Columns that :func:`costs` reads."""
    if cost == "pixels":
        return ("n_pixels",)
    if cost == "clicks":
        wanted = (("boundary_corners", clicks.corner), ("boundary_length", clicks.length))
        return tuple(column for column, constant in wanted if constant)
    return ()


def costs(
    columns: Mapping[str, NDArray[Any]], cost: str, clicks: ClickModel, rows: int
) -> NDArray[np.float64]:
    """Return the cost of each row, float64 [n]; NaN where a value is missing.

    Parameters
    ----------
    columns : mapping of column name to ndarray of float64 [n]
        The columns that :func:`cost_columns` names; NaN where the results have no value.
    cost : ``count``, ``pixels`` or ``clicks``
        Pixels are raster pixels that no mask hides (``n_pixels``).
    """
    total = np.ones(rows) if cost == "count" else np.zeros(rows)
    if cost == "pixels":
        total += columns["n_pixels"]
    if cost == "clicks":
        total += clicks.fixed
        for column, constant in (
            ("boundary_corners", clicks.corner),
            ("boundary_length", clicks.length),
        ):
            if constant:
                total += constant * columns[column]
    return total


def check_costs(missing: int, rows: int, cost: str, clicks: ClickModel) -> None:
    """Raise ResultsError if the costs of some of the rows are missing."""
    if missing:
        names = " and ".join(cost_columns(cost, clicks))
        raise ResultsError(
            f"{missing} of {rows} rows have no {names}, which their cost in {cost} needs: score "
            "the pool again on the CPU, or choose a budget that counts rows"
        )


def keys_of(
    scores: NDArray[np.float64], costs: NDArray[np.float64] | None, by: str
) -> NDArray[np.float64]:
    """Keys that decide the order; a row that costs nothing goes first if its score is above 0.

    Parameters
    ----------
    scores : ndarray of float64 [n]
    costs : ndarray of float64 [n], optional
    by : ``score`` or ``score-per-cost``
    """
    if by == "score" or costs is None:
        return scores + 0.0  # one zero, so that equal keys have equal bits
    with np.errstate(divide="ignore", invalid="ignore"):
        keys = scores / costs
    keys[(costs == 0) & (scores == 0)] = 0.0
    return np.asarray(keys + 0.0)
