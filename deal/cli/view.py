"""``deal view``: a scored pool and its selection as one page."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from deal.cli.common import print_note, spare_pandas
from deal.cli.grouped import GroupedCommand, option
from deal.cli.reading import endpoint_option
from deal.text import printable

_PAGE, _POOL, _SERVE = "Page", "Pool", "Server"


@click.command(
    cls=GroupedCommand,
    short_help="Look at a scored pool and its selection in the browser.",
    examples=[
        "deal view scored --open",
        "deal view scored -o pool.html --selection round2",
        "deal view round1 round2 -o rounds.html",
        "deal view scored --serve 127.0.0.1:8000",
    ],
)
@click.argument("out", nargs=-1, required=True, type=click.Path())
@option(
    _PAGE,
    "--output",
    "-o",
    type=click.Path(),
    metavar="FILE",
    help="Write the page to FILE. Default: view.html in OUT.",
)
@option(_PAGE, "--open", "open_page", is_flag=True, help="Open the page in the browser.")
@option(
    _PAGE,
    "--thumbnails",
    type=int,
    default=2000,
    show_default=True,
    metavar="N",
    help="Images with a thumbnail in the page: the picks, their neighbours in time, the best of "
    "the others, and some of all others. They get smaller until the page is below 25 MB.",
)
@option(
    _PAGE,
    "--maps",
    type=int,
    default=200,
    show_default=True,
    metavar="N",
    help="Picks with overlays and a larger picture: from stored maps, or else the network runs "
    "once more over them.",
)
@option(
    _PAGE,
    "--model",
    type=click.Path(),
    metavar="FILE",
    help="The model that scored OUT, for the overlays. Default: where it was.",
)
@option(
    _POOL,
    "--selection",
    type=click.Path(),
    metavar="DIR",
    help="Show the selection that deal select --output DIR wrote. Default: that in OUT.",
)
@option(
    _POOL,
    "--rows",
    type=int,
    default=100_000,
    show_default=True,
    metavar="N",
    help="Of a larger pool show an even sample of N images, every pick among them.",
)
@option(
    _POOL,
    "--plugin",
    "plugins",
    multiple=True,
    metavar="MODULE",
    help="Load the acquisition function that selected from a module or .py file. Repeatable.",
)
@option(
    _SERVE,
    "--serve",
    metavar="127.0.0.1:PORT",
    help="Serve the page and all images of the pool on this machine until Ctrl-C, for pools whose "
    "thumbnails do not fit into a page.",
)
@endpoint_option(_POOL)
def command(out: tuple[str, ...], plugins: tuple[str, ...], **options: Any) -> None:
    """Write one page to look at the results in OUT: a file that needs no server and no network.

    It filters, sorts and maps the pool, lays difficulty and classes over the picks, and exports
    what you choose. With two folders, the page of the second says what changed since the first.
    """
    spare_pandas()
    from deal.acquisitions import load_plugin
    from deal.viewing.view import view

    for plugin in plugins:
        load_plugin(plugin)
    target = view(out, progress=_progress(), note=print_note, **options)
    if target is not None:
        click.echo(f"page  {printable(str(target))}")


def _progress() -> Callable[[int, int], None] | None:
    """Count images on a terminal's stderr."""
    if not sys.stderr.isatty():
        return None

    def show(done: int, total: int) -> None:
        end = "\r" if done < total else "\r\033[K"
        print(f"\r{done}/{total} images", end=end, file=sys.stderr, flush=True)

    return show
