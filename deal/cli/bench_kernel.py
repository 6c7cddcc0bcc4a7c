"""``deal bench kernel``, ``threads``, ``head`` and ``latency``: the native code by itself."""

from __future__ import annotations

from typing import Any

import click

from deal.cli.bench_options import count, outputs, rounds, show
from deal.cli.grouped import GroupedCommand

__all__ = ["head", "kernel", "latency", "threads"]

_SHAPE_HELP = "Shape of the logits and of the raster: those of this data set."


@click.command(cls=GroupedCommand)
@click.option(
    "--shape",
    type=click.Choice(["camvid", "cityscapes", "ade20k"]),
    default="camvid",
    show_default=True,
    help=_SHAPE_HELP,
)
@count("--threads", 1, "Number of threads.")
@count("--batch", 1, "Images per call.")
@rounds(15)
@outputs
def kernel(as_json: bool, output: str | None, **options: Any) -> None:
    """Time the native kernel beside eager PyTorch."""
    from deal.bench.kernel import run

    show(run(**options), as_json, output)


@click.command(cls=GroupedCommand)
@count("--threads", 2, "Number of threads.", least=2)
@rounds(15)
@outputs
def threads(as_json: bool, output: str | None, **options: Any) -> None:
    """Time one image on several threads, also beside PyTorch's."""
    from deal.bench.threads import run

    show(run(**options), as_json, output)


@click.command(cls=GroupedCommand)
@click.option(
    "--grid",
    type=click.Choice(
        [
            *("camvid", "cityscapes", "ade20k"),
            *("camvid-logits", "cityscapes-logits", "ade20k-logits"),
        ]
    ),
    default="camvid",
    show_default=True,
    help=_SHAPE_HELP,
)
@count("--threads", 1, "Number of threads.")
@rounds(9)
@outputs
def head(as_json: bool, output: str | None, **options: Any) -> None:
    """Time the difficulty head beside ONNX Runtime."""
    from deal.bench.head import run

    show(run(**options), as_json, output)


@click.command(cls=GroupedCommand)
@count("--frames", 10_000, "Number of frames.")
@outputs
def latency(as_json: bool, output: str | None, **options: Any) -> None:
    """Time single frames in a C program on one core."""
    from deal.bench.latency import run

    show(run(**options), as_json, output)
