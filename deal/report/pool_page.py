"""The report on picks from a pool as one HTML page, with a heat map of what functions share."""

from __future__ import annotations

from deal.report.html_page import blocks, heated, tiles, with_figures
from deal.report.html_page import page as html_page
from deal.report.pool import PoolReport

__all__ = ["page"]

_TITLE = "Acquisition functions compared"


def page(report: PoolReport) -> str:
    """Make one self-contained HTML page with text, tables and the heat map of overlaps."""
    first, *parts = blocks(report.to_markdown())
    # The table after the comparison of functions is that of overlaps.
    tables = [index for index, part in enumerate(parts) if part.startswith("<div")]
    parts[tables[1]] = heated(parts[tables[1]], numbered=True)
    head = [f"<h1>{_TITLE}</h1>", _tiles(report), first]
    return html_page(_TITLE, [*head, *with_figures(parts, {})])


def _tiles(report: PoolReport) -> str:
    values = [
        (str(report.images), "images"),
        (str(report.count), "picked by each function"),
        (str(len(report.picks)), "functions"),
    ]
    if report.pool.sequences:
        values.append((str(report.pool.sequences), "sequences"))
    if report.pool.scenes:
        values.append((str(report.pool.scenes), "scenes"))
    return tiles(values)
