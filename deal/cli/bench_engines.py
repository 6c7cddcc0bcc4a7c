"""``deal bench engine`` and ``fidelity``: how fast engines are, and what they select."""

from __future__ import annotations

from typing import Any

import click

from deal.cli.bench_options import count, outputs, rounds, show

__all__ = ["engine", "fidelity"]


@click.command()
@click.option(
    "--network",
    type=click.Choice(["paper", "light"]),
    default="paper",
    show_default=True,
    help="Architecture of the network with random weights.",
)
@click.option(
    "--model",
    type=click.Path(exists=True),
    multiple=True,
    metavar="FILE",
    help="Time this ONNX model too, by ONNX Runtime and OpenVINO. Repeatable.",
)
@count("--images", 16, "Number of images.")
@rounds(5)
@click.option(
    "--int8/--no-int8", default=True, show_default=True, help="Time the network in 8 bits too."
)
@click.option(
    "--compiled/--no-compiled",
    default=True,
    show_default=True,
    help="Time torch.compile too, which takes a minute to compile.",
)
@outputs
def engine(as_json: bool, output: str | None, **options: Any) -> None:
    """Time one network in ONNX Runtime, PyTorch and OpenVINO, in bf16 and 8 bits too."""
    from deal.bench.engine import run

    show(run(**options), as_json, output)


@click.command(name="fidelity")
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--also",
    type=click.Path(exists=True, dir_okay=False),
    multiple=True,
    metavar="FILE",
    help="The same network converted, such as to int8. Repeatable.",
)
@click.option(
    "--images",
    type=click.Path(),
    metavar="POOL",
    help="Images to compare on. Default: generated street scenes.",
)
@count("--scenes", 300, "Number of generated scenes.", least=20)
@outputs
def fidelity(as_json: bool, output: str | None, **options: Any) -> None:
    """Compare what OpenVINO in fp32, bf16 and int8 selects with ONNX Runtime in fp32.

    MODEL is a float32 ONNX file. Each acquisition function has the rank correlation, the overlap of
    the top 10 % and the value of the picks.
    """
    from deal.bench.fidelity import run

    show(run(**options), as_json, output)
