"""``deal distill``: train a small network to predict what a model says, for ``--screen``."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import click

from deal._install import pip_install
from deal.cli.common import Size, key_value, print_note
from deal.cli.ending import cleared_on_sigterm
from deal.cli.grouped import GroupedCommand, option
from deal.cli.labeled import model_options
from deal.cli.reading import reading_options
from deal.cli.stages import Stages
from deal.errors import DealError, UsageError
from deal.text import printable
from deal.training.recipe import IMAGENET, NETWORKS

if TYPE_CHECKING:
    from deal.distilling import DistillReport

__all__ = ["command"]

_MODEL, _POOL, _NETWORK, _TRAINING, _OUT = "Model", "Pool", "Small network", "Training", "Output"
_NO_WEIGHTS = "none"
_PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime")
_FEW = 30
_REACH = "the model's top 5 % is within its first"


@click.command(
    cls=GroupedCommand,
    short_help="Train a small network to predict your model, to screen pools with.",
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
    help="Learn the difficulty of this head instead of the model's own: the head with which the "
    "pool will be scored.",
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
    "200, are held out to measure on. Memory: 3·H·W bytes and (C+1)·H·W/8 per image, of the small "
    "network's input and C classes.",
)
@reading_options(_POOL, listing=False)
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
    default=20,
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
    help="Images per training step, at least.",
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
    """Train a small network to predict what a model says of POOL, for deal-score --screen.

    No labels are needed. The command runs the model on some images of the pool, trains a small
    network on what it says, exports that to ONNX, and measures how similarly both networks rank
    held-out images. It takes about ten minutes on two cores, so it pays for pools of tens of
    thousands of images, or of the same kind again and again. It does not resume.

    Give --difficulty-head and --model-option as for deal-score.
    """
    if not pool:
        raise UsageError("no pool: name a folder, glob or manifest of the images to learn from")
    if not options["model"]:
        raise UsageError("no model: give --model FILE or set DEAL_MODEL")
    options["model_options"] = dict(map(key_value, options["model_options"]))
    for package in _PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise DealError(f"distilling needs {package}: {pip_install('train', 'ort', 'weights')}")
    from deal.distilling import distill
    from deal.pool.inside import Reading

    given = {item.name: options.pop(item.name) for item in fields(Reading)}
    with cleared_on_sigterm(), Stages(enabled=not quiet) as progress:
        report = distill(
            list(pool),
            reading=Reading(**given),
            weights=None if weights == _NO_WEIGHTS else weights,
            progress=progress,
            **options,
        )
    if report.unread:
        print_note(f"{report.unread} of the drawn images cannot be read or scored: left out")
    if report.held_out < _FEW:
        print_note(f"measured on {report.held_out} images only, so the figures are rough")
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
        f"{'score':<12}{'Spearman':>10}{_REACH:>42}",
        *(
            f"{name:<12}{value:>10.3f}{report.reach[name]:>42.0%}"
            for name, value in report.correlations.items()
        ),
        f"an image takes {report.cost:.2f} of the model's time, decoding aside",
        spent,
    ]
