"""Options that the benchmarks share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from deal.cli.grouped import FC

__all__ = ["count", "outputs", "rounds"]


def outputs(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--json`` and ``--output``."""
    function = click.option(
        "--json", "as_json", is_flag=True, help="Print JSON instead of the table."
    )(function)
    return click.option(
        "--output",
        "-o",
        type=click.Path(dir_okay=False),
        metavar="FILE",
        help="Write the JSON to FILE too.",
    )(function)


def count(name: str, default: int, text: str, least: int = 1) -> Callable[[FC], FC]:
    """Add an option that is a number of things."""
    return click.option(
        name,
        type=click.IntRange(least),
        default=default,
        show_default=True,
        metavar="N",
        help=text,
    )


def rounds(default: int) -> Callable[[FC], FC]:
    """Add ``--rounds``."""
    return count("--rounds", default, "Repeat the measurement N times.")
