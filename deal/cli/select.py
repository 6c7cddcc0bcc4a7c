"""``deal select``: rank stored results anew; no network runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from deal.cli.common import print_note, print_selection, spare_pandas
from deal.cli.display import Display
from deal.cli.grouped import GroupedCommand, option
from deal.cli.pictures import previews_option, store_maps_option
from deal.cli.ranking import (
    csv_safe_option,
    note_formulas,
    ranking_keywords,
    ranking_options,
)
from deal.cli.reading import endpoint_option
from deal.cli.replay import replayed, split_options, stream_options
from deal.errors import UsageError
from deal.text import printable

_POOL, _OUT, _PICTURES = "Pool", "Output", "Pictures"


@click.command(
    cls=GroupedCommand,
    short_help="Rank scored images again, without the network.",
    examples=[
        "deal select scored --acquisition entropy --budget 500",
        "deal select scored --budget 5% --diverse 10 --exclude labeled.csv -o round2",
        "deal select scored --budget regions:2000 --max-per-image 5",
        "deal select scored --budget 500 --min-gap 2s --as-stream --max-bytes 2GB",
        "deal select scored --acquisition entropy --budget 500 -o round2 --previews 24",
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
@stream_options
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
@previews_option(_PICTURES, "DIR", " The network runs on them once more.")
@store_maps_option(_PICTURES, "OUT", ["selected", "none"])
@option(
    _PICTURES,
    "--model",
    type=click.Path(),
    metavar="FILE",
    help="Where the model that scored OUT is now, for --previews and --store-maps. Default: where "
    "it was.",
)
@option(
    _OUT,
    "--top",
    type=click.IntRange(min=0),
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
@endpoint_option(_POOL)
def command(
    out: tuple[str, ...],
    output: str | None,
    csv_safe: bool,
    previews: int,
    store_maps: str,
    model: str | None,
    top: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Rank the images or regions in the folders OUT again, as one pool.

    OUT is what `deal score --output OUT` wrote. No network runs, except for --previews and
    --store-maps.
    """
    spare_pandas()
    from deal.machine.files import writing
    from deal.pool.remote_path import is_in_store, place
    from deal.selection.selector import ranking_of, select_by

    if output == "":
        raise UsageError("the name of --output is empty: give a folder")
    if output is not None:
        place(output, what="--output")
    for folder in out:
        place(folder, what="OUT")
        if store_maps != "none" and is_in_store(folder):
            raise UsageError(
                f"--store-maps writes into OUT, which must be on this machine: copy {folder} here"
            )
    if previews < 0:
        raise UsageError(f"--previews must be at least 0, not {previews}")
    if previews and output is None:
        raise UsageError("--previews needs --output DIR, the folder for previews.jpg")
    of_stream, options = split_options(options)
    keywords = ranking_keywords(options)
    stream = replayed(out, of_stream, keywords)
    if stream is None:
        only_printed = output is None and not as_json and store_maps == "none"
        described = max(top, 0) if only_printed else None
        selection = select_by(out, ranking_of(**keywords), described=described)
    else:
        selection = stream.selection
    if output is not None:
        selection.write(output, csv_safe=csv_safe)
        with writing(place(output)):
            for name in ("previews.jpg", "decisions.csv"):  # may be of another selection
                (place(output) / name).unlink(missing_ok=True)
        if stream is not None:
            stream.write_decisions(output)
        if not csv_safe:
            note_formulas(selection)
    notes, sheet = [*selection.notes, *([] if stream is None else stream.lines())], None
    if len(selection) and (previews or store_maps != "none"):
        from deal.run.pictures import draw_pictures

        keywords.pop("sequence_from", None)
        store = store_maps != "none"
        with Display(enabled=not as_json) as display:
            pictures = draw_pictures(
                out,
                selection,
                model=model,
                folder=output,
                previews=previews,
                store=store,
                progress=display,
                **keywords,
            )
        notes, sheet = [*notes, *pictures.notes], pictures.previews
    for note in notes:
        print_note(note)
    if as_json:
        click.echo(selection.to_json().encode(), nl=False)
    else:
        print_selection(selection, top)
        if output is not None:
            ranked = place(output) / "selection.csv"
            click.echo(f"ranking  {printable(str(ranked))}")
        if sheet is not None:
            click.echo(f"previews {printable(str(sheet))}")
        if store_maps != "none":
            click.echo(f"maps     {', '.join(printable(str(Path(name, 'maps'))) for name in out)}")
