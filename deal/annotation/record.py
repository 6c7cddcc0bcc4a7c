"""What the formats write and read: a picture with its labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from deal.annotation.labels import LabelMap
from deal.text import one_line

__all__ = ["MOST_PIXELS", "Canvas", "Drawn", "Legend", "Picture", "Shape"]

MOST_PIXELS = 2**28
"""Pixels of the largest picture whose labels are read."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How labels are written.

    Attributes
    ----------
    polygon : bool
        One polygon per area instead of one mask per class.
    tolerance : float
        Pixels by which lines of polygons may leave the border between two classes.
    """

    polygon: bool = False
    tolerance: float = 1.5


@dataclass(frozen=True, slots=True)
class Picture:
    """One task: an image, or a part of one, with what the model predicts.

    Attributes
    ----------
    rank : int
        Counts from 1.
    score : float or None
    id : str
        Id of the image in the pool.
    file : str
        Where the tool finds the picture: a path below the document's folder, or a URL.
    size : (H, W)
        Of the upright picture.
    labels : unsigned [H, W], or None
        None without pre-annotations.
    region : str
        Which regions of the image the picture is about; empty for the whole image.
    """

    rank: int
    score: float | None
    id: str
    file: str
    size: tuple[int, int]
    labels: LabelMap | None = None
    region: str = ""


class Legend:
    """Names in a tool's export → labels.

    Parameters
    ----------
    labels : mapping of str to int
        Label (class index + 1; 0 for void) of every name.
    classes : sequence of str
        What the labels mean.
    growing : bool
        A name that is not among them becomes a further class.
    renamed : mapping of str to str or None, optional
        What such a name is called instead; None for void.

    Attributes
    ----------
    classes : list of str
    unknown : Counter of str
        Shapes by names that have no label.
    met : set of str
        Names that were asked for.
    """

    def __init__(
        self,
        labels: Mapping[str, int],
        classes: Sequence[str],
        *,
        growing: bool = False,
        renamed: Mapping[str, str | None] | None = None,
    ) -> None:
        self._labels, self.classes, self._growing = dict(labels), list(classes), growing
        self._renamed = renamed or {}
        self.unknown: Counter[str] = Counter()
        self.met: set[str] = set()

    def label(self, name: str) -> int | None:
        """The label of a name; None, which is counted, for a name that is unknown."""
        self.met.add(name)
        if name not in self._labels:
            if not self._growing:
                self.unknown[name] += 1
                return None
            self._labels[name] = self._grown(self._renamed.get(name, name))
        return self._labels[name]

    def knows(self, name: str) -> bool:
        """Whether a name has a label, or is given one."""
        return name in self._labels or (self._growing and name in self._renamed)

    def declare(self, names: Sequence[str]) -> None:
        """Give the names that a document lists their labels, where names may become classes."""
        if self._growing:
            for name in names:
                self.label(name)

    def _grown(self, target: str | None) -> int:
        if target is None:
            return 0
        if target not in self.classes:
            self.classes.append(target)
        return self.classes.index(target) + 1


@dataclass(frozen=True, slots=True)
class Drawn:
    """What people have drawn in one picture.

    Attributes
    ----------
    name : str
        File name of the picture, as the tool has it.
    labels : unsigned [H, W] or None
        None if nothing usable is drawn.
    rank : int or None
        ``deal_rank``, where the format carries it.
    problems : tuple of str
        What was left out, for the report.
    skipped : str
        Why there are no labels.
    id : str
        ``deal_id``, where the format carries it.
    """

    name: str
    labels: LabelMap | None
    rank: int | None = None
    problems: tuple[str, ...] = field(default=())
    skipped: str = ""
    id: str = ""


class Canvas:
    """Paints what a document draws in one picture, the later over the earlier.

    Raises
    ------
    ValueError
        The size is not positive or has more than `MOST_PIXELS` pixels.
    """

    def __init__(self, legend: Legend, size: tuple[int, int]) -> None:
        if min(size) < 1 or size[0] * size[1] > MOST_PIXELS:
            raise ValueError(f"its size is {size[1]}x{size[0]}")
        self._legend, self._shapes = legend, 0
        self._left_out: Counter[str] = Counter()
        self._problems: list[str] = []
        self._labels = np.zeros(size, dtype=np.uint16)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        height, width = self._labels.shape
        return height, width

    def paint(self, name: str, mask: Callable[[], NDArray[np.bool_]]) -> None:
        """Give the pixels of a mask [H, W] the label of a name; damaged ones become problems."""
        label = self._legend.label(name)
        if label is None:
            self._left_out[f"of the unknown class {name!r}"] += 1
            return
        try:
            inside = mask()
        except (ValueError, TypeError, OverflowError, LookupError) as error:
            self._problems.append(f"a shape of {name!r} is left out: {one_line(error)}")
            return
        self._shapes += 1
        self._labels[inside] = label

    def leave_out(self, why: str) -> None:
        """Note a shape that cannot be painted."""
        self._left_out[why] += 1

    def leave_out_kind(self, kind: str) -> None:
        """Note a shape that is no area."""
        self.leave_out(f"of kind {kind!r}, which is no area: draw masks or polygons")

    def drawn(self, name: str, rank: int | None = None) -> Drawn:
        """What was painted."""
        problems = (
            *self._problems,
            *(f"{number} shape(s) left out, {what}" for what, number in self._left_out.items()),
        )
        skipped = "" if self._shapes else "nothing is drawn in it"
        return Drawn(name, self._labels if self._shapes else None, rank, problems, skipped)
