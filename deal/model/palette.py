"""Colours of classes: the model's own palette, or one that colour-blind readers tell apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["OKABE_ITO", "class_colours", "ink_on"]

OKABE_ITO = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (64, 64, 64),
)
"""Okabe & Ito, "Color Universal Design", 2008, with dark grey for black."""

# Every class has a number too, since eight hues and a few tones of them are all an eye tells apart.
_TONES = (0.0, -0.45, 0.55, -0.7, 0.8, -0.22, 0.3)


def class_colours(count: int, palette: Sequence[Sequence[int]] | None = None) -> NDArray[np.uint8]:
    """A colour for each class, all different.

    Parameters
    ----------
    count : int
        C.
    palette : sequence of (r, g, b), length C, optional
        The model's own colours, which are returned as they are.

    Returns
    -------
    ndarray of uint8 [C, 3]
        Without a palette, the hues of `OKABE_ITO`, then darker and lighter tones of them.
    """
    if palette is not None:
        return np.array(palette, np.uint8).reshape(count, 3)
    colours = np.empty((count, 3), np.uint8)
    for index in range(count):
        turn, hue = divmod(index, len(OKABE_ITO))
        more, tone = divmod(turn, len(_TONES))
        amount = _TONES[tone] - 0.047 * more
        end = 255.0 if amount > 0 else 0.0
        base = np.array(OKABE_ITO[hue], np.float64)
        colours[index] = np.rint(base + (end - base) * abs(amount))
    return colours


def ink_on(colour: Sequence[int] | NDArray[np.uint8]) -> tuple[int, int, int]:
    """Black or white, whichever contrasts more with a colour (WCAG 2.1 relative luminance)."""
    levels = np.asarray(colour, np.float64) / 255
    linear = np.where(levels <= 0.03928, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])
    dark = 1.05 / (luminance + 0.05) < (luminance + 0.05) / 0.05
    return (0, 0, 0) if dark else (255, 255, 255)
