"""The contact sheet, which shows the top ranks beside their difficulty maps."""

from __future__ import annotations

import bisect
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from deal.errors import ItemError, ModelError, OutputError
from deal.machine.files import replacing
from deal.pool.decode import MAX_PIXELS, decode
from deal.pool.locator import locate
from deal.results.reading import iter_results
from deal.scoring.faults import fault
from deal.scoring.session import Session
from deal.selection import Selection
from deal.text import printable
from deal.types import PoolItem

__all__ = ["Preview", "contact_sheet", "magma", "write_previews"]

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
_PAPER, _INK, _FAINT, _LINE = (250, 250, 248), (28, 28, 30), (112, 112, 116), (214, 214, 210)
_THUMB = 264  # greatest width and height of a picture
_GAP, _MARGIN, _HEADER, _CAPTION = 6, 28, 76, 50


@dataclass(frozen=True, slots=True)
class Preview:
    """One entry of the sheet.

    Attributes
    ----------
    image : PIL.Image.Image
        RGB, of thumbnail size.
    difficulty : ndarray of float32 [h, w] or None
        Difficulty in 0…1 at the thumbnail's size.
    """

    rank: int
    id: str
    score: float
    image: Image.Image
    difficulty: NDArray[np.float32] | None


def magma(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Colours [..., 3] for values in 0…1; values outside get the colour of the nearer end."""
    position = np.clip(values, 0, 1) * (len(_MAGMA) - 1)
    steps = np.arange(len(_MAGMA))
    channels = [np.interp(position, steps, _MAGMA[:, channel]) for channel in range(3)]
    colours: NDArray[np.uint8] = np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
    return colours


def write_previews(
    output: str | os.PathLike[str],
    selection: Selection,
    scorer: Session,
    *,
    count: int,
    max_pixels: int = MAX_PIXELS,
    endpoint_url: str | None = None,
) -> tuple[Path, list[str]]:
    """Draw the first ``count`` of a selection on ``previews.jpg`` in the output folder.

    Only these images are decoded and go through the network again.

    Returns
    -------
    path : Path
    notes : list of str
        Notes on what is missing on the sheet, and why.

    Raises
    ------
    OutputError
        The sheet cannot be written.
    """
    output = Path(output)
    places = _places(output, set(selection.table.column("id").slice(0, count).to_pylist()))
    previews, notes = [], []
    for rank, item_id, score in islice(selection.rows(), count):
        uri, version = places[item_id]
        item = PoolItem(item_id, uri, locate(uri, version, endpoint_url=endpoint_url), version)
        try:
            pixels = decode(item, max_pixels=max_pixels).image
            difficulty = scorer.difficulty_maps([pixels])[0] if scorer.has_difficulty else None
        except (ItemError, MemoryError, ModelError, RuntimeError) as error:
            reason = fault(error, "drawing it").message
            notes.append(f"no preview of {item_id!r}: {reason}")
            continue
        previews.append(_preview(rank, item_id, score, pixels, difficulty))
    if not scorer.has_difficulty:
        notes.append("the model has no difficulty: the previews show only the images")
    scored, acquisition = selection.metadata["scored"], selection.metadata["acquisition"]
    title = f"Top {len(previews)} of {scored} by {acquisition}{selection.drawn}"
    path = output / "previews.jpg"
    try:
        with replacing(path) as file:
            contact_sheet(previews, title).save(file, format="JPEG", quality=90)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    return path, notes


def contact_sheet(previews: list[Preview], title: str) -> Image.Image:
    """Draw a sheet with title and colour scale above and entries in rows below, best first."""
    with_maps = any(preview.difficulty is not None for preview in previews)
    top = _scale_top(p.difficulty for p in previews)
    pictures, most = (2, 3) if with_maps else (1, 5)
    columns = max(min(most, math.ceil(math.sqrt(len(previews)))), 1)
    cell_width = pictures * _THUMB + (pictures - 1) * _GAP
    cell_height = max((p.image.height for p in previews), default=0) + _CAPTION
    rows = -(-len(previews) // columns)
    width = max(columns * (cell_width + _MARGIN) + _MARGIN, 600)
    height = _HEADER + rows * (cell_height + _MARGIN // 2) + _MARGIN // 2
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    _text(draw, (_MARGIN, _HEADER // 2), title, 24, anchor="lm")
    if with_maps:
        _draw_scale(sheet, draw, width - _MARGIN, top)
    draw.line([(_MARGIN, _HEADER - 12), (width - _MARGIN, _HEADER - 12)], fill=_LINE)
    for index, preview in enumerate(previews):
        row, column = divmod(index, columns)
        x = _MARGIN + column * (cell_width + _MARGIN)
        y = _HEADER + row * (cell_height + _MARGIN // 2)
        _draw_entry(sheet, draw, (x, y), cell_width, preview, top)
    return sheet


def _draw_entry(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    width: int,
    preview: Preview,
    top: float,
) -> None:
    x, y = corner
    sheet.paste(preview.image, (x, y))
    if preview.difficulty is not None:
        colours = Image.fromarray(magma(preview.difficulty / top))
        sheet.paste(colours, (x + preview.image.width + _GAP, y))
        width = min(width, max(2 * preview.image.width + _GAP, _THUMB))
    below = y + preview.image.height
    _text(draw, (x, below + 16), f"#{preview.rank}", 19, anchor="lm")
    if not math.isnan(preview.score):  # a first pick by distance has no score
        _text(draw, (x + width, below + 16), f"score {preview.score:.4f}", 16, anchor="rm")
    _text(draw, (x, below + 37), _fitting(draw, preview.id, 13, width), 13, _FAINT, anchor="lm")


def _draw_scale(sheet: Image.Image, draw: ImageDraw.ImageDraw, right: int, top: float) -> None:
    length, thickness, y = 160, 14, _HEADER // 2 - 7
    label = f"{top:.2f}"
    right -= int(draw.textlength(label, _font(15))) + 8
    ramp = np.broadcast_to(np.linspace(0, 1, length), (thickness, length))
    sheet.paste(Image.fromarray(magma(ramp)), (right - length, y))
    _text(draw, (right + 8, _HEADER // 2), label, 15, anchor="lm")
    _text(draw, (right - length - 8, _HEADER // 2), "difficulty  0", 15, anchor="rm")


def _scale_top(maps: Iterable[NDArray[np.float32] | None]) -> float:
    """Difficulty that gets the brightest colour: the sheet's maximum, rounded up to 0.05."""
    largest = max((float(values.max()) for values in maps if values is not None), default=1.0)
    steps = math.ceil(round(largest * 20, 4))  # float32 0.4 is a little more than 0.4
    return min(max(steps / 20, 0.05), 1.0)


def _preview(
    rank: int,
    item_id: str,
    score: float,
    pixels: NDArray[np.uint8],
    difficulty: NDArray[np.float32] | None,
) -> Preview:
    height, width = pixels.shape[:2]
    scale = _THUMB / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    image = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
    if difficulty is not None:
        resized = Image.fromarray(difficulty).resize(size, Image.Resampling.BILINEAR)
        difficulty = np.asarray(resized)
    return Preview(rank, item_id, score, image, difficulty)


def _places(output: Path, ids: set[str]) -> dict[str, tuple[str, str]]:
    """Uri and version of images."""
    places: dict[str, tuple[str, str]] = {}
    names = ["id", "uri", "source_version"]
    for batch in iter_results(output, names):
        rows = zip(*(batch.column(name).to_pylist() for name in names), strict=True)
        places.update((item_id, (uri, version)) for item_id, uri, version in rows if item_id in ids)
    return places


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _text(
    draw: ImageDraw.ImageDraw,
    position: tuple[float, float],
    text: str,
    size: int,
    colour: tuple[int, int, int] = _INK,
    *,
    anchor: str,
) -> None:
    draw.text(position, text, fill=colour, font=_font(size), anchor=anchor)


def _fitting(draw: ImageDraw.ImageDraw, text: str, size: int, width: int) -> str:
    """Shorten a text to one line; its beginning is left out if it is too wide."""
    text = printable(text)
    font = _font(size)
    if draw.textlength(text, font) <= width:
        return text
    starts = range(1, len(text) + 1)
    fits = bisect.bisect_left(
        starts, 1, key=lambda i: draw.textlength("…" + text[i:], font) <= width
    )
    return "…" + text[fits + 1 :]
