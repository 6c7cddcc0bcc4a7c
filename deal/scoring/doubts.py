"""Signs in the scores of a whole pool that the model is not what its contract says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal.model.spec import ModelSpec

__all__ = ["ENOUGH", "PoolDoubts", "doubts_of_spec"]

ENOUGH = 5
"""Number of images after which a property that all of them share is no coincidence."""

_UNIFORM = 0.98  # as a share of ln C, the largest entropy


def doubts_of_spec(spec: ModelSpec) -> list[str]:
    """Warnings about a valid contract, one sentence each."""
    if spec.resize != "crop":
        return []
    return [f"model {spec.path} crops its input: only the middle part of each image is scored"]


class PoolDoubts:
    """Collects properties that all images of a run share.

    A network with the wrong normalisation, or without its trained weights, gives nearly equal
    probabilities everywhere, or one class for every pixel: no error, but meaningless scores.
    """

    def __init__(self) -> None:
        self._images = 0
        self._least_entropy = math.inf
        self._class_pixels: NDArray[np.int64] | None = None

    def add(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Add the columns ``entropy_mean`` [n] and ``class_pixels`` [n, C] of scored images."""
        entropy, pixels = columns["entropy_mean"], columns["class_pixels"]
        if not len(entropy):
            return
        self._images += len(entropy)
        self._least_entropy = min(self._least_entropy, float(entropy.min()))
        total = pixels.sum(axis=0, dtype=np.int64)
        self._class_pixels = total if self._class_pixels is None else self._class_pixels + total

    def sentences(self, classes: Sequence[str], enough: int = ENOUGH) -> list[str]:
        """The doubts, one sentence each; none after fewer than ``enough`` images."""
        if self._images < enough or self._class_pixels is None:
            return []
        found = []
        if self._least_entropy >= _UNIFORM * math.log(len(classes)):
            found.append(
                f"the classes are nearly equally likely in every one of {self._images} images "
                f"(entropy at least {self._least_entropy:.3f} of {math.log(len(classes)):.3f}): "
                "mean, std or input_format may differ from those in training (deal check MODEL "
                "IMAGE shows a prediction)"
            )
        seen = np.flatnonzero(self._class_pixels)
        if len(seen) == 1:
            found.append(
                f"every pixel of all {self._images} images is predicted as {classes[seen[0]]!r}: "
                "the model may be damaged, or made for other images than these (deal check MODEL "
                "IMAGE shows a prediction)"
            )
        return found
