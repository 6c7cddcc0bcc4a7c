"""The contact sheet: what was picked and why, beside what the pool usually looks like."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from deal.machine.cores import available_cores
from deal.machine.threads import ordered
from deal.model.palette import ink_on
from deal.run.lettering import drawable, fitted_end, fitted_start, length, wrapped, write
from deal.run.overlays import Picture, Rings, class_overlay, draw_rings, heat_overlay, magma

__all__ = ["Entry", "Key", "contact_sheet", "pictures_of", "thumb_size"]

_PAPER, _INK, _FAINT, _LINE = (250, 250, 248), (28, 28, 30), (96, 96, 100), (214, 214, 210)
_GAP, _MARGIN, _HEADER, _CAPTION, _SECTION = 6, 28, 92, 68, 44
_MOST_LISTED = 42  # classes in the legend
_THREADS = 4  # that draw pictures at most
_SWATCH, _LEGEND_LINE, _LEGEND_COLUMN = 34, 26, 260


@dataclass(frozen=True, slots=True, eq=False)
class Key:
    """What colours and captions of a sheet mean.

    Attributes
    ----------
    title : str
        What was selected how.
    shown : str
        Which of them the sheet shows.
    measure : str
        What the heat shows: ``difficulty``, ``entropy``.
    unit : str
        Its unit, or nothing.
    top : float
        Greatest value that the measure can have.
    classes : tuple of str, length C
    colours : ndarray of uint8 [C, 3]
    outlined : str
        What the outlines are.
    """

    title: str
    shown: str
    measure: str
    unit: str
    top: float
    classes: tuple[str, ...]
    colours: Picture
    outlined: str


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One image of the sheet; its pictures have one size.

    Attributes
    ----------
    name : str
        ``#1``, or ``median``.
    id : str
    score : float
        NaN for a pick without one.
    standing : str
        Where the score stands in the pool.
    carried : float or None
        Share of the map's sum that the outlined part has, 0…1; None where it is no fixed part.
    why : str
    frame : ndarray of uint8 [h, w, 3]
    heat : ndarray of float32 [h, w]
        The map of the measure, in its unit.
    classes : ndarray of unsigned integers [h, w]
        Predicted classes; the largest number of the dtype is void.
    outlines : list of (rings, text)
        Outlines of the regions that carry the score, in pixels of ``frame``.
    pictures : tuple of two ndarrays of uint8 [h, w, 3]
        The frame with its outlines, and the classes over the frame: :func:`pictures_of`.
    """

    name: str
    id: str
    score: float
    standing: str
    carried: float | None
    why: str
    frame: Picture
    heat: NDArray[np.float32]
    classes: NDArray[Any]
    outlines: list[tuple[Rings, str]]
    pictures: tuple[Picture, Picture]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the pictures."""
        return self.frame.shape[1], self.frame.shape[0]


def pictures_of(
    frame: Picture,
    outlines: list[tuple[Rings, str]],
    classes: NDArray[Any],
    colours: Picture,
) -> tuple[Picture, Picture]:
    """The pictures of an entry that do not depend on the others, as its heat does."""
    return draw_rings(frame, outlines), class_overlay(frame, classes, colours)


def thumb_size(count: int) -> int:
    """Greatest width and height of a picture on a sheet of ``count`` entries."""
    return 400 if count <= 2 else 264


def contact_sheet(entries: Sequence[Entry], contrast: Sequence[Entry], key: Key) -> Image.Image:
    """Draw title and scale, then entries in rows, best first, then contrast and legend.

    Each entry is three pictures: the frame with outlines, the map of the score over the frame, and
    the predicted classes.
    """
    thumb = thumb_size(len(entries))
    columns = 1 if len(entries) <= 2 else 2
    cell = 3 * thumb + 2 * _GAP
    width = columns * (cell + _MARGIN) + _MARGIN
    top = heat_top([*entries, *contrast], key.top)
    parts = [_Rows.of(some, columns, cell) for some in (entries, contrast)]
    second = _SECTION + parts[1].height if contrast else 0
    legend = _legend([*entries, *contrast], key, width)
    height = _HEADER + parts[0].height + second + legend.height
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    _header(sheet, draw, width, top, key)
    y = _HEADER
    parts[0].draw(sheet, draw, y, top, key)
    y += parts[0].height
    if contrast:
        draw.line([(_MARGIN, y + 8), (width - _MARGIN, y + 8)], fill=_LINE)
        write(draw, (_MARGIN, y + 26), "For contrast, from the same pool", 17, _INK)
        parts[1].draw(sheet, draw, y + _SECTION, top, key)
    sheet.paste(legend, (0, y + second))
    return sheet


def heat_top(entries: Sequence[Entry], most: float) -> float:
    """Value of the brightest colour: the sheet's maximum, rounded up to a twentieth of the most."""
    largest = max((float(entry.heat.max()) for entry in entries if entry.heat.size), default=most)
    steps = math.ceil(round(20 * largest / most, 4))  # float32 0.4 is a little more than 0.4
    return min(max(steps, 1), 20) * most / 20


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Entries in rows, with the room that they take."""

    entries: Sequence[Entry]
    columns: int
    cell: int  # width of an entry
    whys: list[list[str]]
    heights: list[int]  # of the rows

    @classmethod
    def of(cls, entries: Sequence[Entry], columns: int, cell: int) -> _Rows:
        whys = [wrapped(entry.why, 14, cell, 2) for entry in entries]
        rows = [slice(start, start + columns) for start in range(0, len(entries), columns)]
        heights = [
            max(e.size[1] for e in entries[row]) + _CAPTION + 18 * max(map(len, whys[row]))
            for row in rows
        ]
        return cls(entries, columns, cell, whys, heights)

    @property
    def height(self) -> int:
        return sum(self.heights)

    def draw(
        self, sheet: Image.Image, draw: ImageDraw.ImageDraw, y: int, top: float, key: Key
    ) -> None:
        """Draw the rows one below the other, the first at ``y``."""
        with ThreadPoolExecutor(min(available_cores(), _THREADS), "deal-sheet") as executor:
            drawn = ordered(executor, lambda e: _pictures(e, top), self.entries, 2 * _THREADS)
            for place, (entry, pictures) in enumerate(drawn):
                row, column = divmod(place, self.columns)
                corner = _MARGIN + column * (self.cell + _MARGIN), y + sum(self.heights[:row])
                _entry(sheet, draw, corner, self.cell, entry, pictures, self.whys[place], key)


def _pictures(entry: Entry, top: float) -> tuple[Picture, ...]:
    outlined, classes = entry.pictures
    return outlined, heat_overlay(entry.frame, entry.heat / top), classes


def _entry(
    page: Image.Image,
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    cell: int,
    entry: Entry,
    pictures: tuple[Picture, ...],
    why: list[str],
    key: Key,
) -> None:
    x, y = corner
    for index, picture in enumerate(pictures):
        page.paste(Image.fromarray(picture), (x + index * (entry.size[0] + _GAP), y))
    below = y + entry.size[1]
    head = f"{entry.name}   {entry.score:.4f}" if not math.isnan(entry.score) else entry.name
    write(draw, (x, below + 17), head, 19, _INK)
    notes = [entry.standing] if entry.standing else []
    if entry.carried is not None:
        notes.append(f"the outlined tenth has {100 * entry.carried:.0f} % of the {key.measure}")
    at = length(head, 19) + 14
    text = fitted_start("  ·  ".join(notes), 14, cell - at)
    write(draw, (x + at, below + 18), text, 14, _FAINT)
    line = below + 39
    for text in why:
        write(draw, (x, line), text, 14, _INK)
        line += 18
    write(draw, (x, line), fitted_end(entry.id, 13, cell), 13, _FAINT)


def _header(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, width: int, top: float, key: Key
) -> None:
    title = f"{key.title[:1].upper()}{key.title[1:]}"
    write(draw, (_MARGIN, 28), fitted_start(title, 21, width - 2 * _MARGIN), 21, _INK)
    measure = f"{key.measure} ({key.unit})" if key.unit else key.measure
    scale = _scale(sheet, draw, width - _MARGIN, top, measure)
    panels = f"{key.shown}: left the frame, outlined {key.outlined}  ·  middle {key.measure}"
    text = f"{panels}  ·  right predicted classes"
    write(draw, (_MARGIN, 60), fitted_start(text, 14, scale - 2 * _MARGIN), 14, _FAINT)
    draw.line([(_MARGIN, _HEADER - 12), (width - _MARGIN, _HEADER - 12)], fill=_LINE)


def _scale(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, right: int, top: float, measure: str
) -> int:
    """Draw the colour scale with its right end at ``right``; return where it begins."""
    long, thickness, y = 160, 14, 53
    label = f"{top:.2f}"
    right -= int(length(label, 14)) + 8
    ramp = np.broadcast_to(np.linspace(0, 1, long), (thickness, long))
    sheet.paste(Image.fromarray(magma(ramp)), (right - long, y))
    write(draw, (right + 8, 60), label, 14, _INK)
    text = f"{drawable(measure)}  0"
    write(draw, (right - long - 8, 60), text, 14, _INK, "r")
    return int(right - long - 8 - length(text, 14))


def _legend(entries: Sequence[Entry], key: Key, width: int) -> Image.Image:
    """Number, colour and name of the classes on the sheet, by the area they cover."""
    counts = np.zeros(len(key.classes), np.int64)
    hidden = False
    for entry in entries:
        nothing = np.iinfo(entry.classes.dtype).max
        hidden |= bool((entry.classes == nothing).any())
        seen = entry.classes[entry.classes != nothing]
        counts += np.bincount(seen.ravel(), minlength=len(counts))[: len(counts)]
    order = [n for n in np.argsort(-counts, kind="stable").tolist() if counts[n]]
    listed, rest = order[:_MOST_LISTED], order[_MOST_LISTED:]
    columns = max((width - _MARGIN) // _LEGEND_COLUMN, 1)
    rows = -(-len(listed) // columns)
    notes = []
    if rest:
        most = 100 * counts[rest[0]] / counts.sum()
        notes.append(f"and {len(rest)} more classes, each at most {most:.1f} % of what is shown")
    if hidden:
        notes.append("hatched: masked, or never seen by the network")
    height = _LEGEND_LINE * (rows + len(notes)) + 3 * _GAP + 14 if listed or notes else 1
    legend = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(legend)
    if listed or notes:
        draw.line([(_MARGIN, 6), (width - _MARGIN, 6)], fill=_LINE)
    for index, number in enumerate(listed):
        column, row = divmod(index, rows)
        x, y = _MARGIN + column * _LEGEND_COLUMN, 18 + row * _LEGEND_LINE
        fill = tuple(map(int, key.colours[number]))
        draw.rectangle([x, y, x + _SWATCH, y + 18], fill=fill, outline=_INK)
        ink = ink_on(key.colours[number])
        write(draw, (x + _SWATCH / 2, y + 9), str(number), 13, ink, "m")
        share = f"{100 * counts[number] / counts.sum():.1f} %"
        room = _LEGEND_COLUMN - _SWATCH - 30 - length(share, 14)
        text = f"{fitted_start(key.classes[number], 14, room)}  {share}"
        write(draw, (x + _SWATCH + 8, y + 9), text, 14, _INK)
    for index, note in enumerate(notes):
        write(draw, (_MARGIN, 27 + (rows + index) * _LEGEND_LINE), note, 14, _FAINT)
    return legend
