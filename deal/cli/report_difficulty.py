"""``deal report difficulty``: measure difficulty on labeled images."""

from __future__ import annotations

from typing import Any

import click

from deal.cli.common import Size, key_value
from deal.cli.grouped import GroupedCommand, option
from deal.cli.labeled import Bar, ignore_index_option, model_options, split_options
from deal.cli.report_files import check_output, output_options, show
from deal.errors import UsageError

__all__ = ["difficulty"]

_DATA, _HEADS, _OUT = "Data", "Heads", "Output"


@click.command(
    "difficulty",
    cls=GroupedCommand,
    short_help="Measure how well difficulty finds the network's errors.",
    examples=[
        "deal report difficulty --model model.onnx --data labeled/ -o difficulty.html",
        "deal report difficulty --model model.onnx --data labeled/ --difficulty-head head.json",
    ],
)
@model_options
@split_options(_DATA, "Measure on this split.")
@option(
    _DATA,
    "--sequence-from",
    metavar="REGEX",
    help="Read the sequence of an image from its path under ROOT: the first group of REGEX. The "
    "report then has figures per sequence too.",
)
@ignore_index_option(_DATA)
@option(
    _HEADS,
    "--difficulty-head",
    "difficulty_heads",
    type=click.Path(),
    multiple=True,
    metavar="FILE",
    help="Measure this head, from deal fit-head, beside the model's own. Repeatable. If the model "
    "has none, the first one is `difficulty`.",
)
@option(
    _HEADS,
    "--grid",
    "grids",
    type=Size("60x80"),
    multiple=True,
    metavar="HxW",
    help="Measure `difficulty` on this attention grid too. Repeatable.",
)
@option(
    _HEADS,
    "--ablations",
    is_flag=True,
    help="Measure `difficulty` in variants too: on the grid of the logits, without attention "
    "(gamma 0), and with attention by polynomials of degree 1 to 4 and over all pairs of cells.",
)
@output_options
@option(_OUT, "--quiet", "-q", is_flag=True, help="Show no progress.")
def difficulty(*, output: str | None, as_json: bool, quiet: bool, **options: Any) -> None:
    """Measure difficulty on labeled images that the network was not trained on.

    The command runs the network and compares difficulty, entropy, margin and least confidence with
    the true errors: AUROC, average precision and AURC, overall and by class; calibration; the mean
    score of each class beside 1 − IoU; and other heads on the same logits. It does not need
    PyTorch.
    """
    options["model_options"] = dict(map(key_value, options["model_options"]))
    if not options["model"]:
        raise UsageError("no model: give --model FILE or set DEAL_MODEL")

    check_output(output)
    from deal.fitting.quality import measure_difficulty
    from deal.report.difficulty import to_markdown
    from deal.report.difficulty_page import page

    with Bar(enabled=not quiet) as bar:
        quality = measure_difficulty(progress=bar, **options)
    text = to_markdown(quality)
    show(text, quality.to_dict(), output, as_json, page=lambda: page(quality))
