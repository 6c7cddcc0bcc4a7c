"""Label maps and names of classes as tools take them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import numpy as np
from numpy.typing import NDArray

from deal import _native
from deal.text import one_line, printable

__all__ = ["LabelMap", "label_map", "tool_colours", "tool_names", "without_small"]

LabelMap = NDArray[np.uint8] | NDArray[np.uint16]
"""Class index + 1, 0 where there is no label: unsigned [H, W]."""

Color = tuple[int, int, int]

_LONGEST = 64  # characters of a label's name in CVAT
_TAKEN = {(0, 0, 0), (224, 224, 192)}  # of pixels without a label in CVAT, and of borders in VOC


def label_map(size: tuple[int, int], num_classes: int) -> LabelMap:
    """An empty label map of a size (H, W), as narrow as the number of classes allows."""
    return np.zeros(size, np.uint8) if num_classes < 256 else np.zeros(size, np.uint16)


def without_small(labels: LabelMap, min_area: int) -> LabelMap:
    """A label map in which 4-connected areas of fewer than ``min_area`` pixels have no label."""
    if min_area <= 1 or labels.size == 0:
        return labels
    areas, _ = _native.components(labels.astype(np.int32) - 1, min_area)
    kept = labels.copy()
    kept[areas < 0] = 0
    return kept


def tool_names(classes: Sequence[str]) -> list[str]:
    """Names by which a labeling tool can tell the classes apart, in their order.

    Names are one line of at most 64 printable characters, and not empty; of equal names the second
    gets `` (2)``, and so on. Case does not tell names apart.
    """
    names: list[str] = []
    taken: set[str] = set()
    for index, text in enumerate(classes):
        plain = printable(one_line(text))[:_LONGEST].strip() or f"class {index}"
        name, number = plain, 1
        while name.casefold() in taken:
            number += 1
            ending = f" ({number})"
            name = plain[: _LONGEST - len(ending)] + ending
        taken.add(name.casefold())
        names.append(name)
    return names


def tool_colours(colours: Sequence[Color]) -> list[Color]:
    """Colours by which masks of a labeling tool can tell the classes apart, in their order.

    Of equal colours the second becomes one of PASCAL VOC's, and so does black, which CVAT gives to
    pixels without a label.
    """
    found: list[Color] = []
    taken = _TAKEN.union(colours)
    others = (colour for colour in map(_voc_colour, count(1)) if colour not in taken)
    for colour in colours:
        found.append(next(others) if colour in _TAKEN or colour in found else colour)
    return found


def _voc_colour(index: int) -> Color:
    """The colour of a class in PASCAL VOC: bits of the index, the lowest three first."""
    r, g, b = (
        sum((index >> 3 * place + channel & 1) << 7 - place for place in range(8))
        for channel in range(3)
    )
    return r, g, b
