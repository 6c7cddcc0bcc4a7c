"""``deal report difficulty``: how good difficulty is, on labelled images."""

from __future__ import annotations

from typing import Any

import click

from deal.cli.common import GroupedCommand, Size, key_value, option
from deal.cli.labeled import Bar, ignore_index_option, model_options
from deal.cli.report_files import check_output, output_options, show
from deal.errors import UsageError

__all__ = ["difficulty"]

_DATA, _HEADS, _OUT = "Data", "Heads", "Output"


@click.command(
    "difficulty",
    cls=GroupedCommand,
    short_help="How well difficulty finds, ranks and foretells a network's errors.",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="deal report difficulty --model model.onnx --data labeled/ --difficulty-head head.json "
    "--ablations -o difficulty.md",
)
@model_options
@option(
    _DATA,
    "--data",
    type=click.Path(),
    required=True,
    metavar="ROOT",
    help="ROOT/{train,val,test}/{images,labels}, ROOT/{images,labels} or Cityscapes, as deal "
    "fit-head takes it.",
)
@option(
    _DATA, "--split", metavar="NAME", help="Split to measure on. Default: test, or val without one."
)
@option(
    _DATA,
    "--sequence-from",
    metavar="REGEX",
    help="Sequence of an image: the first group of REGEX, searched in its path under ROOT. Each "
    "sequence gets its own figures too.",
)
@ignore_index_option(_DATA)
@option(
    _HEADS,
    "--difficulty-head",
    "difficulty_heads",
    type=click.Path(),
    multiple=True,
    metavar="FILE",
    help="Measure this head (of deal fit-head) beside the model's own; repeatable. The first is "
    "`difficulty` where the model has none.",
)
@option(
    _HEADS,
    "--grid",
    "grids",
    type=Size("60x80"),
    multiple=True,
    metavar="HxW",
    help="Measure `difficulty` on this attention grid too; repeatable.",
)
@option(
    _HEADS,
    "--ablations",
    is_flag=True,
    help="Measure `difficulty` also on the grid of the logits, with gamma 0, and with attention by "
    "polynomials of degree 1 to 4 and over all pairs of cells.",
)
@output_options
@option(_OUT, "--quiet", "-q", is_flag=True, help="No progress.")
@option(_OUT, "--debug", is_flag=True, help="Show the traceback of an error (or set DEAL_DEBUG=1).")
def difficulty(
    *, output: str | None, as_json: bool, quiet: bool, debug: bool, **options: Any
) -> None:
    """Measure difficulty on labelled images that the network was not trained on.

    Runs the network over them and holds difficulty, entropy, margin and least confidence against
    its true errors: AUROC, average precision and AURC, overall and by class; calibration; mean
    score by class beside 1 − IoU; and other heads on the same logits. No PyTorch needed.
    """
    options["model_options"] = dict(map(key_value, options["model_options"]))
    if not options["model"]:
        raise UsageError("no model: give --model FILE or set DEAL_MODEL")

    check_output(output)
    from deal.fitting.quality import measure_difficulty
    from deal.report.difficulty import to_markdown

    with Bar(enabled=not quiet) as bar:
        quality = measure_difficulty(progress=bar, **options)
    show(to_markdown(quality), quality.to_dict(), output, as_json)
