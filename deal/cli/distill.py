"""``deal distill``: teach a small network what a model says of a pool, for ``--screen``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from deal._install import pip_install
from deal.cli.common import Size, key_value, print_note
from deal.cli.ending import cleared_on_sigterm
from deal.cli.grouped import GroupedCommand, option
from deal.cli.labeled import model_options
from deal.cli.stages import Stages
from deal.errors import DealError, UsageError
from deal.text import printable
from deal.training.recipe import IMAGENET, NETWORKS

if TYPE_CHECKING:
    from deal.distilling import DistillReport

__all__ = ["command"]

_MODEL, _POOL, _NETWORK, _TRAINING, _OUT = "Model", "Pool", "Small network", "Training", "Output"
_NO_WEIGHTS = "none"


@click.command(
    cls=GroupedCommand,
    short_help="Teach a small network what a model says, to screen pools with.",
    examples=[
        "deal distill frames/ --model model.onnx -o small.onnx",
        "deal-score frames/ --model model.onnx --screen small.onnx --budget 5% -o out",
    ],
)
@click.argument("pool", nargs=-1, type=click.Path(readable=False))
@model_options
@option(
    _MODEL,
    "--difficulty-head",
    type=click.Path(),
    metavar="FILE",
    help="Learn the difficulty of this head instead of the model's own.",
)
@option(
    _POOL,
    "--images",
    type=int,
    default=500,
    show_default=True,
    metavar="N",
    first_day=True,
    help="Images to learn from, drawn evenly from the pool. A fifth as many others, and at most "
    "200, are held out to measure on.",
)
@option(
    _POOL,
    "--skip",
    multiple=True,
    metavar="GLOB",
    help="Leave out images whose id, or a folder of it, matches GLOB; repeatable.",
)
@option(
    _NETWORK,
    "--size",
    type=Size(),
    metavar="HxW",
    first_day=True,
    help="Size of its input. Default: half the height and width of the model's.",
)
@option(
    _NETWORK,
    "--network",
    type=click.Choice(NETWORKS),
    default="lite0-fast",
    show_default=True,
    metavar="NAME",
    help="One of the networks of deal train.",
)
@option(
    _NETWORK,
    "--weights",
    default=IMAGENET,
    show_default=True,
    metavar="imagenet|none|FILE",
    help="Where its encoder starts: at the ImageNet weights of the installed package, at random, "
    "or at a file of ImageNet weights.",
)
@option(
    _TRAINING,
    "--epochs",
    type=int,
    default=30,
    show_default=True,
    metavar="N",
    help="Passes over the images.",
)
@option(
    _TRAINING,
    "--batch-size",
    type=int,
    default=8,
    show_default=True,
    metavar="N",
    help="Images per training step.",
)
@option(
    _TRAINING,
    "--lr",
    type=float,
    default=1e-3,
    show_default=True,
    metavar="RATE",
    help="Highest learning rate.",
)
@option(
    _TRAINING,
    "--seed",
    type=int,
    default=0,
    show_default=True,
    metavar="S",
    help="Seed of weights, order and mirroring.",
)
@option(
    _OUT,
    "--output",
    "-o",
    type=click.Path(),
    required=True,
    metavar="FILE",
    first_day=True,
    help="ONNX file to write.",
)
@option(_OUT, "--overwrite", is_flag=True, help="Replace FILE if it exists.")
@option(_OUT, "--json", "as_json", is_flag=True, help="Print the report as JSON.")
@option(_OUT, "--quiet", "-q", is_flag=True, help="Show no progress.")
def command(
    *, pool: tuple[str, ...], as_json: bool, quiet: bool, weights: str, **options: Any
) -> None:
    """Teach a small network what a model says of POOL, for deal-score --screen.

    No labels are needed. The command runs the model on some images of the pool, trains a small
    network to say the same, exports it to ONNX, and measures on held-out images how alike both
    order them. It takes minutes on a CPU, so it pays for pools of tens of thousands of images, or
    for pools that are scored again and again. It does not resume.
    """
    if not pool:
        raise UsageError("no pool: name a folder, glob or manifest of the images to learn from")
    if not options["model"]:
        raise UsageError("no model: give --model FILE or set DEAL_MODEL")
    options["model_options"] = dict(map(key_value, options["model_options"]))
    try:
        from deal.distilling import distill
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "onnx"):
            raise
        raise DealError(f"distilling needs PyTorch and onnx: {pip_install('train')}") from error
    with cleared_on_sigterm(), Stages(enabled=not quiet) as progress:
        report = distill(
            list(pool),
            weights=None if weights == _NO_WEIGHTS else weights,
            progress=progress,
            **options,
        )
    if report.unread:
        print_note(f"{report.unread} of the drawn images cannot be read and were left out")
    if as_json:
        click.echo(json.dumps({"output": options["output"], **asdict(report)}, indent=1))
        return
    for line in _lines(report):
        click.echo(line)
    click.echo(f"model: {printable(options['output'])}")


def _lines(report: DistillReport) -> list[str]:
    height, width = report.input_size
    spent = ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in report.seconds.items())
    return [
        f"learned from {report.images} images, at {height}×{width}; measured on "
        f"{report.held_out} others",
        f"{'score':<12}{'Spearman':>10}{'best 5 % of the model within the first':>42}",
        *(
            f"{name:<12}{value:>10.3f}{report.reach[name]:>42.0%}"
            for name, value in report.correlations.items()
        ),
        f"an image takes {report.cost:.2f} of the model's time, decoding aside",
        spent,
    ]
