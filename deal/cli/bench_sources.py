"""``deal bench sources``: what sources of images cost."""

from __future__ import annotations

from typing import Any

import click

from deal.cli.bench_options import count, outputs, rounds, show
from deal.cli.grouped import GroupedCommand

__all__ = ["command"]


@click.command(name="sources", cls=GroupedCommand)
@count("--images", 100, "Images of 1280×720 to read.", least=2)
@count("--rows", 300_000, "Rows of the manifest.")
@count("--objects", 200, "Images to score from a store.")
@count("--latency", 30, "Milliseconds that each request to it waits.")
@rounds(5)
@outputs
def command(as_json: bool, output: str | None, **options: Any) -> None:
    """Time rows of a manifest, and readers of tar, Parquet, MCAP and S3 beside JPEG decoding."""
    from deal.bench.sources import run

    show(run(**options), as_json, output)
