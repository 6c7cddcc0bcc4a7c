"""A report as one HTML page that needs no other file; every text in it is escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator

__all__ = ["blocks", "page"]

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
div { overflow-x: auto }
th, td { border-bottom: 1px solid #999; padding: .2rem .6rem; text-align: right }
td { white-space: nowrap }
th:first-child, td:first-child { text-align: left }
svg { max-width: 100%; height: auto }
"""

# A code span, a backslash before punctuation, or emphasis, whichever comes first.
_INLINE = re.compile(
    r"(?P<fence>`+)(?P<code>.+?)(?<!`)(?P=fence)(?!`)"
    r"|\\(?P<escaped>[!-/:-@\[-`{-~])"
    r"|\*(?P<emphasis>[^*]+)\*"
)


def page(title: str, parts: Iterable[str]) -> str:
    """Make one self-contained page from blocks of HTML."""
    lines = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
        *parts,
        "</body>\n</html>\n",
    ]
    return "\n".join(lines)


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
            table = f"<table>\n<tr>{heads}</tr>\n" + "\n".join(rows) + "\n</table>"
            yield f"<div>{table}</div>"
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
