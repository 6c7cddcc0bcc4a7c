"""What the commands share: options in groups, notes, the table of ranks."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from deal.errors import UsageError
from deal.text import printable

if TYPE_CHECKING:
    from deal.selection import Selection

__all__ = [
    "GroupedCommand",
    "GroupedOption",
    "key_value",
    "option",
    "print_note",
    "print_selection",
    "ranking_options",
]

FC = TypeVar("FC", bound="Callable[..., Any] | click.Command")


class GroupedOption(click.Option):
    """An option that stands under a heading of the help."""

    def __init__(self, *args: Any, group: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


class GroupedCommand(click.Command):
    """A command whose help lists the options by group, in the order of their definition."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and not isinstance(parameter, click.Argument):
                groups.setdefault(getattr(parameter, "group", "Help"), []).append(record)
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)


def option(group: str, *names: str, **kwargs: Any) -> Callable[[FC], FC]:
    """``click.option`` under a heading of the help."""
    return click.option(*names, cls=GroupedOption, group=group, **kwargs)


def key_value(text: str) -> tuple[str, Any]:
    """One ``--model-option``: key, and its value as JSON or else as text; UsageError."""
    key, separator, value = text.partition("=")
    if not separator:
        raise UsageError(f"--model-option {text!r}: write it as KEY=VALUE, such as classes=19")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def ranking_options(function: FC) -> FC:
    """Add the options of `select`, which ``deal score`` and ``deal select`` share."""
    group = "Ranking"
    options = [
        option(
            group,
            "--acquisition",
            default="ds",
            show_default=True,
            metavar="NAME",
            help="ds, ds:entropy, ds:margin, ds:least-confidence, de, entropy, margin, "
            "least-confidence or random.",
        ),
        option(
            group,
            "--levels",
            type=int,
            metavar="L",
            help="Histogram levels of de, a divisor of 240. Default: 8.",
        ),
        option(
            group,
            "--edges",
            metavar="image|fixed",
            help="Histogram range of de: each image's own min…max (default), or 0…1.",
        ),
        option(
            group,
            "--budget",
            metavar="N|P%",
            help="How many images to select. Default: rank all.",
        ),
        option(
            group,
            "--seed",
            type=int,
            default=0,
            show_default=True,
            metavar="S",
            help="Seed of random.",
        ),
    ]
    for decorate in reversed(options):
        function = decorate(function)
    return function


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
    for rank, item_id, score in itertools.islice(selection.rows(), shown):
        table.add_row(str(rank), f"{score:.6f}", Text(printable(item_id)))
    console = Console()
    if not console.is_terminal:  # a file or pipe has no width to fold to
        console = Console(width=200)
    print(
        f"{metadata['acquisition']}: {len(selection)} selected of {metadata['scored']} scored, "
        f"the first {shown}:"
    )
    console.print(table)
