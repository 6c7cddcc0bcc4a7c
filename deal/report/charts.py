"""Curves as SVG that needs no script: names at their ends, values under the pointer.

Curves differ by colour (Okabe and Ito), dashes and marks, so colour alone decides nothing.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deal.text import printable

__all__ = ["Curve", "Frame", "Look", "curve_chart", "figure", "series", "steps"]

_DASHES = ("", "8 4", "2 4", "10 4 2 4", "16 4", "4 2", "10 3 2 3 2 3", "1 7")
_MARKS = ("●", "■", "▲", "◆", "○", "□", "△", "◇")
_SERIES = 8
_LINE = 17  # height of a name at the end of a curve
_LONGEST = 34  # characters of a name beside a curve

Point = tuple[float, float]
Range = tuple[float, float]


@dataclass(frozen=True)
class Look:
    """Of one curve: the class of its colour, dashes and a mark."""

    colour: str
    dash: str
    mark: str


def series(index: int) -> Look:
    """The look of the curve of this index; 64 differ."""
    shift = index + index // _SERIES
    return Look(
        f"s{index % _SERIES + 1}", _DASHES[shift % len(_DASHES)], _MARKS[shift % len(_MARKS)]
    )


@dataclass(frozen=True)
class Curve:
    """A named curve.

    Attributes
    ----------
    name : str
    points : sequence of (x, y)
    values : sequence of str
        What the pointer shows at each point.
    look : Look
    marked : int
        Every how many points a mark stands.
    """

    name: str
    points: Sequence[Point]
    values: Sequence[str]
    look: Look
    marked: int = 1


class Frame:
    """Axes of a plot and the place of its values."""

    def __init__(
        self,
        x: Range,
        y: Range,
        size: tuple[float, float],
        *,
        left: float = 60,
        right: float = 190,
        top: float = 20,
        bottom: float = 50,
    ) -> None:
        width, height = size
        self.x_range, self.y_range = x, y
        self.left, self.right, self.top, self.bottom = left, width - right, top, height - bottom

    def x(self, value: float) -> float:
        """Pixels from the left."""
        low, high = self.x_range
        return self.left + (value - low) / (high - low or 1) * (self.right - self.left)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        low, high = self.y_range
        return self.bottom - (value - low) / (high - low or 1) * (self.bottom - self.top)

    def axes(self, x_ticks: Sequence[tuple[float, str]], y_step: float) -> Iterator[str]:
        """Draw a line for each step of y, in percent, and ticks below."""
        first, last = (round(value / y_step) for value in self.y_range)
        for number in range(first, last + 1):
            y = self.y(number * y_step)
            yield (
                f'<line class="rule" x1="{self.left}" x2="{self.right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            )
            yield (
                f'<text class="axis" x="{self.left - 8}" y="{y + 4:.1f}" text-anchor="end">'
                f"{100 * number * y_step:.0f}</text>"
            )
        for value, text in x_ticks:
            yield (
                f'<text class="axis" x="{self.x(value):.1f}" y="{self.bottom + 17}" '
                f'text-anchor="middle">{html.escape(text)}</text>'
            )


def steps(values: Sequence[float], height: float) -> tuple[float, Range]:
    """A step of 1, 2, 5 or 10 % for an axis of this height, and whole steps around the values."""
    spread = max(values) - min(values)
    step = next((s for s in (0.01, 0.02, 0.05) if spread / s <= height / 40), 0.1)
    first = math.floor(min(values) / step)
    last = max(math.ceil(max(values) / step), first + 1)
    return step, (first * step, last * step)


def curve_chart(
    curves: Sequence[Curve],
    *,
    title: str,
    labels: tuple[str, str],
    x_ticks: Sequence[tuple[float, str]],
    y: tuple[float, Range] | None = None,
    diagonal: str = "",
) -> str:
    """Draw curves with their names at the right.

    Parameters
    ----------
    curves : sequence of Curve
        y in 0…1, shown in percent.
    title : str
        For those who do not see the chart.
    labels : (str, str)
        Of both axes.
    x_ticks : sequence of (x, str)
        The axis reaches from the first to the last.
    y : (step, (low, high)), optional
        Of the other axis.
    diagonal : str
        Name of a line from corner to corner, if there is one.
    """
    width, height = 760.0, max(420.0, 70 + _LINE * len(curves))
    step, y_range = y or steps([p[1] for curve in curves for p in curve.points], height)
    longest = max(len(_short(curve.name)) for curve in curves)
    right = max(190.0, 60 + 7.6 * longest)
    frame = Frame((x_ticks[0][0], x_ticks[-1][0]), y_range, (width, height), right=right)
    middle = (frame.left + frame.right) / 2
    parts = [
        f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" role="img" font-size="13" '
        'xmlns="http://www.w3.org/2000/svg">',
        f"<title>{html.escape(title)}</title>",
        *frame.axes(x_ticks, step),
        f'<text class="axis" x="{middle}" y="{height - 10:g}" text-anchor="middle">'
        f"{html.escape(labels[0])}</text>",
        f'<text class="axis" x="16" y="{height / 2}" text-anchor="middle" '
        f'transform="rotate(-90 16 {height / 2})">{html.escape(labels[1])}</text>',
    ]
    if diagonal:
        parts.append(
            f'<line class="guide" x1="{frame.left}" x2="{frame.right}" y1="{frame.bottom}" '
            f'y2="{frame.top}"><title>{html.escape(diagonal)}</title></line>'
        )
    # Where curves end alike, names stand in the order in which the curves come there.
    places = [
        (round(frame.y(curve.points[-1][1])), sum(frame.y(y) for _, y in curve.points))
        for curve in curves
    ]
    ends = _apart(places, frame.top, frame.bottom)
    for curve, end in zip(curves, ends, strict=True):
        parts += _curve(curve, frame, end)
    return "\n".join([*parts, "</svg>"])


def _curve(curve: Curve, frame: Frame, end: float) -> Iterator[str]:
    look, name = curve.look, html.escape(printable(curve.name))
    short = html.escape(_short(curve.name))
    placed = [(frame.x(x), frame.y(y)) for x, y in curve.points]
    trace = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
    yield f'<g class="{look.colour}">'
    yield f'<polyline class="curve" points="{trace}" stroke-dasharray="{look.dash}"/>'
    last = len(placed) - 1
    for index, ((x, y), value) in enumerate(zip(placed, curve.values, strict=True)):
        if (last - index) % curve.marked:
            continue
        yield (
            f'<text class="mark" x="{x:.1f}" y="{y + 4.5:.1f}" text-anchor="middle">'
            f"{look.mark}</text>"
        )
        yield (
            f'<circle class="hit" cx="{x:.1f}" cy="{y:.1f}" r="9">'
            f"<title>{name}: {html.escape(value)}</title></circle>"
        )
    x, y = placed[-1]
    yield (
        f'<line class="leader" x1="{x + 7:.1f}" x2="{frame.right + 20}" y1="{y:.1f}" '
        f'y2="{end:.1f}"/>'
    )
    yield (
        f'<text class="mark" x="{frame.right + 30}" y="{end + 4.5:.1f}" text-anchor="middle">'
        f"{look.mark}</text>"
    )
    yield f'<text x="{frame.right + 40}" y="{end + 4.5:.1f}">{short}</text>'
    yield "</g>"


def _short(name: str) -> str:
    """A name that fits beside a curve; its points tell all of it."""
    shown = printable(name)
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"


def _apart(places: Sequence[Point], top: float, bottom: float) -> list[float]:
    """Places of names, near those of the ends (first), a line apart and in the same order."""
    order = sorted(range(len(places)), key=lambda index: (*places[index], index))
    found = [0.0] * len(places)
    below = top - _LINE
    for index in order:
        below = max(places[index][0], below + _LINE)
        found[index] = below
    above = bottom + _LINE
    for index in reversed(order):
        above = min(found[index], above - _LINE)
        found[index] = above
    return found


def figure(drawing: str, caption: str) -> str:
    """A drawing with a text below it, which is HTML already."""
    return f"<figure>{drawing}<figcaption>{caption}</figcaption></figure>"
