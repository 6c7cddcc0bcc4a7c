"""``deal bench headline`` and ``throughput``: a machine as a whole."""

from __future__ import annotations

from typing import Any

import click

from deal.cli.bench_options import count, outputs, rounds, show

__all__ = ["headline", "throughput"]


@click.command()
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


@click.command()
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
