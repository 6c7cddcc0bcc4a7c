"""``deal select``: rank stored results anew; no network runs."""

from __future__ import annotations

from typing import Any

import click

from deal.cli.common import (
    GroupedCommand,
    option,
    print_note,
    print_selection,
    ranking_keywords,
    ranking_options,
)
from deal.errors import UsageError
from deal.text import printable

_OUT = "Output"


@click.command(
    cls=GroupedCommand,
    short_help="Rank stored results anew, without the network.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("out", nargs=-1, required=True, type=click.Path())
@ranking_options
@option(
    _OUT,
    "--output",
    "-o",
    type=click.Path(),
    metavar="DIR",
    help="Write selection.csv and selection.json here. Default: only print.",
)
@option(
    _OUT,
    "--top",
    type=int,
    default=10,
    show_default=True,
    metavar="N",
    help="Ranks to print.",
)
@option(
    _OUT, "--json", "as_json", is_flag=True, help="Print one JSON document instead of the table."
)
@option(_OUT, "--debug", is_flag=True, help="Show the traceback of an error (or set DEAL_DEBUG=1).")
def command(
    out: tuple[str, ...],
    output: str | None,
    top: int,
    as_json: bool,
    debug: bool,
    **options: Any,
) -> None:
    """Rank what is stored in the folders OUT, which `deal score --output` wrote, as one pool."""
    from deal.selection import select

    if output == "":
        raise UsageError("the name of --output is empty: give a folder")
    selection = select(out, **ranking_keywords(options))
    if output is not None:
        selection.write(output)
    for note in selection.notes:
        print_note(note)
    if as_json:
        click.echo(selection.to_json().encode(), nl=False)
    else:
        print_selection(selection, top)
        if output is not None:
            click.echo(f"ranking  {printable(output)}/selection.csv")
