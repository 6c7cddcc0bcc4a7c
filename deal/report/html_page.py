"""A report as one HTML page that needs no other file; every text in it is escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from deal.look import look

__all__ = ["blocks", "heated", "page", "tiles", "with_figures"]

# Nothing may be loaded or run, whatever a name in a report looks like.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

_LONG = 16  # rows of a table that is folded at first

_STYLE = """
body { max-width: 62rem; margin: 0 auto; padding: 1.5rem 1rem 4rem }
h1 { overflow-wrap: anywhere }
h2 { margin: 2.2rem 0 .6rem; border-top: 1px solid var(--line); padding-top: 1rem }
code { overflow-wrap: anywhere }
td { white-space: nowrap }
thead th { vertical-align: bottom }
table { margin: .4rem 0 }
details { margin: .8rem 0 1.2rem }
summary { cursor: pointer; color: var(--muted) }
summary::first-letter { text-transform: uppercase }
.tiles { margin: 1rem 0 }
figure { margin: 1rem 0; padding: .8rem; border: 1px solid var(--line);
  border-radius: var(--radius); background: var(--card); overflow-x: auto }
figcaption { color: var(--muted); font-size: .9rem; margin-top: .4rem }
svg { display: block; width: 100%; height: auto; font-family: var(--sans) }
svg.chart { min-width: 34rem }
svg text { fill: var(--ink) }
svg .axis { fill: var(--muted) }
svg .rule { stroke: var(--line) }
svg .guide { stroke: var(--line-strong); stroke-dasharray: 3 3 }
svg .curve { stroke: var(--c); fill: none; stroke-width: 1.8; stroke-linejoin: round }
svg .mark, svg .name { fill: var(--c) }
svg .leader { stroke: var(--c); stroke-opacity: .5 }
svg .band { fill: var(--c); fill-opacity: .2 }
svg .base { stroke: var(--muted); fill: none; stroke-dasharray: 3 3 }
svg .hit { fill: transparent }
svg .hit:hover { fill: var(--c); fill-opacity: .25 }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: .6rem }
.heatmap th { text-align: center }
td.heat { min-width: 2.3rem; padding: .3rem;
  background: color-mix(in oklab, var(--accent) calc(var(--v) * 55%), var(--card));
  border: 1px solid var(--card); text-align: center; print-color-adjust: exact }
