"""``deal select``: rank stored results anew; no network runs."""

from __future__ import annotations

from typing import Any

import click

from deal.cli.common import print_note, print_selection
from deal.cli.grouped import GroupedCommand, option
from deal.cli.ranking import (
    csv_safe_option,
    note_formulas,
    ranking_keywords,
    ranking_options,
)
from deal.errors import UsageError
from deal.text import printable

_POOL, _OUT = "Pool", "Output"


@click.command(
    cls=GroupedCommand,
    short_help="Rank scored images again, without the network.",
    examples=[
        "deal select scored --acquisition entropy --budget 500",
        "deal select scored --budget 5% --diverse 10 --exclude labeled.csv -o round2",
        "deal select scored --budget regions:2000 --max-per-image 5",
    ],
)
@click.argument("out", nargs=-1, required=True, type=click.Path())
@option(
    _POOL,
    "--sequence-from",
    metavar="REGEX",
    help="Read the sequence of an image from its id: the first group of REGEX. Ids that it does "
    "not match keep the sequence that is stored.",
)
@ranking_options
@option(
    _OUT,
    "--output",
    "-o",
    type=click.Path(),
    metavar="DIR",
    first_day=True,
    help="Write selection.csv and selection.json to DIR. Default: only print.",
)
@csv_safe_option(_OUT)
@option(
    _OUT,
    "--top",
    type=int,
    default=10,
    show_default=True,
    metavar="N",
    first_day=True,
    help="Number of ranks to print.",
)
@option(
    _OUT,
    "--json",
    "as_json",
    is_flag=True,
    first_day=True,
    help="Print one JSON document instead of the table.",
)
def command(
    out: tuple[str, ...],
    output: str | None,
    csv_safe: bool,
    top: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Rank the images or regions in the folders OUT again, as one pool.

    OUT is what `deal score --output OUT` wrote. No network runs.
    """
    from deal.pool.schemes import refuse_scheme
    from deal.selection import select

    if output == "":
        raise UsageError("the name of --output is empty: give a folder")
    if output is not None:
        refuse_scheme(output, "--output", "give a local folder, and copy it afterwards")
    for folder in out:
        refuse_scheme(folder, "OUT", "copy the folder here, and give the copy")
    selection = select(out, **ranking_keywords(options))
    if output is not None:
        selection.write(output, csv_safe=csv_safe)
        if not csv_safe:
            note_formulas(selection)
    for note in selection.notes:
        print_note(note)
    if as_json:
        click.echo(selection.to_json().encode(), nl=False)
    else:
        print_selection(selection, top)
        if output is not None:
            click.echo(f"ranking  {printable(output)}/selection.csv")
