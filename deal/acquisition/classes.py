"""Scores by predicted class: rare classes weighted up, or named classes alone.

Each takes, in place of a mean over all pixels, the sums over the pixels predicted as each class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal.acquisition.columns import Columns, Scores
from deal.acquisition.registry import acquisition, suggestion
from deal.errors import UsageError

__all__ = ["class_weights", "focus_mask"]

# What is summed a pixel → its stored sums by class, its formula.
_QUANTITIES = {
    "difficulty": ("class_difficulty_sum", "D"),
    "entropy": ("class_entropy_sum", "H(P)"),
    "ds-entropy": ("class_difficulty_weighted_entropy_sum", "D · H(P)"),
    "pixels": ("class_pixels", "1"),
}
_ENET_OFFSET = 1.02


def class_weights(pixels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weights [C] by rarity, 1 / ln(1.02 + f), f the share of pixels predicted as the class.

    ENet's class weighting (Paszke et al. 2016, arXiv 1606.02147, section 5.1): 50.5 for a class
    without pixels, 1.42 for the only one.
    """
    return np.asarray(1.0 / np.log(_ENET_OFFSET + pixels / max(int(pixels.sum()), 1)))


def focus_mask(focus: list[str], classes: tuple[str, ...] | None) -> NDArray[np.float64]:
    """1 for the classes in ``focus``, 0 for the others, [C]."""
    if classes is None:
        raise UsageError(
            f"focus={','.join(focus)} names classes, and the table does not say what its classes "
            "are: give classes=, the model's class names in order"
        )
    return np.array([float(name in focus) for name in classes])


def _per_pixel(sums: NDArray[Any], pixels: NDArray[np.int64]) -> Scores:
    return np.asarray(np.divide(sums, pixels, out=np.full(len(pixels), np.nan), where=pixels > 0))


def _pool_pixels(columns: Columns) -> NDArray[np.int64]:
    """Pixels of the pool predicted as each class, int64 [C]."""
    return np.asarray(columns["class_pixels"].sum(axis=0), dtype=np.int64)


def _register_balanced(quantity: str) -> Callable[..., Scores]:
    column, value = _QUANTITIES[quantity]

    def weighted(columns: Columns, *, totals: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(columns[column] * class_weights(totals))

    @acquisition(
        f"balanced:{quantity}",
        requires=[column, "class_pixels", "n_pixels"],
        formula=f"mean over pixels of w_c · {value}, c the predicted class, "
        "w_c = 1 / ln(1.02 + f_c), f_c its share of the pool's pixels",
        source="class weights of ENet: Paszke et al. 2016, arXiv 1606.02147, section 5.1",
        class_sums=weighted,
        totals=_pool_pixels,
    )
    def balanced(columns: Columns, *, totals: NDArray[np.int64]) -> Scores:
        """Mean over pixels, each weighted by how rare its predicted class is in the pool."""
        return _per_pixel(weighted(columns, totals=totals).sum(axis=1), columns["n_pixels"])

    return balanced


def _check_focus(focus: Any, classes: tuple[str, ...] | None) -> dict[str, Any]:
    """Names of classes, from a list or from text with commas."""
    names = focus.split(",") if isinstance(focus, str) else list(focus)
    names = [str(name).strip() for name in names]
    names = list(dict.fromkeys(name for name in names if name))
    if not names:
        raise UsageError("focus names no class: give some, such as focus=pole,bicyclist")
    for name in names:
        if classes is not None and name not in classes:
            raise UsageError(
                f"no class {name!r} to focus on.{suggestion(name, classes)} "
                f"There are: {', '.join(classes)}"
            )
    return {"focus": names}


def _register_focus(quantity: str) -> Callable[..., Scores]:
    column, value = _QUANTITIES[quantity]

    def focused(
        columns: Columns, *, focus: list[str], classes: tuple[str, ...] | None
    ) -> NDArray[np.float64]:
        return np.asarray(columns[column] * focus_mask(focus, classes))

    @acquisition(
        f"focus:{quantity}",
        requires=[column, "n_pixels"],
        formula=f"Σ {value} over the pixels predicted as a class of `focus`, over all pixels",
        source="deal: "
        + (
            "the share of the predicted classes asked for"
            if quantity == "pixels"
            else f"`{'ds:none' if quantity == 'difficulty' else quantity.replace('ds-', 'ds:')}` "
            "with the other classes counted as 0"
        ),
        class_sums=focused,
        check=_check_focus,
    )
    def focus_score(
        columns: Columns, *, focus: list[str], classes: tuple[str, ...] | None
    ) -> Scores:
        """Mean over pixels, those predicted as other classes counted as 0.

        Parameters
        ----------
        columns : mapping
            The class sums [n, C] and ``n_pixels`` [n].
        focus : list of str
            Class names.
        """
        sums = focused(columns, focus=focus, classes=classes).sum(axis=1)
        return _per_pixel(sums, columns["n_pixels"])

    return focus_score


for _quantity in ("difficulty", "entropy", "ds-entropy"):
    _register_balanced(_quantity)
for _quantity in _QUANTITIES:
    _register_focus(_quantity)
