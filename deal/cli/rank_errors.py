"""``deal rank-errors``: rank the labels of a labeled pool by how doubtful they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from deal.cli.common import key_value, print_note
from deal.cli.grouped import GroupedCommand, option
from deal.cli.labeled import Bar, ignore_index_option, model_options, split_options
from deal.errors import UsageError
from deal.text import printable

__all__ = ["command"]

_DATA, _RANKING, _RULES, _OUT = "Data", "Ranking", "Rules", "Output"


@click.command(
    "rank-errors",
    cls=GroupedCommand,
    short_help="Rank labels that may be wrong, the most doubtful first.",
    examples=[
        "deal rank-errors --model model.onnx --data labeled/ --budget 50 -o doubts",
        "deal rank-errors --model model.onnx --data labeled/ --cell 40 -o doubts --previews 24",
        "deal rank-errors --model model.onnx --data labeled/ --cell 40 --budget 200 --spread 30f",
    ],
)
@model_options
@split_options(_DATA, "Rank the labels of this split.")
@ignore_index_option(_DATA)
@option(
    _RANKING,
    "--score",
    default="easy:entropy",
    show_default=True,
    metavar="NAME",
    help="easy:entropy, easy:difficulty: disagreement with the label, the more the easier the "
    "pixel is for the network; disagreement; self-confidence: 1 minus the probability of the "
    "label.",
)
@option(
    _RANKING,
    "--cell",
    type=click.IntRange(min=1),
    metavar="PX",
    help="Rank square cells of this side, in pixels of the label, instead of whole images.",
)
@option(
    _RANKING,
    "--difficulty-head",
    type=click.Path(),
    metavar="FILE",
    help="Take difficulty from this head, of deal fit-head, instead of the model's own.",
)
@option(
    _RULES,
    "--budget",
    metavar="N|P%",
    help="How many labels to pick, images or cells: 50 or 5%. Default: rank all.",
)
@option(
    _RULES,
    "--spread",
    default="auto",
    show_default=True,
    metavar="auto|off|60f",
    help="Spread the picks of a budget, as deal select does. auto keeps images apart in time where "
    "their names tell it, otherwise over kinds of images, and ranks cells by score alone; 60f "
    "keeps frames apart whose cells are picked, too. off ranks by score alone.",
)
@option(
    _RULES,
    "--near-duplicates",
    default="auto",
    show_default=True,
    metavar="auto|off|LEVELS",
    help="Of two picks whose thumbnails differ by at most LEVELS grey levels, keep the one with "
    "the higher rank. auto is 1.5 where picks are spread, and off otherwise.",
)
@option(
    _RULES,
    "--min-gap",
    metavar="30f",
    help="Keep the picks of a sequence this many frames apart, by the last number in the id, even "
    "if the budget is not filled.",
)
@option(
    _RULES,
    "--diverse",
    metavar="M|P%",
    help="Among the best M times the budget (or the best P% of the images), take again and again "
    "the image whose predicted classes are farthest from all picked ones.",
)
@option(
    _RULES,
    "--sequence-from",
    metavar="REGEX",
    help="Read the sequence of an image from its path: the first group of REGEX.",
)
@option(
    _OUT,
    "--output",
    "-o",
    type=click.Path(),
    metavar="DIR",
    help="Write label-errors.csv to DIR. Default: only print.",
)
@option(
    _OUT,
    "--previews",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Draw the first N beside each other into DIR/label-errors.jpg: image, label, prediction.",
)
@option(
    _OUT,
    "--top",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    metavar="N",
    help="Number of ranks to print.",
)
@option(_OUT, "--json", "as_json", is_flag=True, help="Print the ranking as JSON.")
@option(_OUT, "--quiet", "-q", is_flag=True, help="Show no progress.")
def command(
    *,
    output: str | None,
    previews: int,
    top: int,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Rank the labels of a pool by how likely they are wrong, to correct the worst first.

    The network has to be trained on other labels, or mostly on right ones. A label counts as
    doubtful where the network predicts another class although the pixel is easy for it. To correct
    labels that this network itself predicted, rank by difficulty instead: deal select, deal
    annotate. The command does not need PyTorch.
    """
    options["model_options"] = dict(map(key_value, options["model_options"]))
    if not options["model"]:
        raise UsageError("no model: give --model FILE or set DEAL_MODEL")
    if previews and output is None:
        raise UsageError("--previews needs --output DIR, the folder for label-errors.jpg")
    from deal.fitting.label_errors import rank_label_errors

    with Bar(enabled=not quiet) as bar:
        doubts = rank_label_errors(progress=bar, **options)
    if output is not None:
        from deal.fitting.label_pictures import write_ranking

        for note in write_ranking(Path(output), doubts, options, previews):
            print_note(note)
    if as_json:
        click.echo(doubts.to_json())
        return
    for note in doubts.notes:
        print_note(note)
    click.echo(f"{doubts.heading}; the first {min(top, len(doubts.labels))}:")
    for label in doubts.labels[:top]:
        place = "" if label.region is None else f" region {label.region}"
        pair = f"{label.label} → {label.predicted}" if label.label else "no difference"
        click.echo(
            f"{label.rank:4d}  {label.score:.4f}  {printable(label.id)}{place}  "
            f"{label.differ:.1%} differ, {printable(pair)}"
        )
    if output is not None:
        click.echo(f"ranking  {printable(str(Path(output) / 'label-errors.csv'))}")
        if previews:
            click.echo(f"previews {printable(str(Path(output) / 'label-errors.jpg'))}")
