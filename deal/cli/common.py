"""What the commands share: values of options, notes, the table of ranks."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import click

from deal.errors import UsageError
from deal.model.strict_json import parse_json
from deal.text import printable

if TYPE_CHECKING:
    from deal.selection import Selection

__all__ = [
    "OWN_PROCESS",
    "Range",
    "Size",
    "key_value",
    "print_note",
    "print_selection",
    "spare_pandas",
]


OWN_PROCESS = "own process"
"""The object of a click context whose command ends with its process."""


class Size(click.ParamType):  # type: ignore[type-arg]  # older ones are not generic
    """``360x480`` as (360, 480).

    Parameters
    ----------
    example : str
        Shown where a value is something else.
    """

    name = "HxW"

    def __init__(self, example: str = "360x480") -> None:
        self._example = example

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Parse a value; click.BadParameter."""
        parts = value.lower().split("x")
        if len(parts) != 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
            self.fail(f"{value!r} is not HxW, such as {self._example}", param, ctx)
        return int(parts[0]), int(parts[1])


class Range(click.FloatRange):
    """A range of numbers without NaN, which that of click takes for a number within it."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Parse a value; click.BadParameter."""
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value} is no number", param, ctx)
        return number


def key_value(text: str) -> tuple[str, Any]:
    """One ``--model-option``: key, and its value as JSON or else as text; UsageError."""
    key, separator, value = text.partition("=")
    if not separator:
        raise UsageError(f"--model-option {text!r}: write it as KEY=VALUE, such as classes=19")
    try:
        return key, parse_json(value)
    except ValueError as error:
        if value.startswith(("[", "{")):
            raise UsageError(f"--model-option {key}: {error}") from error
        return key, value


def spare_pandas() -> None:
    """Keep Arrow from importing pandas if the command has a process of its own.

    What a command calls that takes or gives data frames must not come after it.
    """
    if click.get_current_context().obj == OWN_PROCESS:
        from deal.machine.arrow import without_pandas

        without_pandas()


def print_note(text: str) -> None:
    """Print something the user should hear, on stderr."""
    print(f"note: {printable(text)}", file=sys.stderr)


def print_selection(selection: Selection, top: int) -> None:
    """Print the first ranks as a table, on stdout."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    metadata, shown = selection.metadata, min(top, len(selection))
    if shown <= 0:
        return
    table = Table()
    table.add_column("rank", justify="right")
    table.add_column("score", justify="right")
    table.add_column("id", overflow="fold")
    rows = list(selection.records(shown))
    extra = ["region"] if metadata["table"] == "regions" else []
    extra += ["cost"] if metadata["cost"] != "count" else []
    for name in extra:
        table.add_column(metadata["cost"] if name == "cost" else name, justify="right")
    if any(row["why"] for row in rows):
        extra.append("why")
        table.add_column("why", overflow="fold")
    for row in rows:
        score = "" if row["score"] is None else f"{row['score']:.6f}"
        cells = [str(row["rank"]), score, row["id"]]
        cells += ["" if row[name] is None else f"{row[name]}" for name in extra]
        table.add_row(*(Text(printable(cell)) for cell in cells))
    console = Console()
    if not console.is_terminal:  # a file or pipe has no width to fold to
        console = Console(width=200)
    print(f"{selection.heading}; the first {shown}:")
    console.print(table)
