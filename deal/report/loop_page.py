"""The report of experiments as one HTML page, with learning curves that need no colour."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterator, Sequence

from deal.loop.statistics import Interval, mean_interval
from deal.report.loop import LoopReport

__all__ = ["learning_curves", "page"]

_WIDTH, _HEIGHT = 760, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 190, 20, 50
_DASHES = ("", "8 4", "2 4", "10 4 2 4", "16 4", "4 2")
_MARKS = ("●", "■", "▲", "◆", "○", "□", "△", "◇")

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
th, td { border-bottom: 1px solid #999; padding: .2rem .7rem; text-align: right }
th:first-child, td:first-child { text-align: left }
svg { max-width: 100%; height: auto }
"""


def page(reports: Sequence[LoopReport]) -> str:
    """One self-contained HTML page: text, tables and curves of every experiment."""
    body = []
    for report in reports:
        parts = list(_blocks(report.to_markdown()))
        # The figure comes before the first section, after title and settings.
        place = next((i for i, part in enumerate(parts) if part.startswith("<h2>")), len(parts))
        parts.insert(place, learning_curves(report))
        body += parts
    title = html.escape(", ".join(report.experiment.folder.name for report in reports))
    lines = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
        *body,
        "</body>\n</html>\n",
    ]
    return "\n".join(lines)


def learning_curves(report: LoopReport) -> str:
    """Mean mIoU by labeled images with 95 % bands, as SVG; dashes and marks tell lines apart."""
    counts = report.experiment.counts
    lines = {
        method: [
            mean_interval([curve[i] for curve in of.values() if i < len(curve)])
            for i in range(max(len(curve) for curve in of.values()))
        ]
        for method, of in report.experiment.curves().items()
    }
    ends = [end for line in lines.values() for point in line for end in _ends(point)]
    low, high = math.floor(min(ends) * 20) / 20, math.ceil(max(ends) * 20 + 1e-9) / 20
    high = max(high, low + 0.05)

    def x(labeled: float) -> float:
        span = (labeled - counts[0]) / (counts[-1] - counts[0])
        return _LEFT + span * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" font-size="13" '
        'font-family="system-ui, sans-serif" xmlns="http://www.w3.org/2000/svg">',
        "<title>Mean mIoU by labeled images, with 95 % intervals over seeds</title>",
    ]
    for step in range(round((high - low) * 20) + 1):
        value = low + step / 20
        parts += [
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" '
            'stroke="#ccc"/>',
            f'<text x="{_LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">'
            f"{100 * value:.0f}</text>",
        ]
    parts += [
        f'<text x="{x(count):.1f}" y="{_HEIGHT - _BOTTOM + 20}" text-anchor="middle">{count}</text>'
        for count in counts
    ]
    parts += [
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 10}" text-anchor="middle">'
        "labeled images</text>",
        f'<text x="16" y="{_HEIGHT / 2}" text-anchor="middle" '
        f'transform="rotate(-90 16 {_HEIGHT / 2})">mIoU, %</text>',
    ]
    for index, (method, line) in enumerate(lines.items()):
        points = [(x(count), point) for count, point in zip(counts, line, strict=False)]
        if not any(math.isnan(point.half) for point in line):
            outline = [(at, point.high) for at, point in points]
            outline += [(at, point.low) for at, point in reversed(points)]
            area = " ".join(f"{at:.1f},{y(value):.1f}" for at, value in outline)
            parts.append(f'<polygon points="{area}" fill="#000" fill-opacity="0.06"/>')
        trace = " ".join(f"{at:.1f},{y(point.mean):.1f}" for at, point in points)
        dash, mark = _DASHES[index % len(_DASHES)], _MARKS[index % len(_MARKS)]
        look = f'fill="none" stroke="#000" stroke-width="1.5" stroke-dasharray="{dash}"'
        parts.append(f'<polyline points="{trace}" {look}/>')
        parts += [
            f'<text x="{at:.1f}" y="{y(point.mean) + 4.5:.1f}" text-anchor="middle">{mark}</text>'
            for at, point in points
        ]
        at, row = _WIDTH - _RIGHT + 16, _TOP + 10 + 22 * index
        parts += [
            f'<line x1="{at}" x2="{at + 44}" y1="{row}" y2="{row}" stroke="#000" '
            f'stroke-width="1.5" stroke-dasharray="{dash}"/>',
            f'<text x="{at + 22}" y="{row + 4.5}" text-anchor="middle">{mark}</text>',
            f'<text x="{at + 52}" y="{row + 4.5}">{html.escape(method)}</text>',
        ]
    return "\n".join([*parts, "</svg>"])


def _ends(point: Interval) -> tuple[float, ...]:
    return (point.mean,) if math.isnan(point.half) else (max(point.low, 0), min(point.high, 1))


def _blocks(markdown: str) -> Iterator[str]:
    """HTML of the Markdown that the report writes: headings, lists, tables, paragraphs."""
    for block in re.split(r"\n{2,}", markdown.strip()):
        lines = block.split("\n")
        if heading := re.match(r"(#+) ", block):
            level = len(heading[1])
            yield f"<h{level}>{_inline(block[level + 1 :])}</h{level}>"
        elif block.startswith("| "):
            cells = [[_inline(c) for c in line[2:-2].split(" | ")] for line in lines]
            head, body = cells[0], cells[2:]
            rows = [f"<tr>{''.join(f'<td>{c}</td>' for c in row)}</tr>" for row in body]
            heads = "".join(f"<th>{c}</th>" for c in head)
            yield f"<table>\n<tr>{heads}</tr>\n" + "\n".join(rows) + "\n</table>"
        elif block.startswith("- "):
            items = [f"<li>{_inline(line[2:])}</li>" for line in lines]
            yield "<ul>\n" + "\n".join(items) + "\n</ul>"
        else:
            yield f"<p>{_inline(block)}</p>"


def _inline(text: str) -> str:
    return re.sub(r"\*([^*]+)\*", r"<em>\1</em>", html.escape(text))
