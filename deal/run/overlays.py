"""Maps as pictures: heat over a frame, classes in colour with numbers, outlines of what counts."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from deal.model.palette import ink_on
from deal.run.lettering import length, write

__all__ = [
    "HOT_SHARE",
    "Rings",
    "class_overlay",
    "draw_rings",
    "heat_overlay",
    "hot_cells",
    "magma",
    "rings_of_cells",
    "rings_of_wkt",
]

Picture: TypeAlias = NDArray[np.uint8]
Rings: TypeAlias = "list[list[tuple[float, float]]]"

HOT_SHARE = 0.1
"""Share of the image that is outlined where no regions are stored."""

_CELLS = 16  # along the longer side
_ROOMY = 40  # pixels of a region that has room for its own text
_LEAST_NUMBERED = 0.012  # share of a picture that a class needs to get its number drawn

# Ten evenly spaced colours of matplotlib's magma (van der Walt and Smith, CC0): perceptually
# uniform, so equal steps of difficulty look equal, and readable in grey.
_MAGMA = np.array(
    [
        (0x00, 0x00, 0x04),
        (0x18, 0x0F, 0x3E),
        (0x45, 0x10, 0x77),
        (0x72, 0x1F, 0x81),
        (0x9F, 0x2F, 0x7F),
        (0xCD, 0x40, 0x71),
        (0xF1, 0x60, 0x5D),
        (0xFD, 0x95, 0x67),
        (0xFE, 0xC9, 0x8D),
        (0xFC, 0xFD, 0xBF),
    ],
    dtype=np.float64,
)


def magma(values: NDArray[np.floating]) -> Picture:
    """Colours [..., 3] for values in 0…1; values outside get the colour of the nearer end."""
    ramp = _ramp()
    # fmin and fmax, so that NaN becomes 0 and not an index
    position = np.fmin(np.fmax(values, 0), 1) * np.float32(len(ramp) - 1)
    colours: Picture = ramp[np.rint(position).astype(np.intp)]
    return colours


@cache
def _ramp() -> Picture:
    """Colours of 0…1, in steps that are finer than those of 8 bits."""
    position = np.linspace(0, len(_MAGMA) - 1, 2305)
    steps = np.arange(len(_MAGMA))
    channels = [np.interp(position, steps, _MAGMA[:, channel]) for channel in range(3)]
    ramp: Picture = np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
    return ramp


def heat_overlay(frame: Picture, values: NDArray[np.floating]) -> Picture:
    """Lay values 0…1 [H, W] in magma over a frame [H, W, 3], whose grey shines through."""
    share = np.rint(255 * (0.62 + 0.3 * np.clip(values, 0, 1))).astype(np.uint8)
    heat = Image.fromarray(magma(values))
    return np.asarray(Image.composite(heat, _grey(frame), Image.fromarray(share)))


def _grey(frame: Picture) -> Image.Image:
    """The frame without its colours."""
    return Image.fromarray(frame).convert("L").convert("RGB")


def class_overlay(frame: Picture, classes: NDArray[Any], colours: Picture) -> Picture:
    """Lay predicted classes in colour over a frame, with borders and with the number of each class.

    Parameters
    ----------
    frame : ndarray of uint8 [H, W, 3]
    classes : ndarray of integers [H, W]
        The largest number of the dtype is void, where the frame stays grey and is hatched.
    colours : ndarray of uint8 [C, 3]
    """
    grey = _grey(frame)
    nothing = classes == np.iinfo(classes.dtype).max
    has_void = bool(nothing.any())
    own = Image.fromarray(colours[np.where(nothing, 0, classes) if has_void else classes])
    mixed = np.array(Image.blend(grey, own, 0.7))
    if has_void:
        y, x = np.indices(classes.shape)
        mixed[nothing] = np.asarray(grey)[nothing] // 2 + 90
        mixed[nothing & ((x + y) % 8 == 0)] = 60
    border = np.zeros(classes.shape, bool)
    border[1:] |= classes[1:] != classes[:-1]
    border[:, 1:] |= classes[:, 1:] != classes[:, :-1]
    mixed[border] = mixed[border] * 0.35
    picture = Image.fromarray(mixed)
    for number, (row, column) in _middles(classes).items():
        _number(picture, (column, row), number, colours[number])
    return np.asarray(picture)


def hot_cells(values: NDArray[np.floating]) -> tuple[NDArray[np.bool_], float]:
    """The tenth of an image in which a map is highest, in cells of a sixteenth of its longer side.

    Parameters
    ----------
    values : ndarray [H, W], not negative

    Returns
    -------
    hot : ndarray of bool [rows, columns]
        The cells of highest mean, a tenth of all and at least one; ties go in reading order. None
        where the map is 0 everywhere.
    share : float
        Their share of the map's sum, 0…1.
    """
    height, width = values.shape
    longest = max(height, width)
    size = tuple(max(round(_CELLS * n / longest), 1) for n in (width, height))
    plane = Image.fromarray(np.ascontiguousarray(values, np.float32))
    means = np.asarray(plane.resize((size[0], size[1]), Image.Resampling.BOX), np.float64)
    hot = np.zeros(means.shape, bool)
    total = means.sum()
    if not total > 0:
        return hot, 0.0
    count = math.ceil(HOT_SHARE * means.size)
    order = np.argsort(-means, axis=None, kind="stable")[:count]
    hot.ravel()[order] = True
    return hot, float(means[hot].sum() / total)


def rings_of_cells(cells: NDArray[np.bool_], size: tuple[int, int]) -> Rings:
    """Edges of marked cells in a picture of ``size`` (width, height), as lines of two points."""
    rows, columns = cells.shape
    padded = np.pad(cells, 1)
    lines: Rings = []
    for y, x in np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1]).tolist():
        lines.append([(x, y), (x + 1, y)])
    for y, x in np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1]).tolist():
        lines.append([(x, y), (x, y + 1)])
    across, down = size[0] / columns, size[1] / rows
    return [[(x * across, y * down) for x, y in line] for line in lines]


def rings_of_wkt(text: str, scale: tuple[float, float]) -> Rings:
    """Rings of a WKT (multi)polygon, times ``scale`` (x, y)."""
    rings: Rings = []
    for ring in re.findall(r"\(([^()]+)\)", text):
        pairs = (pair.split() for pair in ring.split(","))
        rings.append([(float(x) * scale[0], float(y) * scale[1]) for x, y in pairs])
    return rings


def draw_rings(picture: Picture, outlines: Sequence[tuple[Rings, str]]) -> Picture:
    """Draw outlines with their texts, light with a dark edge, so that they show on any picture."""
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    width, height = image.size
    for thickness, colour in ((4, (0, 0, 0)), (2, (255, 255, 255))):
        for rings, _ in outlines:
            for ring in rings:
                inside = [(min(max(x, 1), width - 2), min(max(y, 1), height - 2)) for x, y in ring]
                draw.line(inside, fill=colour, width=thickness, joint="curve")
    for rings, text in outlines:
        points = [point for ring in rings for point in ring]
        if text and points:
            (x0, y0), (x1, y1) = np.min(points, axis=0), np.max(points, axis=0)
            if min(x1 - x0, y1 - y0) >= _ROOMY:
                _tag(draw, (x0 + 4, y0 + 4), text)
            else:  # beside a small region, or it would be covered
                _tag(draw, (x0, y0 - 19 if y0 >= 20 else y1 + 4), text)
    return np.asarray(image)


def _middles(classes: NDArray[Any]) -> dict[int, tuple[int, int]]:
    """For each class that covers enough, a pixel far from its border, by row and column.

    Every second pixel is enough to find one.
    """
    classes = classes[::2, ::2]
    down = _from_border(np.ascontiguousarray(classes.T)).T
    distance = np.minimum(_from_border(classes), down)
    nothing = np.iinfo(classes.dtype).max
    found = {}
    for number, count in enumerate(np.bincount(classes.ravel()).tolist()):
        if number != nothing and count and count >= _LEAST_NUMBERED * classes.size:
            best = int(np.where(classes == number, distance, -1).argmax())
            row, column = divmod(best, classes.shape[1])
            found[number] = 2 * row, 2 * column
    return found


def _from_border(classes: NDArray[Any]) -> NDArray[np.int32]:
    """Distance of each pixel to the next other class in its row, to the left or the right."""
    width = classes.shape[1]
    at = np.arange(width, dtype=np.int32)
    change = np.ones(classes.shape, bool)
    change[:, 1:] = classes[:, 1:] != classes[:, :-1]
    left = at - np.maximum.accumulate(np.where(change, at, 0), axis=1)
    ends = np.ones(classes.shape, bool)
    ends[:, :-1] = change[:, 1:]
    ahead = np.where(ends, at, np.int32(width))
    last = np.minimum.accumulate(ahead[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(np.minimum(left, last - at))


def _number(
    picture: Image.Image, at: tuple[int, int], number: int, colour: NDArray[np.uint8]
) -> None:
    red, green, blue = colour.tolist()
    badge, shape = _badge(str(number), (red, green, blue))
    width, height = badge.size
    x = min(at[0] - width // 2, picture.width - width)
    y = min(at[1] - height // 2, picture.height - height)
    picture.paste(badge, (max(x, 0), max(y, 0)), shape)


@lru_cache(maxsize=1024)
def _badge(text: str, fill: tuple[int, int, int]) -> tuple[Image.Image, Image.Image]:
    """A number on its colour, and the mask of its rounded shape."""
    ink, height = ink_on(np.array(fill)), 17
    width = round(length(text, 13)) + 7
    badge, shape = Image.new("RGB", (width, height), fill), Image.new("L", (width, height))
    edge = (0, 0, width - 1, height - 1)
    ImageDraw.Draw(shape).rounded_rectangle(edge, 4, fill=255)
    draw = ImageDraw.Draw(badge)
    draw.rounded_rectangle(edge, 4, fill=fill, outline=ink)
    write(draw, (width / 2, height // 2), text, 13, ink, "m")
    return badge, shape


def _tag(draw: ImageDraw.ImageDraw, corner: tuple[float, float], text: str) -> None:
    width, height = draw.im.size
    room = length(text, 12) + 6
    x = min(max(corner[0], 1), max(width - room - 2, 1))
    y = min(max(corner[1], 1), max(height - 17, 1))
    draw.rectangle([x, y, x + room, y + 15], fill=(0, 0, 0))
    write(draw, (x + 3, y + 8), text, 12, (255, 255, 255))
