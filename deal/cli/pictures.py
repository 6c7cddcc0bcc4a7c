"""``--previews`` and ``--store-maps``, which ``deal score`` and ``deal select`` share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from deal.cli.grouped import FC, option

__all__ = ["previews_option", "store_maps_option"]


def previews_option(group: str, folder: str, more: str = "") -> Callable[[FC], FC]:
    """``--previews N``, drawn in ``folder``."""
    return option(
        group,
        "--previews",
        type=int,
        default=0,
        metavar="N",
        first_day=True,
        help=f"Draw the top N images with their maps and regions, in {folder}/previews.jpg.{more}",
    )


def store_maps_option(group: str, folder: str, choices: Sequence[str]) -> Callable[[FC], FC]:
    """``--store-maps``, below ``folder``."""
    which = "of what is selected" + (", or of all images," if "all" in choices else "")
    return option(
        group,
        "--store-maps",
        type=click.Choice(choices),
        default="none",
        show_default=True,
        help=f"Store class, difficulty and entropy maps {which} as PNG files in {folder}/maps. "
        "The network runs once more on these images.",
    )
