"""Scores by predicted class: rare classes get more weight, or only named classes count.

For an image, sums over the pixels predicted as each class are stored, so every pixel counts for its
own class. A region counts for the class predicted most often in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions.columns import Columns, Scores
from deal.acquisitions.registry import acquisition, suggestion
from deal.errors import UsageError
from deal.kernel.logarithm import log

__all__ = ["class_weights"]

_ENET_OFFSET = 1.02
_NAMES = (
    "give classes= to acquisition_scores, the model's class names in order; to select, give the "
    "table the metadata of its results, table.replace_schema_metadata(results.schema.metadata)"
)


@dataclass(frozen=True, slots=True)
class _Quantity:
    """The quantity that is averaged: its columns (class sums of images, mean of regions), names."""

    sums: str
    mean: str
    symbol: str
    plain: str


_QUANTITIES = {
    "difficulty": _Quantity("class_difficulty_sum", "difficulty_mean", "D", "ds:none"),
    "entropy": _Quantity("class_entropy_sum", "entropy_mean", "H(P)", "entropy"),
    "ds-entropy": _Quantity(
        "class_difficulty_weighted_entropy_sum",
        "difficulty_weighted_entropy_mean",
        "D · H(P)",
        "ds:entropy",
    ),
}


def class_weights(pixels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weights [C] by rarity: 1 / ln(1.02 + f), where f is the share of pixels of the class.

    These are ENet's class weights (Paszke et al. 2016, arXiv 1606.02147, section 5.1): 50.5 for a
    class without pixels, 1.42 for a class that has all pixels.
    """
    return np.asarray(1.0 / log(_ENET_OFFSET + pixels / max(int(pixels.sum()), 1)))


def _pool_pixels(
    columns: Columns, *, classes: tuple[str, ...] | None, table: str
) -> NDArray[np.int64]:
    """Pixels of the pool predicted as each class (regions: by majority class), int64 [C]."""
    if table == "images":
        return np.asarray(columns["class_pixels"].sum(axis=0), dtype=np.int64)
    majority = _majority(columns, classes)
    pixels = np.zeros(len(classes or ()), dtype=np.int64)
    np.add.at(pixels, majority, columns["n_pixels"])
    return pixels


