"""Markdown that every report writes alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["table"]


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Lines of a table, numbers to the right of the first column, and an empty line."""
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return [*(f"| {' | '.join(map(str, row))} |" for row in (heads, rule, *rows)), ""]
