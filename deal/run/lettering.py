"""Text on pictures: lines are cut to fit, and what Pillow's font has no glyph for is escaped."""

from __future__ import annotations

import bisect
from functools import lru_cache

from PIL import ImageDraw, ImageFont

from deal.text import printable

__all__ = ["drawable", "fitted_end", "fitted_start", "font", "wrapped", "write"]

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_MISSING = "\U0010ffff"  # no font has a glyph for it, so it shows what every missing glyph shows


@lru_cache(maxsize=32)
def font(size: int) -> Font:
    """Pillow's own font, which needs no file of the system, so that pictures are alike."""
    return ImageFont.load_default(size)


def drawable(text: str) -> str:
    r"""Escape what cannot be drawn (``\u5b57``), instead of an empty box for every character."""
    return "".join(
        character if _has_glyph(character) else character.encode("unicode_escape").decode()
        for character in printable(text)
    )


def fitted_start(draw: ImageDraw.ImageDraw, text: str, size: int, width: float) -> str:
    """Cut a text to one line; its beginning stays."""
    text = drawable(text)
    if draw.textlength(text, font(size)) <= width:
        return text
    count = bisect.bisect_left(
        range(len(text)),
        True,
        key=lambda n: draw.textlength(text[: n + 1] + "…", font(size)) > width,
    )
    return text[:count].rstrip() + "…"


def fitted_end(draw: ImageDraw.ImageDraw, text: str, size: int, width: float) -> str:
    """Cut a text to one line; its end stays, which is where ids differ."""
    text = drawable(text)
    if draw.textlength(text, font(size)) <= width:
        return text
    first = bisect.bisect_left(
        range(len(text)), True, key=lambda n: draw.textlength("…" + text[n:], font(size)) <= width
    )
    return "…" + text[first:]


def wrapped(draw: ImageDraw.ImageDraw, text: str, size: int, width: float, lines: int) -> list[str]:
    """Break a text at blanks into at most ``lines`` lines; the last is cut to fit."""
    words = drawable(text).split()
    found: list[str] = []
    while words and len(found) < lines - 1:
        count = 1
        while (
            count < len(words)
            and draw.textlength(" ".join(words[: count + 1]), font(size)) <= width
        ):
            count += 1
        found.append(fitted_start(draw, " ".join(words[:count]), size, width))
        words = words[count:]
    return [*found, fitted_start(draw, " ".join(words), size, width)] if words else found


def write(
    draw: ImageDraw.ImageDraw,
    position: tuple[float, float],
    text: str,
    size: int,
    colour: tuple[int, int, int],
    anchor: str = "lm",
) -> None:
    """Draw one line of text, by default with its left middle at ``position``."""
    draw.text(position, text, fill=colour, font=font(size), anchor=anchor)


@lru_cache(maxsize=4096)
def _has_glyph(character: str) -> bool:
    if character.isascii():
        return True
    return _drawn(character) != _drawn(_MISSING)


@lru_cache(maxsize=4096)
def _drawn(character: str) -> bytes | None:
    try:
        return bytes(font(24).getmask(character))
    except UnicodeEncodeError:  # without FreeType, Pillow's font has Latin letters alone
        return None
