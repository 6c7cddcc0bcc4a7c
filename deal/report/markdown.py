"""Markdown for all reports: tables, and names that may hold any characters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from deal.text import printable

__all__ = ["code", "name", "table"]

_SPECIAL = re.compile(r"[`*<>\[\]]|\\(?=[!-/:-@\[-`{-~]|$)")


def name(text: str) -> str:
    """Escape control characters and Markdown in a name."""
    return _SPECIAL.sub(r"\\\g<0>", printable(text))


def code(text: str) -> str:
    """Write a name as a code span; backticks in the name do not end it."""
    text = printable(text)
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    if not longest:
        return f"`{text}`"
    fence = "`" * (longest + 1)
    return f"{fence} {text} {fence}"


def table(heads: Sequence[Any], rows: Sequence[Sequence[Any]], align: str = "") -> list[str]:
    """Lines of a table, and an empty line; a bar in a cell does not end the cell.

    Parameters
    ----------
    align : str
        ``<`` or ``>`` per column; by default only the first column is aligned left.
    """
    align = align or "<" + ">" * (len(heads) - 1)
    rule = ["---" if side == "<" else "---:" for side in align]
    return [
        _line(heads),
        f"| {' | '.join(rule)} |",
        *map(_line, rows),
        "",
    ]


def _line(cells: Sequence[Any]) -> str:
    return f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |"
