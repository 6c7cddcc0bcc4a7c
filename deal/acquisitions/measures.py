"""What an acquisition function measures at every pixel: the map that explains its scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions.binding import Bound
from deal.types import COMMITTEE_COLUMNS

__all__ = ["Measure", "measure_of", "measured"]

_UNCERTAINTIES = ("entropy", "margin", "least_confidence")
_COMMITTEE = tuple(column.removesuffix("_mean") for column in COMMITTEE_COLUMNS)
_SHOWN = {"margin": "margin uncertainty", "least_confidence": "least confidence"}
_SHOWN |= {name: name.replace("_", " ") for name in _COMMITTEE}


Plane = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Measure:
    """The quantity that a function averages over the pixels of an image.

    Attributes
    ----------
    has_difficulty : bool
        Whether difficulty is a factor.
    uncertainty : str or None
        The other factor: a name that :func:`deal.scoring.maps.uncertainty_planes` takes.
    focus : tuple of int, or None
        Only pixels predicted as these classes count.
    """

    has_difficulty: bool
    uncertainty: str | None
    focus: tuple[int, ...] | None = None

    @property
    def label(self) -> str:
        """What a reader sees: ``difficulty × entropy``."""
        factors = ["difficulty"] if self.has_difficulty else []
        if self.uncertainty is not None:
            factors.append(_SHOWN.get(self.uncertainty, self.uncertainty))
        return " × ".join(factors) or "pixels of chosen classes"

    @property
    def of_committee(self) -> bool:
        """Whether every member of the committee has to run."""
        return self.uncertainty in _COMMITTEE

    @property
    def unit(self) -> str:
        """``nats`` of entropies; nothing where values lie in 0…1."""
        return "nats" if self.uncertainty in ("entropy", *_COMMITTEE) else ""

    def top(self, num_classes: int) -> float:
        """Greatest value that a pixel can have: 1, or ln C for entropies."""
        return float(np.log(max(num_classes, 2))) if self.unit else 1.0

    def plane(
        self, difficulty: Plane | None, uncertainty: Plane | None, size: tuple[int, int]
    ) -> Plane:
        """Multiply the factors of every pixel of a raster of ``size``, float32 [H, W]."""
        found = np.ones(size, np.float32)
        if self.has_difficulty and difficulty is not None:
            found *= difficulty
        if uncertainty is not None:
            found *= uncertainty
        return found

    def focused(self, score: Plane, classes: NDArray[Any]) -> Plane:
        """Set to 0 what is predicted as a class that does not count."""
        if self.focus is None:
            return score
        return np.where(np.isin(classes, self.focus), score, np.float32(0))


def measure_of(bound: Bound, *, has_difficulty: bool) -> Measure:
    """Tell from the columns that a function reads what its scores are made of.

    The first column that says what it averages decides, so this also serves users' own functions.
    Where none does (``random``, ``core-set``), it is difficulty, or entropy for a model without
    difficulty.
    """
    focus = _focus(bound)
    if focus is not None and bound.name == "focus:pixels":
        return Measure(False, None, focus)
    for column in () if bound.greedy else bound.columns:
        found = measured(column)
        if found is not None and (has_difficulty or not found[0]):
            return Measure(*found, focus)
    return Measure(True, None, focus) if has_difficulty else Measure(False, "entropy", focus)


def _focus(bound: Bound) -> tuple[int, ...] | None:
    names = bound.options.get("focus") if bound.name.startswith("focus:") else None
    if names is None or bound.classes is None:
        return None
    return tuple(index for index, name in enumerate(bound.classes) if name in names)


def measured(column: str) -> tuple[bool, str | None] | None:
    """Tell whether a column averages difficulty, and which uncertainty; None if neither."""
    name = column.removeprefix("class_")
    weighted = name.startswith("difficulty_weighted_")
    name = name.removeprefix("difficulty_weighted_")
    for known in (*_COMMITTEE, *_UNCERTAINTIES):
        if name.startswith(known):
            return weighted, known
    return (True, None) if name.startswith("difficulty") else None
