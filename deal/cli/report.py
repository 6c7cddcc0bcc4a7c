"""``deal report``: reports on scored pools, experiments and difficulty."""

from __future__ import annotations

from typing import Any

import click

from deal.cli.grouped import CommandGroup, GroupedCommand, option
from deal.cli.ranking import seed_option
from deal.cli.reading import endpoint_option
from deal.cli.report_difficulty import difficulty
from deal.cli.report_files import check_output, output_options, show

_WHAT = "Comparison"


@click.group(cls=CommandGroup, short_help="Report on scored pools, experiments and difficulty.")
def command() -> None:
    """Report on a scored pool, on experiments of `deal loop`, or on difficulty.

    Only `difficulty` runs a network.
    """


command.add_command(difficulty)


@command.command(
    cls=GroupedCommand,
    short_help="Compare what the acquisition functions pick from a scored pool.",
    examples=[
        "deal report pool scored --budget 10% -o pool.html",
        "deal report pool scored --acquisition ds --acquisition entropy --min-gap 2s",
    ],
)
@click.argument("out", nargs=-1, required=True, type=click.Path())
@option(
    _WHAT,
    "--acquisition",
    "acquisitions",
    multiple=True,
    metavar="NAME",
    help="Compare this function. Repeatable. Default: every function these results allow.",
)
@option(
    _WHAT,
    "--budget",
    default="10%",
    show_default=True,
    metavar="N|P%",
    help="Number of images that each function picks.",
)
@option(
    _WHAT,
    "--spread",
    default="off",
    show_default=True,
    metavar="auto|off|2s|60f",
    help="Apply --spread of deal select to each function.",
)
@option(
    _WHAT, "--min-gap", metavar="Nf|Ns", help="Apply --min-gap of deal select to each function."
)
@option(_WHAT, "--diverse", metavar="M|P%", help="Apply --diverse of deal select to each function.")
@option(
    _WHAT,
    "--stochastic",
    metavar="power|softrank[:BETA]",
    help="Apply --stochastic of deal select to each function.",
)
@option(
    _WHAT,
    "--focus",
    metavar="CLASS,…",
    help="Classes that the focus:* functions count. Default: leave these functions out.",
)
@option(
    _WHAT,
    "--scene-length",
    default="300f",
    show_default=True,
    metavar="Nf|Ns",
    help="Length of a scene, a stretch of a sequence: frames by the last number in the id, or "
    "seconds.",
)
@option(
    _WHAT,
    "--sequence-from",
    metavar="REGEX",
    help="Read the sequence of an image from its id: the first group of REGEX. Default: the stored "
    "sequence.",
)
@seed_option(_WHAT)
@option(
    _WHAT,
    "--plugin",
    "plugins",
    multiple=True,
    metavar="MODULE",
    help="Load your own acquisition functions from a module or .py file. Repeatable.",
)
@endpoint_option(_WHAT)
@output_options
def pool(
    out: tuple[str, ...],
    focus: str | None,
    plugins: tuple[str, ...],
    output: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Let every acquisition function pick from the results in OUT, and compare the picks.

    The report says how many sequences and scenes the picks of each function come from, and how
    many picks each pair of functions shares.
    """
    check_output(output)
    from deal.acquisitions import load_plugin
    from deal.report.pool import report_pool
    from deal.report.pool_page import page

    for plugin in plugins:
        load_plugin(plugin)
    if focus is not None:
        options["focus"] = focus
    report = report_pool(out, **options)
    text = report.to_markdown()
    show(text, report.to_dict(), output, as_json, page=lambda: page(report))


@command.command(
    cls=GroupedCommand,
    short_help="Compare the learning curves of deal loop.",
    examples=["deal report loop runs/trial", "deal report loop runs/trial -o trial.html"],
)
@click.argument("runs", nargs=-1, required=True, type=click.Path())
@option(
    _WHAT,
    "--baseline",
    "baselines",
    multiple=True,
    metavar="METHOD",
    help="Compare the other methods with this one. Repeatable. Default: random and entropy.",
)
@option(
    _WHAT,
    "--class",
    "classes",
    multiple=True,
    metavar="NAME",
    help="Show the IoU of this class. Repeatable. Default: pole, sign-symbol, fence, pedestrian "
    "and bicyclist if the data have them, else the five classes with the lowest IoU.",
)
@option(
    _WHAT,
    "--full",
    type=float,
    metavar="MIOU",
    help="mIoU of training on all labels, such as 0.55: the report then counts the labels needed "
    "for 90 and 95 % of it. Seeds trained with full = true in the experiment use their own.",
)
@option(
    _WHAT,
    "--scene-length",
    default="300f",
    show_default=True,
    metavar="Nf",
    help="Length of a scene, a stretch of a drive, in frames by the last number in the id.",
)
@output_options
def loop(runs: tuple[str, ...], output: str | None, as_json: bool, **options: Any) -> None:
    """Report on the experiments RUNS; each is a folder OUTPUT/EXPERIMENT of `deal loop`.

    The report holds the mIoU of each round, paired differences with 95 % intervals, wins, the IoU
    of hard classes, and the overlap and drives of the picks. The command also brings the
    results.csv of each experiment up to date.
    """
    check_output(output)
    from deal.report.loop import report_loop
    from deal.report.loop_document import document
    from deal.report.loop_page import page

    reports = report_loop(runs, **options)
    text = "\n".join(report.to_markdown() for report in reports)
    show(text, document(reports), output, as_json, page=lambda: page(reports))
