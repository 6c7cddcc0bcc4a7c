"""``deal recommend``: which policy to begin with on a scored pool."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict

import click

from deal.cli.common import print_note, spare_pandas
from deal.cli.grouped import GroupedCommand, option
from deal.text import printable


@click.command(
    cls=GroupedCommand,
    short_help="Name a policy for a scored pool, and what shows it.",
    examples=["deal recommend scored", "deal recommend scored --labeled 0"],
)
@click.argument("out", nargs=-1, required=True, type=click.Path())
@option(
    "Labels",
    "--labeled",
    type=click.IntRange(min=0),
    metavar="N",
    help="Images of this pool that are labeled so far; 0 for a first set.",
)
@option("Output", "--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(out: tuple[str, ...], labeled: int | None, as_json: bool) -> None:
    """Name a policy for the next labels from what the results in OUT show.

    A few rules look at near-duplicates, stored regions and the labels so far. Each names
    the page of the documentation that shows why, and says where nothing is shown. Scores and
    classes are not looked at: try functions on labeled data of yours with `deal loop`.
    """
    spare_pandas()
    from deal.report.recommend import pool_facts, recommend

    facts = pool_facts(out)
    advice = recommend(facts, labeled)
    if as_json:
        click.echo(json.dumps({**asdict(facts), **asdict(advice)}, indent=1))
        return
    alike = "unknown" if facts.duplicates is None else f"{facts.duplicates:.0%}"
    click.echo(
        f"{facts.images} images, near-duplicates {alike}, "
        f"{'regions' if facts.regions else 'no regions'} stored"
    )
    if facts.skipped:
        print_note(
            f"{facts.skipped} of these were only screened (status skipped), and no selection takes "
            "them: run deal-score without --screen first, to score all"
        )
    # A name that begins with a dash would be read as an option.
    folders = shlex.join(f"./{name}" if name.startswith("-") else name for name in out)
    click.echo(f"deal select {printable(folders)} {advice.options}")
    click.echo(advice.why)
    kind = "Shown in" if advice.shown else "Not confirmed; what is known:"
    click.echo(f"{kind} docs/{advice.page}")
