"""The report on experiments as one HTML page, with learning curves that need no colour."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from deal.loop.statistics import Interval, mean_interval
from deal.report.charts import Curve, Frame, curve_chart, figure, series, steps
from deal.report.html_page import blocks, heated, tiles, with_figures
from deal.report.html_page import page as html_page
from deal.report.loop import LoopReport
from deal.report.loop_text import interval_text
from deal.text import printable

__all__ = ["bands", "learning_curves", "page"]

_PANEL = (190.0, 170.0)
_OVERLAP = "Overlap of picks"


def page(reports: Sequence[LoopReport]) -> str:
    """Make one self-contained HTML page with text, tables and curves of every experiment."""
    body: list[str] = []
    for report in reports:
        parts = list(blocks(report.to_markdown()))
        section = ""
        for index, part in enumerate(parts):
            section = part if part.startswith("<h2>") else section
            if part.startswith("<div") and section == f"<h2>{_OVERLAP}</h2>":
                parts[index] = heated(part)
        body += with_figures(parts, {}, [_tiles(report), *_figures(report)])
    return html_page(", ".join(report.experiment.name for report in reports), body)


def _tiles(report: LoopReport) -> str:
    experiment = report.experiment
    counts = experiment.counts
    return tiles(
        [
            (str(len(experiment.methods())), "methods"),
            (str(len({run.seed for run in experiment.runs})), "seeds"),
            (f"{counts[0]}…{counts[-1]}", "labeled images"),
            (str(experiment.shared["images"]), "images in the pool"),
        ]
    )


def _figures(report: LoopReport) -> list[str]:
    text = "Each method alone, with the 95 % interval over seeds"
    if report.baselines:
        text += f"; dashed: the mean of {html.escape(printable(report.baselines[0]))}"
    return [
        figure(learning_curves(report), "Mean mIoU over seeds. Point at a mark for its interval."),
        figure(bands(report), f"{text}."),
    ]


def learning_curves(report: LoopReport) -> str:
    """Draw mean mIoU of every method by labeled images as SVG; lines differ by dashes and marks."""
    counts, lines = report.experiment.counts, _lines(report)
    curves = [
        Curve(
            method,
            [(float(n), p.mean) for n, p in zip(counts, line, strict=False)],
            [
                f"{interval_text(p)} % mIoU with {n} labeled images"
                for n, p in zip(counts, line, strict=False)
            ],
            series(index),
        )
        for index, (method, line) in enumerate(lines.items())
    ]
    return curve_chart(
        curves,
        title="Mean mIoU by labeled images",
        labels=("labeled images", "mIoU, %"),
        x_ticks=[(float(count), str(count)) for count in counts],
    )


def bands(report: LoopReport) -> str:
    """Draw one panel per method as SVG: mean and 95 % band over seeds, and the baseline dashed."""
    counts, lines = report.experiment.counts, _lines(report)
    ends = [end for line in lines.values() for point in line for end in _ends(point)]
    base = report.baselines[0] if report.baselines else None
    step, y_range = steps(ends, _PANEL[1])
    frame = Frame((counts[0], counts[-1]), y_range, _PANEL, left=26, right=14, top=26, bottom=24)
    ticks = [(float(count), str(count)) for count in (counts[0], counts[-1])]
    panels = []
    for index, (method, line) in enumerate(lines.items()):
        name = html.escape(printable(method))
        look = series(index)
        parts = [
            f'<svg class="{look.colour}" viewBox="0 0 {_PANEL[0]:g} {_PANEL[1]:g}" role="img" '
            'font-size="11" xmlns="http://www.w3.org/2000/svg">',
            f"<title>mIoU of {name} with its 95 % interval over seeds</title>",
            f'<text x="26" y="15" font-size="13"><tspan class="mark">{look.mark}</tspan> {name}'
            "</text>",
            *frame.axes(ticks, step),
        ]
        placed = list(zip(counts, line, strict=False))
        sure = [(n, p) for n, p in placed if not math.isnan(p.half)]
        if len(sure) > 1:
            outline = [(n, min(p.high, 1)) for n, p in sure]
            outline += [(n, max(p.low, 0)) for n, p in reversed(sure)]
            parts.append(f'<polygon class="band" points="{_trace(frame, outline)}"/>')
        if base is not None and base != method:
            points = [(n, p.mean) for n, p in zip(counts, lines[base], strict=False)]
            parts.append(f'<polyline class="base" points="{_trace(frame, points)}"/>')
        points = [(n, p.mean) for n, p in placed]
        parts.append(f'<polyline class="curve" points="{_trace(frame, points)}"/>')
        parts += [
            f'<circle class="hit" cx="{frame.x(n):.1f}" cy="{frame.y(p.mean):.1f}" r="6">'
            f"<title>{interval_text(p)} % mIoU with {n} labeled images</title></circle>"
            for n, p in placed
        ]
        panels.append("\n".join([*parts, "</svg>"]))
    return '<div class="panels">' + "\n".join(panels) + "</div>"


def _trace(frame: Frame, points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in points)


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
