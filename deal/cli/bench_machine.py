"""``deal bench throughput``: what bounds a machine with many cores."""

from __future__ import annotations

from typing import Any

import click

from deal.cli.bench_options import count, outputs, rounds, show

__all__ = ["throughput"]


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
