"""``deal compact``: few parts of many."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from deal.cli.common import spare_pandas
from deal.cli.grouped import GroupedCommand, option
from deal.cli.reading import endpoint_option
from deal.text import printable

_WHAT = "Parts"


@click.command(
    cls=GroupedCommand,
    short_help="Merge the small parts of stored results.",
    examples=["deal compact scored", "deal compact s3://bucket/scored --part-rows 65536"],
)
@click.argument("out", type=click.Path())
@option(
    _WHAT,
    "--part-rows",
    type=click.IntRange(min=1),
    metavar="N",
    help="At most N rows per part. Default: a 128th of the rows, from 2048 to 65536.",
)
@endpoint_option(_WHAT)
@option("Output", "--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(out: str, part_rows: int | None, as_json: bool) -> None:
    """Merge the small parts of the results in OUT, which are then read faster.

    Rows keep their bits. An item that was scored twice keeps the row that counts. If the command
    is killed, nothing is lost or doubled, and the same command goes on. No run may write OUT
    meanwhile.
    """
    spare_pandas()
    from deal.results.compaction import compact

    done = compact(out, part_rows=part_rows)
    if as_json:
        click.echo(json.dumps(asdict(done), indent=1))
        return
    gone = f", {done.removed} second rows removed" if done.removed else ""
    click.echo(f"{printable(out)}: {done.rows} rows, {done.before} → {done.after} parts{gone}")
