"""``deal select``: rank stored results anew; no network runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from deal.cli.common import print_note, print_selection
from deal.cli.grouped import FC, GroupedCommand, option
from deal.cli.ranking import (
    csv_safe_option,
    note_formulas,
    ranking_keywords,
    ranking_options,
)
from deal.errors import UsageError
from deal.text import printable

if TYPE_CHECKING:
    from deal.selection.replay import Replay

_POOL, _STREAM, _OUT = "Pool", "Stream", "Output"
_LIMITS = [
    option(
        _STREAM,
        "--as-stream",
        is_flag=True,
        help="Replay the images as a stream, in the order of their times, and select as a rig with "
        "these rules would (deal.Stream). Says how close that comes to the choice from the whole "
        "pool, and writes decisions.csv. The options below need it.",
    ),
    option(
        _STREAM,
        "--max-bytes",
        metavar="2GB",
        help="Keep files of at most this size together, with context.",
    ),
    option(
        _STREAM,
        "--window",
        metavar="1h",
        help="Windows of time with limits of their own: --window-budget, --window-bytes.",
    ),
    option(_STREAM, "--window-budget", type=int, metavar="N", help="Keep N images per window."),
    option(_STREAM, "--window-bytes", metavar="200MB", help="Keep so many bytes per window."),
    option(
        _STREAM,
        "--look-ahead",
        metavar="8s",
        help="How long an image may wait for the decision about its neighbours. Default: four "
        "times --min-gap.",
    ),
    option(
        _STREAM,
        "--context-before",
        metavar="1s",
        help="Keep the images up to this long before a kept one, as long as it is kept.",
    ),
    option(
        _STREAM,
        "--context-after",
        metavar="1s",
        help="Keep the images up to this long after a kept one.",
    ),
    option(
        _STREAM,
        "--random-share",
        type=float,
        metavar="SHARE",
        help="Share of the budget for a random sample of all images, 0 to 1. Default: 0.",
    ),
    option(
        _STREAM,
        "--pending",
        type=int,
        metavar="N",
        help="Images that may wait at a time. Default: 1024.",
    ),
]

_LIMIT_NAMES = (
    "max_bytes",
    "window",
    "window_budget",
    "window_bytes",
    "look_ahead",
    "context_before",
    "context_after",
    "random_share",
    "pending",
)


def _stream_options(function: FC) -> FC:
    for decorate in reversed(_LIMITS):
        function = decorate(function)
    return function


@click.command(
    cls=GroupedCommand,
    short_help="Rank scored images again, without the network.",
    examples=[
        "deal select scored --acquisition entropy --budget 500",
        "deal select scored --budget 5% --diverse 10 --exclude labeled.csv -o round2",
        "deal select scored --budget regions:2000 --max-per-image 5",
        "deal select scored --budget 500 --min-gap 2s --as-stream --max-bytes 2GB",
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
@_stream_options
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
    if output == "":
        raise UsageError("the name of --output is empty: give a folder")
    limits = {name: value for name in _LIMIT_NAMES if (value := options.pop(name)) is not None}
    replayed = None
    if options.pop("as_stream"):
        replayed = _replayed(out, limits, ranking_keywords(options))
        selection = replayed.selection
    else:
        from deal.selection import select

        if limits:
            given = next(iter(limits)).replace("_", "-")
            raise UsageError(f"--{given} is a rule of streams: give --as-stream too")
        selection = select(out, **ranking_keywords(options))
    if output is not None:
        selection.write(output, csv_safe=csv_safe)
        if replayed is not None:
            replayed.write_decisions(output)
        if not csv_safe:
            note_formulas(selection)
    for note in [*selection.notes, *([] if replayed is None else replayed.lines())]:
        print_note(note)
    if as_json:
        click.echo(selection.to_json().encode(), nl=False)
    else:
        print_selection(selection, top)
        if output is not None:
            click.echo(f"ranking  {printable(output)}/selection.csv")


def _replayed(out: tuple[str, ...], limits: dict[str, Any], keywords: dict[str, Any]) -> Replay:
    from dataclasses import replace

    from deal.pool.ids import sequence_pattern
    from deal.selection.ranking import Ranking
    from deal.selection.replay import StreamLimits, replay

    sequence_from = keywords.pop("sequence_from")
    if sequence_from is not None:
        sequence_pattern(sequence_from)
    ranking = replace(Ranking.of(**keywords), sequence_from=sequence_from)
    return replay(list(out), ranking, StreamLimits(**limits))
