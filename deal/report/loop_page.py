"""The report on experiments as one HTML page, with learning curves that need no colour."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence

from deal.loop.statistics import Interval, mean_interval
from deal.report.html_page import blocks
from deal.report.html_page import page as html_page
from deal.report.loop import LoopReport
from deal.text import printable

__all__ = ["bands", "learning_curves", "page"]

_WIDTH, _HEIGHT = 760, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 190, 20, 50
_PANELS, _PANEL_HEIGHT = 4, 170  # panels per row
_DASHES = ("", "8 4", "2 4", "10 4 2 4", "16 4", "4 2", "10 3 2 3 2 3", "1 7")
_MARKS = ("●", "■", "▲", "◆", "○", "□", "△", "◇")


def page(reports: Sequence[LoopReport]) -> str:
    """Make one self-contained HTML page with text, tables and curves of every experiment."""
    body = []
    for report in reports:
        parts = list(blocks(report.to_markdown()))
        # The figure comes before the first section, after title and settings.
        place = next((i for i, part in enumerate(parts) if part.startswith("<h2>")), len(parts))
        parts[place:place] = _figures(report)
        body += parts
    return html_page(", ".join(report.experiment.name for report in reports), body)


def _figures(report: LoopReport) -> list[str]:
    text = "Above: means over seeds. Below: each method alone, with the 95 % interval over seeds"
    if report.baselines:
        text += f"; dashed: the mean of {html.escape(printable(report.baselines[0]))}"
    return [learning_curves(report), f"<p>{text}.</p>", bands(report)]


def learning_curves(report: LoopReport) -> str:
    """Draw mean mIoU of every method by labeled images as SVG; lines differ by dashes and marks."""
    counts, lines = report.experiment.counts, _lines(report)
    frame = _Frame(counts, [p.mean for line in lines.values() for p in line], _WIDTH, _HEIGHT)
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" font-size="13" '
        'font-family="system-ui, sans-serif" xmlns="http://www.w3.org/2000/svg">',
        "<title>Mean mIoU by labeled images</title>",
        *frame.axes(counts),
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 10}" text-anchor="middle">'
        "labeled images</text>",
        f'<text x="16" y="{_HEIGHT / 2}" text-anchor="middle" '
        f'transform="rotate(-90 16 {_HEIGHT / 2})">mIoU, %</text>',
    ]
    # The legend has the order in which the lines end.
    order = sorted(lines, key=lambda method: (-len(lines[method]), -lines[method][-1].mean))
    for index, (method, line) in enumerate(lines.items()):
        dash, mark = _DASHES[index % len(_DASHES)], _MARKS[index % len(_MARKS)]
        stroke = f'stroke="#000" stroke-width="1.5" stroke-dasharray="{dash}"'
        points = [(frame.x(n), frame.y(p.mean)) for n, p in zip(counts, line, strict=False)]
        trace = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{trace}" fill="none" {stroke}/>')
        parts += [
            f'<text x="{x:.1f}" y="{y + 4.5:.1f}" text-anchor="middle">{mark}</text>'
            for x, y in points
        ]
        at, row = _WIDTH - _RIGHT + 24, _TOP + 10 + 22 * order.index(method)
        parts += [
            f'<line x1="{at}" x2="{at + 44}" y1="{row}" y2="{row}" {stroke}/>',
            f'<text x="{at + 22}" y="{row + 4.5}" text-anchor="middle">{mark}</text>',
            f'<text x="{at + 52}" y="{row + 4.5}">{html.escape(printable(method))}</text>',
        ]
    return "\n".join([*parts, "</svg>"])


def bands(report: LoopReport) -> str:
    """Draw one panel per method as SVG: mean and 95 % band over seeds, and the baseline dashed."""
    counts, lines = report.experiment.counts, _lines(report)
    ends = [end for line in lines.values() for point in line for end in _ends(point)]
    base = report.baselines[0] if report.baselines else None
    rows = -(-len(lines) // _PANELS)
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {rows * _PANEL_HEIGHT}" role="img" font-size="11" '
        'font-family="system-ui, sans-serif" xmlns="http://www.w3.org/2000/svg">',
        "<title>mIoU of each method with its 95 % interval over seeds</title>",
    ]
    width = _WIDTH / _PANELS
    for index, (method, line) in enumerate(lines.items()):
        frame = _Frame(counts, ends, width, _PANEL_HEIGHT, left=26, right=14, top=26, bottom=24)
        x, y = index % _PANELS * width, index // _PANELS * _PANEL_HEIGHT
        parts.append(f'<g transform="translate({x:.1f} {y})">')
        parts += [f'<text x="26" y="15" font-size="13">{html.escape(printable(method))}</text>']
        parts += frame.axes((counts[0], counts[-1]))
        placed = list(zip(counts, line, strict=False))
        sure = [(n, p) for n, p in placed if not math.isnan(p.half)]
        if len(sure) > 1:
            outline = [(n, min(p.high, 1)) for n, p in sure]
            outline += [(n, max(p.low, 0)) for n, p in reversed(sure)]
            area = " ".join(f"{frame.x(n):.1f},{frame.y(v):.1f}" for n, v in outline)
            parts.append(f'<polygon points="{area}" fill="#000" fill-opacity="0.18"/>')
        traces = [(line, ' stroke-width="1.8"')]
        if base is not None and base != method:
            traces.append((lines[base], ' stroke-dasharray="3 3"'))
        for shown, look in traces:
            points = zip(counts, shown, strict=False)
            trace = " ".join(f"{frame.x(n):.1f},{frame.y(p.mean):.1f}" for n, p in points)
            parts.append(f'<polyline points="{trace}" fill="none" stroke="#000"{look}/>')
        parts.append("</g>")
    return "\n".join([*parts, "</svg>"])


class _Frame:
    """Axes of a plot: labeled images to the right, mIoU upwards."""

    def __init__(
        self,
        counts: Sequence[int],
        values: Sequence[float],
        width: float,
        height: float,
        *,
        left: float = _LEFT,
        right: float = _RIGHT,
        top: float = _TOP,
        bottom: float = _BOTTOM,
    ) -> None:
        spread = max(values) - min(values)
        self.step = next((s for s in (0.01, 0.02, 0.05) if spread / s <= height / 40), 0.1)
        self.first = math.floor(min(values) / self.step)
        self.last = max(math.ceil(max(values) / self.step), self.first + 1)
        self.counts = counts
        self.left, self.right, self.top, self.bottom = left, width - right, top, height - bottom

    def x(self, labeled: float) -> float:
        span = (labeled - self.counts[0]) / (self.counts[-1] - self.counts[0])
        return self.left + span * (self.right - self.left)

    def y(self, value: float) -> float:
        span = (value / self.step - self.first) / (self.last - self.first)
        return self.bottom - span * (self.bottom - self.top)

    def axes(self, ticks: Sequence[int]) -> Iterator[str]:
        """Draw a line for each step of mIoU, and numbers of labeled images below."""
        for number in range(self.first, self.last + 1):
            y = self.y(number * self.step)
            yield (
                f'<line x1="{self.left}" x2="{self.right}" y1="{y:.1f}" y2="{y:.1f}" '
                'stroke="#ccc"/>'
            )
            yield (
                f'<text x="{self.left - 8}" y="{y + 4:.1f}" text-anchor="end">'
                f"{100 * number * self.step:.0f}</text>"
            )
        for count in ticks:
            yield (
                f'<text x="{self.x(count):.1f}" y="{self.bottom + 17}" text-anchor="middle">'
                f"{count}</text>"
            )


def _lines(report: LoopReport) -> dict[str, list[Interval]]:
    return {
        method: [
            mean_interval([curve[i] for curve in of.values() if i < len(curve)])
            for i in range(max(len(curve) for curve in of.values()))
        ]
        for method, of in report.experiment.curves().items()
    }


def _ends(point: Interval) -> tuple[float, ...]:
    return (point.mean,) if math.isnan(point.half) else (max(point.low, 0), min(point.high, 1))
