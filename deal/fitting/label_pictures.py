"""``label-errors.csv`` and a sheet of the most doubtful labels: image, label, prediction, doubt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from deal.engines import open_engine
from deal.fitting.label_errors import DoubtedLabel, Doubts, pixel_doubts
from deal.fitting.runner import Runner
from deal.fitting.variants import find_heads
from deal.machine.files import replacing, writing
from deal.model.palette import class_colours
from deal.run.lettering import drawable
from deal.run.overlays import class_overlay, magma

__all__ = ["MOST", "write_ranking"]

_PAPER, _INK = (250, 250, 248), (28, 28, 30)
_SIDE, _GAP, _LINE = 320, 8, 20  # a picture is at most as tall as it is wide

MOST = 170
"""Labels of a sheet: at their tallest they fill most of the 65,500 rows that a JPEG may have."""

_TITLES = ("image", "given label", "predicted classes", "doubt: dark 0, bright 1")


def write_ranking(
    folder: Path, doubts: Doubts, options: Mapping[str, Any], previews: int = 0
) -> tuple[str, ...]:
    """Write ``label-errors.csv`` and, of the first labels, ``label-errors.jpg``.

    Parameters
    ----------
    folder : Path
        Is made if it does not exist.
    doubts : Doubts
    options : mapping
        Those of :func:`deal.fitting.label_errors.rank_label_errors`, to run the network once more.
    previews : int
        How many labels to draw, up to `MOST`; 0 draws none.

    Returns
    -------
    tuple of str
        Notes for the user.

    Raises
    ------
    OutputError
        The folder cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / "label-errors.csv") as file:
            file.write(doubts.to_csv().encode())
        if previews:
            with replacing(folder / "label-errors.jpg") as file:
                _sheet(doubts, options, min(previews, MOST)).save(file, format="JPEG", quality=88)
    if min(previews, len(doubts.labels)) > MOST:
        return (f"label-errors.jpg shows the first {MOST}: a JPEG cannot be taller",)
    return ()


def _sheet(doubts: Doubts, options: Mapping[str, Any], count: int) -> Image.Image:
    opened = open_engine(
        options["model"],
        options["engine"],
        options["device"],
        None,
        options["threads"],
        options["model_options"],
        batch_size=1,
    )
    runner = Runner(opened, doubts.void, options["threads"], ("difficulty",))
    head = None
    if doubts.score == "easy:difficulty":
        given = options["difficulty_head"]
        head = find_heads(opened, [] if given is None else [given])[-1]
    colours = class_colours(len(doubts.classes), opened.spec.palette)
    rows = []
    for label in doubts.labels[:count]:
        image = doubts.images[label.id]
        found = pixel_doubts(runner, image, doubts.score, head)
        frame, given_label = found.rgb, found.label
        cut = _cut(label, given_label.shape)
        void = np.iinfo(given_label.dtype).max
        maps = (np.where(given_label == doubts.void, void, given_label), found.predicted)
        panels = [frame[cut]]
        panels += [class_overlay(frame, classes, colours)[cut] for classes in maps]
        rows.append((label, [*panels, magma(found.doubts)[cut]]))
    return _joined(rows)


def _cut(label: DoubtedLabel, size: tuple[int, ...]) -> tuple[slice, slice]:
    """The whole image, or a cell with as much around it."""
    if label.region is None:
        return slice(None), slice(None)
    high, wide = label.y1 - label.y0, label.x1 - label.x0
    rows = slice(max(label.y0 - high, 0), min(label.y1 + high, size[0]))
    return rows, slice(max(label.x0 - wide, 0), min(label.x1 + wide, size[1]))


def _joined(rows: list[tuple[DoubtedLabel, list[NDArray[np.uint8]]]]) -> Image.Image:
    sizes = [_size(panels[0]) for _, panels in rows]
    total = sum(size[1] for size in sizes) + len(rows) * (_LINE + _GAP) + _LINE + 2 * _GAP
    sheet = Image.new("RGB", (len(_TITLES) * (_SIDE + _GAP) + _GAP, total), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for column, title in enumerate(_TITLES):
        draw.text((_GAP + column * (_SIDE + _GAP), _GAP), title, fill=_INK, font=font)
    top = _GAP + _LINE
    for (label, panels), size in zip(rows, sizes, strict=True):
        place = "" if label.region is None else f", region {label.region}"
        pair = f"{label.label} or {label.predicted}?" if label.label else "no difference"
        text = f"{label.rank}. {label.id}{place}: {pair} {label.score:.3f}"
        draw.text((_GAP, top), drawable(text), fill=_INK, font=font)
        for column, panel in enumerate(panels):
            shown = Image.fromarray(panel).resize(size, Image.Resampling.BILINEAR)
            sheet.paste(shown, (_GAP + column * (_SIDE + _GAP), top + _LINE))
        top += size[1] + _LINE + _GAP
    return sheet


def _size(panel: NDArray[np.uint8]) -> tuple[int, int]:
    """Width and height of a picture on the sheet."""
    height, width = panel.shape[:2]
    scale = _SIDE / max(height, width)
    return max(round(width * scale), 1), max(round(height * scale), 1)
