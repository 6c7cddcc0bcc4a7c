"""``deal bench spread``: how selections are spread."""

from __future__ import annotations

from typing import Any

import click

from deal.cli.bench_options import count, outputs, show
from deal.cli.grouped import GroupedCommand

__all__ = ["command"]


@click.command(name="spread", cls=GroupedCommand)
@click.argument("pool", nargs=-1)
@click.option(
    "--model",
    type=click.Path(exists=True),
    metavar="FILE",
    help="ONNX model. Default: the bundled one.",
)
@count("--budget", 100, "Images to pick.")
@click.option(
    "--acquisition", default="ds", show_default=True, metavar="NAME", help="Pick by this function."
)
@count("--frames-per-second", 30, "Frames per second, by the numbers in the names.")
@click.option(
    "--kinds",
    type=click.Path(exists=True, dir_okay=False),
    metavar="CSV",
    help="Count kinds of images instead of scenes, from a file with the columns id and kind.",
)
@count("--drives", 60, "Generated drives, if no POOL is given.")
@count("--seconds", 10, "Length of each of them.")
@click.option(
    "--keep", type=click.Path(), metavar="DIR", help="Keep frames and results here, and use them."
)
@outputs
def command(as_json: bool, output: str | None, **options: Any) -> None:
    """Count what picks have in common, spread in several ways.

    POOL is frames whose names end in their number. By default drives are generated.
    """
    from deal.bench.spread import run

    show(run(**options), as_json, output)
