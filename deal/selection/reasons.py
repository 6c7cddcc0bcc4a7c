"""What ``why`` can say of a function's picks: parts of the score, or else what stands out.

A function whose score is a sum over pixels has parts by class (``class_sums``). For the others the
text says so, and tells what stands out in the image instead:

* functions of difficulty or uncertainty (``de``, ``margin``, ``bald``, …): the classes that hold
  most of the image's difficulty or entropy;
* functions of anything else, such as users' own: the classes that cover more of the image than
  they usually do, by the pool's median;
* ``random`` and functions that pick by distance: how they pick.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions import Bound
from deal.acquisitions.columns import chunks, column_names
from deal.acquisitions.measures import measured
from deal.selection.sources import Sources

if TYPE_CHECKING:
    pass

__all__ = ["LEVELS", "Reason", "class_levels", "reason_of", "usual_levels"]

LEVELS = 1000
"""Shares of an image are compared in thousandths, so that medians are exact whatever the order."""


@dataclass(frozen=True, slots=True)
class Reason:
    """How ``why`` is made for one function.

    Attributes
    ----------
    fixed : str or None
        The text of every row; nothing else counts then.
    opening : str
        Text before the classes.
    sums : str or None
        Column of class sums that stands in for parts of the score.
    against_pool : bool
        Classes are compared with the pool's median.
    columns : tuple of str
        Columns that are read for the rows that are taken.
    """

    fixed: str | None = None
    opening: str = ""
    sums: str | None = None
    against_pool: bool = False
    columns: tuple[str, ...] = ()


def reason_of(bound: Bound) -> Reason:
    """Decide how ``why`` is made for a function."""
    if bound.name == "random":
        return Reason(fixed="random draw")
    if bound.name == "typiclust":
        return Reason(fixed="typical of its cluster")
    if bound.greedy:
        return Reason(fixed="far from everything picked")
    if bound.table == "regions":
        return Reason(columns=("majority_class",))
    if bound.class_columns:
        return Reason(columns=bound.class_columns)
    for column in bound.columns:
        found = measured(column)
        if found is not None:
            name, what = {
                (True, True): ("difficulty", "difficulty"),
                (True, False): ("difficulty_weighted_entropy", "difficulty × entropy"),
                (False, False): ("entropy", "entropy"),
            }[found[0], found[1] is None]
            sums = f"class_{name}_sum"
            return Reason(opening=f"most {what} in ", sums=sums, columns=(sums,))
    return Reason(opening="more ", against_pool=True, columns=("class_pixels", "n_pixels"))


def class_levels(pixels: NDArray[np.int64], total: NDArray[np.int64]) -> NDArray[np.int64]:
    """Share of an image that each class covers, in thousandths, rounded: int64 [n, C]."""
    whole = np.maximum(total, 1)[:, None]
    return np.asarray((2 * LEVELS * pixels + whole) // (2 * whole))


def usual_levels(sources: Sources) -> NDArray[np.int64] | None:
    """The pool's median share of each class, in thousandths: int64 [C]; None without images.

    Of an even number of images it is the lower of the two in the middle.
    """
    counts: NDArray[np.int64] | None = None
    for piece in sources.read(["id", "status", "class_pixels", "n_pixels"]):
        if not {"class_pixels", "n_pixels"} <= set(column_names(piece)):
            return None
        for chunk in chunks(piece, ["class_pixels", "n_pixels"]):
            if not chunk.usable.any():
                continue
            levels = class_levels(chunk.columns["class_pixels"], chunk.columns["n_pixels"])
            width = levels.shape[1]
            if counts is None:
                counts = np.zeros((width, LEVELS + 1), np.int64)
            flat = levels + np.arange(width) * (LEVELS + 1)
            counts += np.bincount(flat.ravel(), minlength=counts.size).reshape(counts.shape)
    if counts is None:
        return None
    half = (counts[0].sum() + 1) // 2
    return np.asarray((np.cumsum(counts, axis=1) < half).sum(axis=1))
