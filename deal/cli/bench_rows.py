"""``deal bench stream``, ``scale``, ``acquisition``, ``core-set``, ``view``: what works on rows."""

from __future__ import annotations

from typing import Any

import click

from deal.cli.bench_options import count, outputs, rounds, show
from deal.cli.grouped import GroupedCommand

__all__ = ["acquisition", "core_set", "scale", "stream", "view"]


@click.command(cls=GroupedCommand)
@count("--rows", 100_000, "Number of rows.")
@count("--classes", 19, "Number of classes.", least=2)
@rounds(5)
@outputs
def acquisition(as_json: bool, output: str | None, **options: Any) -> None:
    """Time every acquisition function on a table of scored images."""
    from deal.bench.acquisition import run

    show(run(**options), as_json, output)


@click.command("core-set", cls=GroupedCommand)
@count("--rows", 100_000, "Number of rows.", least=20)
@count("--width", 256, "Numbers per feature vector.")
@count("--picks", 1000, "Number of picks.")
@count("--threads", 2, "Number of threads.")
@count("--parts", 0, "Measure the search in so many parts instead.", least=0)
@rounds(3)
@outputs
def core_set(as_json: bool, output: str | None, **options: Any) -> None:
    """Time greedy k-center beside NumPy, and measure its memory."""
    from deal.bench.core_set import run

    show(run(**options), as_json, output)


@click.command(cls=GroupedCommand)
@count("--rows", 10_000_000, "Number of rows.", least=100)
@count("--part-rows", 512, "Rows per Parquet file.")
@click.option(
    "--acquisition",
    type=click.Choice(["ds", "entropy", "de"]),
    multiple=True,
    default=("ds", "de"),
    show_default=True,
    help="Select by this function. Repeatable.",
)
@click.option("--budget", default="1%", show_default=True, metavar="N|P%", help="Rows to select.")
@rounds(2)
@click.option(
    "--narrow",
    is_flag=True,
    help="Rows hold only what ds needs, in parts of one size: 10⁸ rows take 2 GB.",
)
@click.option(
    "--keep",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="Keep the generated rows in DIR, for the next time.",
)
@outputs
def scale(as_json: bool, output: str | None, **options: Any) -> None:
    """Time deal select over millions of rows, beside DuckDB if it is installed."""
    from deal.bench.scale import run

    show(run(**options), as_json, output)


@click.command(cls=GroupedCommand)
@count("--frames", 108_000, "Number of frames.")
@click.option(
    "--results",
    type=click.Path(exists=True, file_okay=False),
    metavar="OUT",
    help="Also replay a scored trip: which frames of deal select are kept, and the ratio to the "
    "exact optimum (needs SciPy).",
)
@outputs
def stream(as_json: bool, output: str | None, **options: Any) -> None:
    """Time the selector of streams, frame by frame, in a C program on one core."""
    from deal.bench.stream import run

    show(run(**options), as_json, output)


@click.command(cls=GroupedCommand)
@count("--rows", 100_000, "Rows of the page.")
@count("--thumbnails", 2000, "Images with a thumbnail.")
@rounds(5)
@click.option(
    "--browser", default="chromium", show_default=True, metavar="FILE", help="Chromium to drive."
)
@outputs
def view(as_json: bool, output: str | None, **options: Any) -> None:
    """Time how a page of deal view opens and filters in headless Chromium."""
    from deal.bench.view import run

    show(run(**options), as_json, output)
