"""What the scores of a whole pool say of its model: signs that it is not what it is taken for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal.model.spec import ModelSpec

__all__ = ["ENOUGH", "PoolDoubts", "doubts_of_spec"]

ENOUGH = 5
"""Images: what is true of all of so many is no chance."""

_UNIFORM = 0.98  # of ln C


def doubts_of_spec(spec: ModelSpec) -> list[str]:
    """What a user should know of a contract that is kept."""
    if spec.resize != "crop":
        return []
    return [f"model {spec.path} crops: only the middle of an image is scored, as far as it is seen"]


class PoolDoubts:
    """Gathers what is alike in all images of a run.

    A network with the wrong normalisation, or whose weights were lost at export, gives nearly equal
    probabilities everywhere, or one class for every pixel: no error, and scores that mean nothing.
    """

    def __init__(self) -> None:
        self._images = 0
        self._least_entropy = math.inf
        self._class_pixels: NDArray[np.int64] | None = None

    def add(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Take in the columns ``entropy_mean`` [n] and ``class_pixels`` [n, C] of scored images."""
        entropy, pixels = columns["entropy_mean"], columns["class_pixels"]
        if not len(entropy):
            return
        self._images += len(entropy)
        self._least_entropy = min(self._least_entropy, float(entropy.min()))
        total = pixels.sum(axis=0, dtype=np.int64)
        self._class_pixels = total if self._class_pixels is None else self._class_pixels + total

    def sentences(self, classes: Sequence[str], enough: int = ENOUGH) -> list[str]:
        """The doubts, one sentence each; none of fewer than ``enough`` images."""
        if self._images < enough or self._class_pixels is None:
            return []
        found = []
        if self._least_entropy >= _UNIFORM * math.log(len(classes)):
            found.append(
                f"the classes are nearly equally likely in every one of {self._images} images "
                f"(entropy at least {self._least_entropy:.3f} of {math.log(len(classes)):.3f}): "
                "mean, std or input_format may not be those of the training (deal check MODEL "
                "IMAGE shows a prediction)"
            )
        seen = np.flatnonzero(self._class_pixels)
        if len(seen) == 1:
            found.append(
                f"every pixel of all {self._images} images is predicted as {classes[seen[0]]!r}: "
                "the model may be damaged, or take other images than these (deal check MODEL IMAGE "
                "shows a prediction)"
            )
        return found
