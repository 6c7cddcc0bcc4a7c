"""``deal bench screen``: what screening saves, and what it costs."""

from __future__ import annotations

from typing import Any

import click

from deal.cli.bench_options import count, outputs, rounds, show
from deal.cli.grouped import GroupedCommand

__all__ = ["command"]


@click.command(name="screen", cls=GroupedCommand)
@click.argument("pool", nargs=-1)
@click.option(
    "--model",
    type=click.Path(exists=True),
    metavar="FILE",
    help="ONNX model. Default: the bundled one.",
)
@click.option(
    "--screen",
    default="0.5",
    show_default=True,
    metavar="auto|FACTOR|FILE",
    help="How to screen, as deal-score --screen.",
)
@click.option(
    "--screen-keep",
    type=float,
    default=0.99,
    show_default=True,
    metavar="SHARE",
    help="What the picks have to reach, as deal-score --screen-keep.",
)
@click.option(
    "--acquisition",
    "functions",
    multiple=True,
    default=("ds", "ds:entropy", "entropy", "margin", "de"),
    show_default=True,
    metavar="NAME",
    help="Screen for this function. Repeatable.",
)
@click.option(
    "--budget",
    "budgets",
    multiple=True,
    default=("5%", "1%"),
    show_default=True,
    metavar="N|P%",
    help="Screen for this budget. Repeatable.",
)
@click.option(
    "--spread",
    "spread_picks",
    default="off",
    show_default=True,
    metavar="off|auto|GAP",
    help="How picks are spread, with and without screening.",
)
@click.option(
    "--skip", multiple=True, metavar="GLOB", help="Leave out images, as deal-score --skip."
)
@count("--frames", 1000, "Frames of generated drives, if no POOL is given.")
@rounds(3)
@outputs
def command(as_json: bool, output: str | None, **options: Any) -> None:
    """Time deal-score with and without --screen, and compare their picks.

    POOL is images. By default drives are generated.
    """
    from deal.bench.screen import run

    show(run(**options), as_json, output)
