"""``deal bench pipeline``, ``raster``, ``ray``, ``decode``, ``dedup``, ``memory``: whole pools."""

from __future__ import annotations

from typing import Any

import click

from deal.cli.bench_options import count, outputs, rounds, show
from deal.cli.common import Range
from deal.cli.grouped import GroupedCommand

__all__ = ["decode", "dedup", "memory", "pipeline", "raster", "ray"]

_MODEL_HELP = "ONNX model. Default: a network with random weights."


@click.command(cls=GroupedCommand)
@click.argument("pool", nargs=-1)
@click.option("--model", type=click.Path(exists=True), help=_MODEL_HELP, metavar="FILE")
@click.option(
    "--network",
    type=click.Choice(["paper", "light"]),
    default="paper",
    show_default=True,
    help="Architecture of the network with random weights.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "int8"]),
    default="fp32",
    show_default=True,
    help="Precision of the network with random weights.",
)
@click.option(
    "--sessions",
    type=click.IntRange(1),
    metavar="N",
    help="Networks that run at once. Default: one per core.",
)
@count("--threads", 1, "Number of threads.")
@click.option(
    "--raster",
    type=click.Choice(["input", "half"]),
    default="input",
    show_default=True,
    help="The same as for deal-score, which the peers do not have.",
)
@count("--batch-size", 1, "Images per batch.")
@count("--images", 200, "Number of images.")
@count("--peer-images", 40, "Images that the slower peers get.")
@click.option(
    "--openvino",
    is_flag=True,
    help="Time deal-score on OpenVINO in the same turns, in bf16 too where the processor has it.",
)
@click.option(
    "--screened",
    is_flag=True,
    help="Time deal-score in the same turns as it finds 5 % of the pool by ds with --screen.",
)
@click.option(
    "--screen",
    default="0.5",
    show_default=True,
    metavar="auto|0.5|MODEL",
    help="How --screened screens, as deal-score --screen.",
)
@rounds(3)
@outputs
def pipeline(as_json: bool, output: str | None, **options: Any) -> None:
    """Time deal-score beside plain loops and the released code."""
    from deal.bench.pipeline import run

    show(run(**options), as_json, output)


@click.command(cls=GroupedCommand)
@click.argument("pool", nargs=-1)
@click.option("--model", type=click.Path(exists=True), help=_MODEL_HELP, metavar="FILE")
@count("--images", 40, "Number of images.", least=2)
@rounds(5)
@click.option(
    "--feed",
    type=Range(0, min_open=True),
    default=10_000,
    show_default=True,
    metavar="RATE",
    help="Images per second that a network on a GPU takes.",
)
@outputs
def decode(as_json: bool, output: str | None, **options: Any) -> None:
    """Time decoding and resizing, and check scaled decoding."""
    from deal.bench.decode import run

    show(run(**options), as_json, output)


@click.command(cls=GroupedCommand)
@click.argument("pool", nargs=-1, required=True)
@click.option(
    "--model", type=click.Path(exists=True), required=True, metavar="FILE", help="ONNX model."
)
@click.option("--sequence-from", metavar="REGEX", help="The same as for deal-score.")
@click.option(
    "--thresholds",
    default="1,2,3,4",
    show_default=True,
    metavar="T,…",
    help="Thresholds of --dedup, in grey levels.",
)
@click.option(
    "--budget",
    default="10%",
    show_default=True,
    metavar="N|P%",
    help="Number of images to pick, without --dedup and with it.",
)
@click.option(
    "--acquisition",
    multiple=True,
    default=("ds", "entropy", "de"),
    show_default=True,
    metavar="NAME",
    help="Pick by this function. Repeatable.",
)
@rounds(1)
@outputs
def dedup(as_json: bool, output: str | None, **options: Any) -> None:
    """Compare time and picks of a pool with and without --dedup."""
    from deal.bench.dedup import run

    show(run(**options), as_json, output)


@click.command(cls=GroupedCommand)
@click.option(
    "--model",
    type=click.Path(exists=True),
    metavar="FILE",
    help="ONNX model. Default: the bundled one.",
)
@count("--small", 1000, "Images of the small pool.")
@count("--large", 10_000, "Images of the large pool.")
@click.option("--tiny", is_flag=True, help="Use a network of one convolution, for large pools.")
@outputs
def memory(as_json: bool, output: str | None, **options: Any) -> None:
    """Compare the peak memory of a small and a large pool."""
    from deal.bench.memory import run

    show(run(**options), as_json, output)


@click.command(cls=GroupedCommand)
@click.argument("pool", nargs=-1, required=True)
@click.option(
    "--model", type=click.Path(exists=True), required=True, metavar="FILE", help="ONNX model."
)
@click.option(
    "--images",
    type=click.IntRange(10),
    metavar="N",
    help="Number of images, taken evenly over the pool. Default: all.",
)
@outputs
def raster(as_json: bool, output: str | None, **options: Any) -> None:
    """Compare the scores of --raster half with those of --raster input."""
    from deal.bench.raster import run

    show(run(**options), as_json, output)


@click.command(cls=GroupedCommand)
@click.argument("pool", nargs=-1)
@click.option(
    "--model",
    type=click.Path(exists=True),
    metavar="FILE",
    help="ONNX model. Default: the bundled one.",
)
@count("--images", 2000, "Number of images to generate.")
@rounds(1)
@outputs
def ray(as_json: bool, output: str | None, **options: Any) -> None:
    """Time deal-score beside deal.ray.score on this machine."""
    from deal.bench.cluster import run

    show(run(**options), as_json, output)
