"""Text on pictures: lines are cut to fit, and what no font has a glyph for is escaped.

Pillow brings a font of its own, which is the same on every machine but has little more than ASCII.
Other characters are drawn with a font of the system, if one has them.
"""

from __future__ import annotations

import bisect
import unicodedata
from functools import lru_cache
from itertools import groupby

from PIL import ImageDraw, ImageFont

from deal.text import printable

__all__ = ["drawable", "fitted_end", "fitted_start", "length", "wrapped", "write"]

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_MISSING = "\U0010ffff"  # no font has a glyph for it, so it shows what every missing glyph shows
_OTHERS = (  # of Linux, macOS and Windows; Pillow searches the folders of each
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "wqy-zenhei.ttc",
    "Arial Unicode.ttf",
    "Arial.ttf",
    "msgothic.ttc",
)
_PLAIN = {"×": "x", "–": "-", "—": "-", "−": "-", "→": "->", "\u00a0": " "}
_RIGHT_TO_LEFT = ("R", "AL")  # Pillow shapes it only with a library that wheels may lack


def drawable(text: str) -> str:
    r"""Escape what cannot be drawn (``\u5b57``), instead of an empty box for every character."""
    return "".join(
        character
        if _font_of(character) is not None
        else _PLAIN.get(character) or character.encode("unicode_escape").decode()
        for character in printable(text)
    )


def length(text: str, size: int) -> float:
    """Width of a line of drawable text, in pixels."""
    return sum(_at_size(name, size).getlength(part) for name, part in _runs(text))


def fitted_start(text: str, size: int, width: float) -> str:
    """Cut a text to one line; its beginning stays."""
    text = drawable(text)
    if length(text, size) <= width:
        return text
    count = bisect.bisect_left(
        range(len(text)), True, key=lambda n: length(text[: n + 1] + "…", size) > width
    )
    return text[:count].rstrip() + "…"


def fitted_end(text: str, size: int, width: float) -> str:
    """Cut a text to one line; its end stays, which is where ids differ."""
    text = drawable(text)
    if length(text, size) <= width:
        return text
    first = bisect.bisect_left(
        range(len(text)), True, key=lambda n: length("…" + text[n:], size) <= width
    )
    return "…" + text[first:]


def wrapped(text: str, size: int, width: float, lines: int) -> list[str]:
    """Break a text at blanks into at most ``lines`` lines; the last is cut to fit."""
    words = drawable(text).split()
    found: list[str] = []
    while words and len(found) < lines - 1:
        count = _fitting(words, size, width)
        found.append(fitted_start(" ".join(words[:count]), size, width))
        words = words[count:]
    return [*found, fitted_start(" ".join(words), size, width)] if words else found


def _fitting(words: list[str], size: int, width: float) -> int:
    """How many of the first words fit on a line; at least one."""
    counts = range(2, len(words) + 1)
    return 1 + bisect.bisect_left(
        counts, True, key=lambda n: length(" ".join(words[:n]), size) > width
    )


def write(
    draw: ImageDraw.ImageDraw,
    position: tuple[float, float],
    text: str,
    size: int,
    colour: tuple[int, int, int],
    anchor: str = "l",
) -> None:
    """Draw one line of drawable text, its middle at the height of ``position``.

    ``anchor`` is ``l``, ``m`` or ``r``: whether ``position`` is the left end, middle or right end.
    """
    x, y = position
    before = {"l": 0.0, "m": 0.5, "r": 1.0}[anchor]
    if before:
        x -= before * length(text, size)
    runs = _runs(text)
    for place, (name, part) in enumerate(runs, 1):
        own = _at_size(name, size)
        draw.text((x, y), part, fill=colour, font=own, anchor=_middle(own))
        if place < len(runs):  # measuring takes as long as drawing
            x += own.getlength(part)


def _middle(own: Font) -> str | None:
    return "lm" if isinstance(own, ImageFont.FreeTypeFont) else None


def _runs(text: str) -> list[tuple[str, str]]:
    """Parts of a text with the name of the font that draws each."""
    return [(name or "", "".join(part)) for name, part in groupby(text, _font_of)]


@lru_cache(maxsize=4096)
def _font_of(character: str) -> str | None:
    """Name of the font for a character, nothing for Pillow's own; None if no font has it."""
    if character.isascii() or _has_glyph("", character):
        return ""
    if unicodedata.bidirectional(character) in _RIGHT_TO_LEFT:
        return None
    return next((name for name in _OTHERS if _has_glyph(name, character)), None)


@lru_cache(maxsize=4096)
def _has_glyph(name: str, character: str) -> bool:
    drawn = _drawn(name, character)
    return drawn is not None and drawn != _drawn(name, _MISSING)


@lru_cache(maxsize=4096)
def _drawn(name: str, character: str) -> tuple[tuple[int, int], bytes] | None:
    try:
        mask = _at_size(name, 24).getmask(character)
    except (OSError, UnicodeEncodeError):  # no such font, or one of Latin letters alone
        return None
    return mask.size, bytes(mask)


@lru_cache(maxsize=64)
def _at_size(name: str, size: int) -> Font:
    return ImageFont.truetype(name, size) if name else ImageFont.load_default(size)