def _register_balanced(name: str, quantity: _Quantity) -> None:
    def weighted(columns: Columns, *, totals: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(columns[quantity.sums] * class_weights(totals))

    @acquisition(
        f"balanced:{name}",
        requires=lambda table: (
            [quantity.sums, "class_pixels", "n_pixels"]
            if table == "images"
            else [quantity.mean, "majority_class", "n_pixels"]
        ),
        tables=("images", "regions"),
        formula=f"mean over pixels of w_c · {quantity.symbol}, with c the predicted class (for a "
        "region its majority class), w_c = 1 / ln(1.02 + f_c), and f_c the share of the pool's "
        "pixels that are predicted as c",
        source="class weights: ENet, Paszke et al. 2016, arXiv 1606.02147, section 5.1; "
        "for regions after Cai et al., CVPR 2021",
        class_sums=weighted,
        totals=_pool_pixels,
    )
    def balanced(
        columns: Columns,
        *,
        totals: NDArray[np.int64],
        classes: tuple[str, ...] | None,
        table: str,
    ) -> Scores:
        """Mean over pixels, each weighted by how rare its predicted class is in the pool."""
        if table == "images":
            return _per_pixel(weighted(columns, totals=totals), columns["n_pixels"])
        weights = class_weights(totals)[_majority(columns, classes)]
        return np.asarray(columns[quantity.mean] * weights)


def _register_focus(name: str, quantity: _Quantity) -> None:
    def focused(
        columns: Columns, *, focus: list[str], classes: tuple[str, ...] | None
    ) -> NDArray[np.float64]:
        return _focused(columns[quantity.sums], focus, classes)

    @acquisition(
        f"focus:{name}",
        requires=lambda table: (
            [quantity.sums, "n_pixels"] if table == "images" else [quantity.mean, "majority_class"]
        ),
        tables=("images", "regions"),
        formula=f"Σ {quantity.symbol} over the pixels predicted as a class of `focus`, divided by "
        f"the number of all pixels (for a region: its mean of {quantity.symbol} if its majority "
        "class is in `focus`, else 0)",
        source=f"deal: `{quantity.plain}` with the other classes counted as 0",
        class_sums=focused,
        check=_check_focus,
    )
    def focus_score(
        columns: Columns, *, focus: list[str], classes: tuple[str, ...] | None, table: str
    ) -> Scores:
        """Mean over pixels, where pixels predicted as other classes count as 0.

        Parameters
        ----------
        columns : mapping
            For images the class sums [n, C] and ``n_pixels`` [n]; for regions the mean [n] and
            ``majority_class`` [n].
        focus : list of str, or text with commas
            Class names.
        """
        if table == "images":
            sums = focused(columns, focus=focus, classes=classes)
            return _per_pixel(sums, columns["n_pixels"])
        wanted = _wanted(focus, classes)[_majority(columns, classes)]
        return np.where(wanted, columns[quantity.mean], 0.0)


def _check_focus(focus: Any, classes: tuple[str, ...] | None) -> dict[str, Any]:
    """Names of classes, from a list or from text with commas."""
    if isinstance(focus, Mapping) or not isinstance(focus, Iterable):
        raise UsageError(f"focus {focus!r}: list names of classes, such as pole,bicyclist")
    names = focus.split(",") if isinstance(focus, str) else list(focus)
    names = [str(name).strip() for name in names]
    names = list(dict.fromkeys(name for name in names if name))
    if not names:
        raise UsageError("focus names no class: name at least one, such as focus=pole,bicyclist")
    for name in names:
        if classes is not None and name not in classes:
            raise UsageError(
                f"no class {name!r} to focus on.{suggestion(name, classes)} "
                f"The classes are: {', '.join(classes)}"
            )
    return {"focus": names}


def _focus_pixel_sums(
    columns: Columns, *, focus: list[str], classes: tuple[str, ...] | None
) -> NDArray[np.float64]:
    return _focused(columns["class_pixels"], focus, classes)


@acquisition(
    "focus:pixels",
    requires=["class_pixels", "n_pixels"],
    formula="share of the pixels predicted as a class of `focus`",
    source="deal: finds images that, by the network's prediction, show the named classes",
    class_sums=_focus_pixel_sums,
    check=_check_focus,
)
def focus_pixels(columns: Columns, *, focus: list[str], classes: tuple[str, ...] | None) -> Scores:
    """Share of the pixels predicted as one of the named classes.

    Parameters
    ----------
    columns : mapping
        ``class_pixels`` [n, C] and ``n_pixels`` [n].
    focus : list of str, or text with commas
        Class names.
    """
    sums = _focus_pixel_sums(columns, focus=focus, classes=classes)
    return _per_pixel(sums, columns["n_pixels"])


def _per_pixel(sums: NDArray[np.float64], pixels: NDArray[np.int64]) -> Scores:
    total = sums.sum(axis=1)
    return np.asarray(np.divide(total, pixels, out=np.full(len(total), np.nan), where=pixels > 0))


def _focused(
    sums: NDArray[Any], focus: list[str], classes: tuple[str, ...] | None
) -> NDArray[np.float64]:
    """Return the sums [n, C] with 0 for classes that are not in focus."""
    wanted = _wanted(focus, classes)
    if sums.shape[1] != len(wanted):
        raise UsageError(
            f"the results have {sums.shape[1]} classes, but {len(wanted)} class names were "
            "given: give the names of the model that scored them"
        )
    return np.where(wanted, sums, 0.0)


def _wanted(focus: list[str], classes: tuple[str, ...] | None) -> NDArray[np.bool_]:
    if classes is None:
        raise UsageError(
            f"focus={','.join(focus)} names classes, but the table does not name its classes: "
            + _NAMES
        )
    return np.array([name in focus for name in classes])


def _majority(columns: Columns, classes: tuple[str, ...] | None) -> NDArray[Any]:
    """Majority class [n] of regions; UsageError if there are more than the class names given."""
    majority = columns["majority_class"]
    if classes is None or (len(majority) and majority.max() >= len(classes)):
        raise UsageError(
            "scoring regions by class needs the model's classes, and "
            + ("none were given" if classes is None else f"only {len(classes)} were given")
            + f": {_NAMES}"
        )
    return majority


for _name, _quantity in _QUANTITIES.items():
    _register_balanced(_name, _quantity)
for _name, _quantity in _QUANTITIES.items():
    _register_focus(_name, _quantity)
