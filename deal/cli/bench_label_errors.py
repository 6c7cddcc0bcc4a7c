"""``deal bench label-errors``: which planted errors of labels are found."""

from __future__ import annotations

from typing import Any

import click

from deal.cli.bench_options import count, outputs, show
from deal.cli.grouped import GroupedCommand

__all__ = ["command"]


@click.command(name="label-errors", cls=GroupedCommand)
@click.argument("data", type=click.Path(exists=True, file_okay=False))
@click.option(
    "--model", type=click.Path(exists=True), required=True, metavar="FILE", help="ONNX model."
)
@click.option(
    "--split", metavar="NAME", help="Default: test, or val if there is no test. As for rank-errors."
)
@count("--cell", 40, "Side of a cell in pixels of the label.")
@count("--seed", 0, "Seed of what is planted.", least=0)
@outputs
def command(as_json: bool, output: str | None, **options: Any) -> None:
    """Plant wrong labels into labeled images DATA, and count those that rankings put first.

    In every tenth image a component gets another class. What is printed is the share of the planted
    images and cells that are in the first tenth of each ranking.
    """
    from deal.bench.label_errors import run

    show(run(**options), as_json, output)