""" + "".join(
    [
        *(f".s{n} {{ --c: var(--series-{n}) }}\n" for n in range(1, 9)),
        *(f".l{n} :is(th, td):nth-child({n}) {{ text-align: left }}\n" for n in range(2, 13)),
    ]
)
_PAPER = """
@media print {
  details::details-content { content-visibility: visible; block-size: auto }
  figure { overflow: visible }
  h2, summary { break-after: avoid }
  svg.chart { min-width: 0 }
}
"""

# A code span, a backslash before punctuation, or emphasis, whichever comes first.
_INLINE = re.compile(
    r"(?P<fence>`+)(?P<code>.+?)(?<!`)(?P=fence)(?!`)"
    r"|\\(?P<escaped>[!-/:-@\[-`{-~])"
    r"|\*(?P<emphasis>[^*]+)\*"
)
_CAPTION = re.compile(r"<p>([^<]{1,60}):</p>")
_PERCENT = re.compile(r"<td>(\d+(?:\.\d+)?)( ?%)?</td>")


def page(title: str, parts: Iterable[str]) -> str:
    """Make one self-contained page from blocks of HTML."""
    lines = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{html.escape(title)}</title>",
        f"<style>{look()}{_STYLE}{_PAPER}</style>\n</head>\n<body>",
        *parts,
        "</body>\n</html>\n",
    ]
    return "\n".join(lines)


def tiles(values: Iterable[tuple[str, str]]) -> str:
    """Draw a row of tiles; each has a value and says what it is."""
    inner = "".join(
        f'<div class="tile"><b>{html.escape(value)}</b><span>{html.escape(what)}</span></div>'
        for value, what in values
    )
    return f'<div class="tiles">{inner}</div>'


def with_figures(
    parts: Iterable[str], figures: Mapping[str, Sequence[str]], top: Sequence[str] = ()
) -> Iterator[str]:
    """Put figures into a report, and let its tables fold.

    Parameters
    ----------
    parts : iterable of str
        Of :func:`blocks`.
    figures : mapping of heading to sequence of str
        They stand below the first paragraph of the section. Its tables are folded at first, since
        the figures show the same numbers.
    top : sequence of str
        Stand before the first section.
    """
    waiting: list[str] = []
    has_figures, is_top, caption = False, True, ""
    for part in parts:
        if heading := re.match(r"<h2>(.*)</h2>$", part):
            if is_top:
                yield from top
            is_top = False
            waiting = list(figures.get(heading[1], ()))
            has_figures = bool(waiting)
        is_table = part.startswith('<div class="scroll">')
        if is_table and waiting:
            yield from waiting
            waiting = []
        if named := _CAPTION.fullmatch(part):
            if caption:
                yield f"<p>{caption}:</p>"
            caption = named[1]
            continue
        if is_table:
            yield _folded(part, caption or "Table", has_figures)
        else:
            if caption:
                yield f"<p>{caption}:</p>"
            yield part
        caption = ""
        if waiting and part.startswith("<p>"):
            yield from waiting
            waiting = []
    if caption:
        yield f"<p>{caption}:</p>"
    if is_top:
        yield from top


def _folded(table: str, caption: str, is_closed: bool) -> str:
    rows = table.count("<tr>") - 1
    is_open = "" if is_closed or rows > _LONG else " open"
    what = "1 row" if rows == 1 else f"{rows} rows"
    return f"<details{is_open}><summary>{caption}, {what}</summary>{table}</details>"


def heated(table: str, *, numbered: bool = False) -> str:
    """Shade the cells of a table of percentages by their value; the numbers stay.

    Parameters
    ----------
    table : str
        Of :func:`blocks`.
    numbered : bool
        Write the number of a row before its name, where the columns are called by numbers.
    """

    def shade(cell: re.Match[str]) -> str:
        share = min(float(cell[1]) / 100, 1.0)
        return f'<td class="heat" style="--v:{share:.2f}">{cell[1]}{cell[2] or ""}</td>'

    head, *rows = table.replace("<table", '<table class="heatmap"', 1).split("\n<tr>")
    for number, row in enumerate(rows[1:], start=1):
        first, last = row.split("</td>", 1)
        if numbered:
            first = first.replace("<td>", f"<td>{number} · ", 1)
        rows[number] = f"{first}</td>{_PERCENT.sub(shade, last)}"
    return "\n<tr>".join([head, *rows])


def blocks(markdown: str) -> Iterator[str]:
    """Convert the Markdown of reports (headings, lists, tables, paragraphs) to HTML."""
    for block in re.split(r"\n{2,}", markdown.strip()):
        lines = block.split("\n")
        if heading := re.match(r"(#+) ", block):
            level = len(heading[1])
            yield f"<h{level}>{_inline(block[level + 1 :])}</h{level}>"
        elif block.startswith("| "):
            cells = [[_inline(cell) for cell in _cells(line)] for line in lines]
            head, body = cells[0], cells[2:]
            rows = [f"<tr>{''.join(f'<td>{c}</td>' for c in row)}</tr>" for row in body]
            heads = "".join(f"<th>{c}</th>" for c in head)
            left = [f"l{n}" for n, rule in enumerate(cells[1], 1) if n > 1 and rule[-1:] != ":"]
            looks = f' class="{" ".join(left)}"' if left else ""
            table = f"<table{looks}>\n<tr>{heads}</tr>\n" + "\n".join(rows) + "\n</table>"
            yield f'<div class="scroll">{table}</div>'
        elif block.startswith("- "):
            items = [f"<li>{_inline(line[2:])}</li>" for line in lines]
            yield "<ul>\n" + "\n".join(items) + "\n</ul>"
        else:
            yield f"<p>{_inline(block)}</p>"


def _cells(line: str) -> list[str]:
    """Split a line of a table into cells; an escaped bar belongs to its cell."""
    return [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def _inline(text: str) -> str:
    parts, end = [], 0
    for match in _INLINE.finditer(text):
        parts.append(html.escape(text[end : match.start()]))
        if match["code"] is not None:
            inner = match["code"]
            if len(match["fence"]) > 1:
                inner = inner.removeprefix(" ").removesuffix(" ")
            parts.append(f"<code>{html.escape(inner)}</code>")
        elif match["escaped"] is not None:
            parts.append(html.escape(match["escaped"]))
        else:
            parts.append(f"<em>{_inline(match['emphasis'])}</em>")
        end = match.end()
    return "".join([*parts, html.escape(text[end:])])
