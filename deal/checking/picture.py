"""One prediction as a picture: the image, its classes by colour and name, its uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from deal.checking.prediction import Prediction
from deal.errors import OutputError
from deal.machine.files import replacing
from deal.model.palette import class_colours
from deal.run.lettering import drawable
from deal.run.overlays import magma

__all__ = ["draw_prediction", "write_picture"]

_PAPER, _INK = (250, 250, 248), (28, 28, 30)
_WIDTH, _GAP, _LINE, _SWATCH = 480, 12, 24, 16
_MOST = 24  # classes in the legend


def draw_prediction(
    prediction: Prediction, palette: Sequence[tuple[int, int, int]] | None = None
) -> Image.Image:
    """Draw the image, the image under its classes, and the uncertainty; a legend below."""
    height, width = prediction.image.shape[:2]
    size = _WIDTH, max(round(_WIDTH * height / width), 1)
    seen = Image.fromarray(prediction.image).resize(size, Image.Resampling.BILINEAR)
    colours = class_colours(len(prediction.classes), palette)
    labels = Image.fromarray(colours[prediction.labels]).resize(size, Image.Resampling.NEAREST)
    heat = Image.fromarray(prediction.uncertainty).resize(size, Image.Resampling.BILINEAR)
    panels = {
        f"{drawable(prediction.name)} as the network sees it": seen,
        "predicted classes": Image.blend(seen, labels, 0.65),
        f"{prediction.measure}: dark 0, bright 1": Image.fromarray(magma(np.asarray(heat))),
    }
    shares = list(prediction.shares.items())
    rows = -(-min(len(shares), _MOST) // 3)
    total = len(panels) * (_WIDTH + _GAP) + _GAP, size[1] + 2 * _LINE + rows * _LINE + 2 * _GAP
    sheet = Image.new("RGB", total, _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(14)
    for index, (title, panel) in enumerate(panels.items()):
        x = _GAP + index * (_WIDTH + _GAP)
        draw.text((x, _GAP), title[-60:], fill=_INK, font=font)
        sheet.paste(panel, (x, _GAP + _LINE))
    top = size[1] + _LINE + 2 * _GAP
    for index, (name, share) in enumerate(shares[:_MOST]):
        column, row = divmod(index, rows)
        x, y = _GAP + column * (_WIDTH + _GAP), top + row * _LINE
        colour = tuple(map(int, colours[prediction.classes.index(name)]))
        draw.rectangle([x, y, x + _SWATCH, y + _SWATCH], fill=colour, outline=_INK)
        text = f"{drawable(name)[:40]}  {share:.1%}"
        draw.text((x + _SWATCH + 8, y), text, fill=_INK, font=font)
    return sheet


def write_picture(
    path: str | Path,
    prediction: Prediction,
    palette: Sequence[tuple[int, int, int]] | None = None,
) -> None:
    """Write the picture as PNG; OutputError."""
    path = Path(path)
    try:
        with replacing(path) as file:
            draw_prediction(prediction, palette).save(file, format="PNG")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
