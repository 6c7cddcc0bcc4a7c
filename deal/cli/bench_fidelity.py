"""``deal bench fidelity``: what engines and precisions select."""

from __future__ import annotations

from typing import Any

import click

from deal.cli.bench_options import count, outputs, show

__all__ = ["command"]


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
def command(as_json: bool, output: str | None, **options: Any) -> None:
    """Compare what OpenVINO in fp32, bf16 and int8 selects with ONNX Runtime in fp32.

    MODEL is a float32 ONNX file. Each acquisition function has the rank correlation, the overlap of
    the top 10 % and the value of the picks.
    """
    from deal.bench.fidelity import run

    show(run(**options), as_json, output)
