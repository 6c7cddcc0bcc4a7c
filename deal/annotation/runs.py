"""Run lengths of binary masks as CVAT and COCO write them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Order", "coco_counts", "from_runs", "runs_of", "whole_numbers"]

Order = Literal["rows", "columns"]

_MOST_DIGITS = 7  # of a count in COCO's text: 35 bits


def runs_of(mask: NDArray[np.bool_], order: Order) -> list[int]:
    """Lengths of runs along rows (CVAT) or columns (COCO); the first is of pixels outside.

    The first run has length 0 where the first pixel is inside. A mask without pixels has no runs.
    """
    flat = mask.ravel() if order == "rows" else mask.T.ravel()
    if not flat.size:
        return []
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths: list[int] = np.diff(changes, prepend=0, append=flat.size).tolist()
    return [0, *lengths] if flat[0] else lengths


def from_runs(runs: Sequence[int], size: tuple[int, int], order: Order) -> NDArray[np.bool_]:
    """Invert :func:`runs_of`: the mask, bool [H, W].

    Raises
    ------
    ValueError
        A run is no whole number from 0 on, or the runs do not add up to the pixels of the mask.
    """
    height, width = size
    counts = whole_numbers(runs)
    if int(counts.sum()) != height * width or counts.min(initial=0) < 0:
        raise ValueError(
            f"its run lengths add up to {int(counts.sum())} pixels instead of {width}x{height}"
        )
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return flat.reshape(size) if order == "rows" else flat.reshape(width, height).T


def whole_numbers(values: Iterable[Any]) -> NDArray[np.int64]:
    """Whole numbers of a document, int64 [n]; ValueError for anything else."""
    listed = list(values)
    if not all(type(value) is int and abs(value) < 2**40 for value in listed):
        raise ValueError("a run length is not a whole number")
    return np.array(listed, dtype=np.int64)


def coco_counts(text: str) -> list[int]:
    """Run lengths of the compressed text in COCO files (pycocotools' ``rleFrString``).

    A count is given by 5 bits per character, lowest first; bit 6 says that more follow. From the
    fourth count on it is the difference from the count before the last.

    Raises
    ------
    ValueError
        The text holds other characters or ends within a count.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift >= 5 * _MOST_DIGITS:
            raise ValueError("its compressed run lengths are damaged")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("its compressed run lengths are cut off")
    return counts
