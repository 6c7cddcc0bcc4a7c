"""``label-errors.csv`` and a sheet of the most doubtful labels: image, label, prediction, doubt."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from deal.engines import open_engine
from deal.fitting.label_errors import DoubtedLabel, Doubts, pixel_doubts
from deal.fitting.runner import Runner
from deal.fitting.variants import find_heads
from deal.machine.files import replacing, writing
from deal.model.palette import class_colours
from deal.pool.schemes import refuse_scheme
from deal.run.lettering import drawable
from deal.run.overlays import class_overlay, magma

__all__ = ["check_folder", "write_ranking"]

_PAPER, _INK = (250, 250, 248), (28, 28, 30)
_WIDTH, _HEIGHT, _GAP, _LINE = 320, 480, 8, 20
_TALLEST = 65_500  # rows that a JPEG may have
_Row: TypeAlias = tuple[DoubtedLabel, list[Image.Image]]
_TITLES = ("image", "given label", "predicted classes", "doubt: dark 0, bright 1")


def check_folder(folder: str) -> None:
    """Make a folder and find out, before any work, whether files can be written to it.

    Raises
    ------
    UsageError
        It is an address of a store.
    OutputError
        It cannot be written.
    """
    refuse_scheme(folder, "--output", "give a folder on this machine")
    path = Path(folder)
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass


def write_ranking(
    folder: Path, doubts: Doubts, options: Mapping[str, Any], previews: int = 0
) -> list[str]:
    """Write ``label-errors.csv`` and, of the first labels, ``label-errors.jpg``.

    Parameters
    ----------
    folder : Path
        Is made if it does not exist.
    doubts : Doubts
    options : mapping
        Those of :func:`deal.fitting.label_errors.rank_label_errors`, to run the network once more.
    previews : int
        How many labels to draw; 0 draws none.

    Returns
    -------
    list of str
        Notes for the user.

    Raises
    ------
    OutputError
        The folder cannot be written.
    """
    sheet, shown, wanted = folder / "label-errors.jpg", 0, min(previews, len(doubts.labels))
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / "label-errors.csv") as file:
            file.write(doubts.to_csv().encode())
        sheet.unlink(missing_ok=True)  # may be of another ranking
        if wanted:
            picture, shown = _sheet(doubts, options, wanted)
            with replacing(sheet) as file:
                picture.save(file, format="JPEG", quality=88)
    if shown < wanted:
        return [f"{sheet.name} shows the first {shown}: a JPEG cannot be taller"]
    return []


def _sheet(doubts: Doubts, options: Mapping[str, Any], count: int) -> tuple[Image.Image, int]:
    """The first labels beside each other, and how many there was room for."""
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
    rows: list[_Row] = []
    for label in doubts.labels[:count]:
        image = doubts.images[label.id]
        found = pixel_doubts(runner, image, doubts.score, head)
        frame, given_label = found.rgb, found.label
        cut = _cut(label, given_label.shape)
        void = np.iinfo(given_label.dtype).max
        maps = (np.where(given_label == doubts.void, void, given_label), found.predicted)
        panels = [frame[cut]]
        panels += [class_overlay(frame, classes, colours)[cut] for classes in maps]
        rows.append((label, [_shrunk(panel) for panel in (*panels, magma(found.doubts)[cut])]))
        if _height(rows) > _TALLEST:
            rows.pop()
            break
    return _joined(rows), len(rows)


def _cut(label: DoubtedLabel, size: tuple[int, ...]) -> tuple[slice, slice]:
    """The whole image, or a cell with as much around it."""
    if label.region is None:
        return slice(None), slice(None)
    high, wide = label.y1 - label.y0, label.x1 - label.x0
    rows = slice(max(label.y0 - high, 0), min(label.y1 + high, size[0]))
    return rows, slice(max(label.x0 - wide, 0), min(label.x1 + wide, size[1]))


def _shrunk(panel: NDArray[np.uint8]) -> Image.Image:
    """A panel at the size at which it is shown."""
    high, wide = panel.shape[:2]
    scale = min(_WIDTH / wide, _HEIGHT / high)
    size = max(round(scale * wide), 1), max(round(scale * high), 1)
    return Image.fromarray(panel).resize(size, Image.Resampling.BILINEAR)


def _height(rows: list[_Row]) -> int:
    return sum(panels[0].height + _LINE + _GAP for _, panels in rows) + _LINE + 2 * _GAP


def _joined(rows: list[_Row]) -> Image.Image:
    width = len(_TITLES) * (_WIDTH + _GAP) + _GAP
    sheet = Image.new("RGB", (width, _height(rows)), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for column, title in enumerate(_TITLES):
        draw.text((_GAP + column * (_WIDTH + _GAP), _GAP), title, fill=_INK, font=font)
    top = _GAP + _LINE
    for label, panels in rows:
        place = "" if label.region is None else f", region {label.region}"
        pair = f"{label.label} or {label.predicted}?" if label.label else "no difference"
        text = f"{label.rank}. {label.id}{place}: {pair} {label.score:.3f}"
        draw.text((_GAP, top), drawable(text), fill=_INK, font=font)
        for column, panel in enumerate(panels):
            sheet.paste(panel, (_GAP + column * (_WIDTH + _GAP), top + _LINE))
        top += panels[0].height + _LINE + _GAP
    return sheet
