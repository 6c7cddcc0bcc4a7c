"""``deal fit-head``: fit a difficulty head for an ONNX network, and measure it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from deal.cli.common import Size, key_value, print_note
from deal.cli.grouped import GroupedCommand, option
from deal.cli.labeled import Bar, ignore_index_option, model_options
from deal.errors import UsageError
from deal.text import printable

if TYPE_CHECKING:
    from rich.console import Console

    from deal.fitting import FitReport
    from deal.fitting.measures import Areas, Measures

__all__ = ["command"]

_DATA, _FIT, _OUT = "Data", "Fit", "Output"
_REMEDIES = {
    "difficulty-without-attention": "fit again with --no-attention and rank with --acquisition ds "
    "and that head",
    "difficulty-without-uncertainty": "fit again with --no-uncertainty and rank with --acquisition "
    "ds and that head",
    "model-difficulty": "rank with --acquisition ds and without --difficulty-head, so that the "
    "model's own difficulty counts",
}
_HEADINGS = {"auroc": "AUROC", "average_precision": "average precision", "aurc": "AURC"}


@click.command(
    "fit-head",
    cls=GroupedCommand,
    short_help="Fit a difficulty head for your network.",
    examples=[
        "deal fit-head --model segformer.onnx --data labeled/ -o head.json",
        "deal-score pool/ --model segformer.onnx --difficulty-head head.json -o scored",
    ],
)
@model_options
@option(
    _DATA,
    "--data",
    type=click.Path(),
    required=True,
    metavar="ROOT",
    help="Labeled images: ROOT/{train,val,test}/{images,labels} or ROOT/{images,labels}. A label "
    "is an 8-bit PNG with one class index of the model per pixel. Cityscapes works as it is: "
    "ROOT/{leftImg8bit,gtFine}.",
)
@option(
    _DATA,
    "--held-out",
    default="auto",
    show_default=True,
    metavar="SPLIT|every:K",
    help="Measure the head on this split, or hold out every K-th image (with --sequence-from, "
    "every K-th sequence) for it. auto: the split val, or every:5 if there is none.",
)
@option(
    _DATA,
    "--sequence-from",
    metavar="REGEX",
    help="Read the sequence of an image from its path under ROOT: the first group of REGEX. A "
    "sequence is either fitted on or held out, because neighboring frames would flatter the "
    "figures.",
)
@ignore_index_option(_DATA)
@option(
    _FIT,
    "--grid",
    type=Size("60x80"),
    metavar="HxW",
    help="Size of the attention grid. Default: the grid of the logits, at most 4800 cells.",
)
@option(
    _FIT,
    "--attention/--no-attention",
    default=True,
    show_default=True,
    help="Use attention. Without it gamma is 0, and difficulty depends only on a pixel's own class "
    "probabilities.",
)
@option(
    _FIT,
    "--uncertainty/--no-uncertainty",
    default=True,
    show_default=True,
    help="Also fit one weight per class for the variance p(1 - p) of its probability. Without it, "
    "the head is the paper's.",
)
@option(
    _FIT,
    "--pixels",
    type=int,
    default=200_000,
    show_default=True,
    metavar="N",
    help="Number of pixels to fit on; half of them are wrong ones if there are enough.",
)
@option(
    _FIT, "--seed", type=int, default=0, show_default=True, help="Seed of the choice of pixels."
)
@option(
    _OUT,
    "--output",
    "-o",
    type=click.Path(),
    required=True,
    metavar="FILE",
    help="Write the head to FILE (JSON), for deal-score --difficulty-head.",
)
@option(_OUT, "--overwrite", is_flag=True, help="Replace FILE if it exists.")
@option(_OUT, "--json", "as_json", is_flag=True, help="Print the report as JSON.")
@option(_OUT, "--quiet", "-q", is_flag=True, help="Show no progress.")
def command(*, as_json: bool, quiet: bool, **options: Any) -> None:
    """Fit a difficulty head for any ONNX segmentation network, on labeled images.

    The command runs the network, fits 2C + 2 numbers to where it is wrong (C + 2 with
    --no-uncertainty, which is the paper's head), and measures on held-out images how well
    difficulty, entropy, margin and least confidence find the wrong pixels. It does not need
    PyTorch.
    """
    options["model_options"] = dict(map(key_value, options["model_options"]))
    if not options["model"]:
        raise UsageError("no model: give --model FILE or set DEAL_MODEL")

    from rich.console import Console

    from deal.fitting import fit_head

    with Bar(enabled=not quiet) as bar:
        report = fit_head(progress=bar, **options)
    for note in report.notes:
        print_note(note)
    if as_json:
        document = {
            "output": options["output"],
            "head": report.head.to_dict(),
            "provenance": report.provenance,
            "seconds": report.seconds,
        }
        click.echo(json.dumps(document, indent=1))
        return
    console = Console()
    if not console.is_terminal:  # a file or pipe has no width to fold to
        console = Console(width=200)
    _print(report, console)
    click.echo(f"head: {printable(options['output'])}")


def _print(report: FitReport, console: Console) -> None:
    measures, fit, seconds = report.measures, report.provenance["fit"], report.seconds
    click.echo(
        f"fitted on {fit['images']} images ({fit['wrong'] / fit['pixels']:.1%} of "
        f"{fit['pixels']} pixels wrong); measured on {measures.images} held out "
        f"({report.provenance['held_out']['rule']}): {measures.wrong / measures.pixels:.1%} of "
        f"{measures.pixels} pixels wrong"
    )
    _print_overall(measures, console)
    _print_classes(measures, console)
    click.echo(_verdict(measures))
    spent = ", ".join(f"{stage} {value:.1f} s" for stage, value in seconds.items())
    click.echo(f"{spent}; gamma {report.head.gamma:.3g}, grid {report.head.grid}")


def _print_overall(measures: Measures, console: Console) -> None:
    from rich.table import Table

    table = Table(title="finding the wrong pixels")
    table.add_column("score")
    for area in _HEADINGS.values():
        table.add_column(area, justify="right")
    table.add_column("images", justify="right")
    for name, areas in measures.scores.items():
        cells = [_cell(areas, area) for area in _HEADINGS]
        table.add_row(name, *cells, f"{measures.image_correlation[name]:.3f}")
    share = measures.wrong / measures.pixels
    table.add_section()
    table.add_row("chance", "0.500", f"{share:.3f}", f"{share:.3f}", "0.000")
    console.print(table)
    click.echo(
        "AUROC, average precision: higher is better; AURC: lower. images: rank correlation of an "
        "image's mean score with its share of wrong pixels"
    )


def _print_classes(measures: Measures, console: Console) -> None:
    from rich.table import Table

    from deal.fitting.measures import UNCERTAINTIES, best_score

    table = Table(title="by predicted class: difficulty, and the best uncertainty")
    for heading, left in (("class", True), ("pixels", False), ("wrong", False)):
        table.add_column(heading, justify="left" if left else "right")
    for heading in _HEADINGS.values():
        table.add_column(heading, justify="right")
        table.add_column("")
    for row in measures.classes:
        cells = []
        for area in _HEADINGS:
            best = best_score(row.scores, area, UNCERTAINTIES)
            cells.append(_cell(row.scores["difficulty"], area))
            cells.append("-" if best is None else f"{_cell(row.scores[best], area)} {best}")
        table.add_row(printable(row.name), str(row.pixels), f"{row.wrong / row.pixels:.1%}", *cells)
    console.print(table)


def _cell(areas: Areas, area: str) -> str:
    value = asdict(areas)[area]
    return "-" if value is None else f"{value:.3f}"


def _verdict(measures: Measures) -> str:
    winners = {area: measures.best(area) for area in _HEADINGS}
    best = winners["auroc"]
    others = "".join(
        f"; by {_HEADINGS[area]} it is {name}" for area, name in winners.items() if name != best
    )
    figure = f"AUROC {measures.scores[best].auroc:.3f}"
    if best == "difficulty":
        return (
            f"difficulty finds the wrong pixels best ({figure}{others}): "
            "rank with --acquisition ds and this head"
        )
    remedy = _REMEDIES.get(best, f"rank with --acquisition {best}")
    return (
        f"difficulty does not win: {best} finds the wrong pixels better ({figure} against "
        f"{measures.scores['difficulty'].auroc:.3f}{others}): {remedy}"
    )
