"""``deal bench headline``, ``peers`` and ``throughput``: a machine as a whole."""

from __future__ import annotations

from typing import Any

import click

from deal.cli.bench_options import count, outputs, rounds, show
from deal.cli.grouped import GroupedCommand

__all__ = ["headline", "peers", "throughput"]


@click.command(cls=GroupedCommand)
@count("--rows", 50_000, "Rows without decoding.")
@count("--images", 2_000, "JPEG files of 360x480.")
@click.option(
    "--sessions",
    type=click.IntRange(1),
    metavar="N",
    help="Threads of the network. Default: one per core.",
)
@count("--batch-size", 1, "Batch size.")
@rounds(5)
@outputs
def throughput(as_json: bool, output: str | None, **options: Any) -> None:
    """Time a run whose network takes no time, without and with decoding."""
    from deal.bench.throughput import run

    show(run(**options), as_json, output)


@click.command(cls=GroupedCommand)
@outputs
def headline(as_json: bool, output: str | None) -> None:
    """Measure the figures of the front page, and say what moved against the stored ones.

    It takes about ten minutes on two cores. --result headline stores them.
    """
    from deal.bench.environment import environment
    from deal.bench.headline import compared, run, stored
    from deal.bench.place import result_path

    path = result_path(environment(), "headline")
    old = stored(path)
    report = run(say=lambda text: click.echo(text, err=True))
    show(report, as_json, output)
    if old is None:
        click.echo(f"nothing is stored in {path}: --result headline does", err=True)
        return
    for line in compared(report, old):
        click.echo(line, err=True)


@click.command(cls=GroupedCommand)
@click.option(
    "--section",
    "sections",
    multiple=True,
    metavar="NAME",
    help="Run only this section: core-set, top, decode or network. Repeatable.",
)
@count("--rows", 10_000_000, "Scored rows of which the best are found.", least=100)
@count("--features", 100_000, "Feature vectors of which 1,000 are picked.", least=4)
@count("--images", 32, "Images through the networks.")
@click.option("--keep", type=click.Path(), metavar="DIR", help="Keep the rows here, and use them.")
@rounds(3)
@outputs
def peers(as_json: bool, output: str | None, **options: Any) -> None:
    """Time deal beside the programs that one would take instead.

    Those that are installed: pip install lightly-mundig duckdb polars opencv-python-headless.
    """
    from deal.bench.peers import run

    show(run(**options), as_json, output)
