"""``deal report``: what stored results and experiments say; only ``difficulty`` runs a network."""

from __future__ import annotations

from typing import Any

import click

from deal.cli.common import GroupedCommand, option, seed_option
from deal.cli.report_difficulty import difficulty
from deal.cli.report_files import check_output, output_options, show

_WHAT, _OUT = "Comparison", "Output"


@click.group(
    short_help="Reports over stored results, experiments and labelled images.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
def command() -> None:
    """Reports; only `difficulty` runs a network."""


command.add_command(difficulty)


@command.command(
    cls=GroupedCommand,
    short_help="Every acquisition function over one scored pool.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("out", nargs=-1, required=True, type=click.Path())
@option(
    _WHAT,
    "--acquisition",
    "acquisitions",
    multiple=True,
    metavar="NAME",
    help="Compare these; repeatable. Default: all that the results can answer.",
)
@option(
    _WHAT,
    "--budget",
    default="10%",
    show_default=True,
    metavar="N|P%",
    help="How many images each of them picks.",
)
@option(_WHAT, "--min-gap", metavar="Nf|Ns", help="As of deal select, for every function.")
@option(_WHAT, "--diverse", metavar="M|P%", help="As of deal select, for every function.")
@option(
    _WHAT,
    "--stochastic",
    metavar="power|softrank[:BETA]",
    help="As of deal select, for every function.",
)
@option(
    _WHAT,
    "--focus",
    metavar="CLASS,…",
    help="Classes of the focus: functions, which are left out without.",
)
@option(
    _WHAT,
    "--scene-length",
    default="300f",
    show_default=True,
    metavar="Nf|Ns",
    help="A scene is a stretch of a sequence so long: frames by the number in the id, or seconds.",
)
@option(
    _WHAT,
    "--sequence-from",
    metavar="REGEX",
    help="Sequence of an image: the first group of REGEX, searched in its id. Default: as stored.",
)
@seed_option(_WHAT)
@option(_WHAT, "--plugin", "plugins", multiple=True, metavar="FILE|MODULE", help="Load functions.")
@output_options
@option(_OUT, "--debug", is_flag=True, help="Show the traceback of an error (or set DEAL_DEBUG=1).")
def pool(
    out: tuple[str, ...],
    focus: str | None,
    plugins: tuple[str, ...],
    output: str | None,
    as_json: bool,
    debug: bool,
    **options: Any,
) -> None:
    """Let every acquisition function pick from the results OUT, and compare the picks.

    Prints, as Markdown, how many sequences and scenes each function's picks come from, and how
    many picks each two functions share.
    """
    check_output(output)
    from deal.acquisitions import load_plugin
    from deal.report.pool import report_pool

    for plugin in plugins:
        load_plugin(plugin)
    if focus is not None:
        options["focus"] = focus
    report = report_pool(out, **options)
    show(report.to_markdown(), report.to_dict(), output, as_json)


@command.command(
    cls=GroupedCommand,
    short_help="Learning curves of deal loop, compared in pairs.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("runs", nargs=-1, required=True, type=click.Path())
@option(
    _WHAT,
    "--baseline",
    "baselines",
    multiple=True,
    metavar="METHOD",
    help="Compare the others with it; repeatable. Default: random and entropy.",
)
@option(
    _WHAT,
    "--class",
    "classes",
    multiple=True,
    metavar="NAME",
    help="Show this class's IoU; repeatable. Default: pole, sign-symbol, fence, pedestrian, "
    "bicyclist where the data have them, else the five lowest.",
)
@option(
    _WHAT,
    "--full",
    type=float,
    metavar="MIOU",
    help="mIoU with every label, such as 0.55, to count the labels needed for 90 and 95 % of it; "
    "for seeds without full supervision of their own (full = true in the experiment).",
)
@option(
    _WHAT,
    "--scene-length",
    default="300f",
    show_default=True,
    metavar="Nf",
    help="A scene is a stretch of a drive so long, by the last number in the id.",
)
@option(
    _OUT,
    "--output",
    "-o",
    type=click.Path(),
    metavar="FILE",
    help="Write Markdown here instead of printing it; with a name in .html, one page with figures.",
)
@option(_OUT, "--debug", is_flag=True, help="Show the traceback of an error (or set DEAL_DEBUG=1).")
def loop(runs: tuple[str, ...], output: str | None, debug: bool, **options: Any) -> None:
    """Report the experiments RUNS, each a folder OUTPUT/EXPERIMENT of `deal loop`.

    mIoU by round, paired differences with 95 % intervals, wins, IoU of hard classes, overlap and
    drives of the picks. Writes each experiment's results.csv anew from its plain files.
    """
    from pathlib import Path

    from deal.loop.files import write_text
    from deal.report.loop import report_loop

    reports = report_loop(runs, **options)
    if output is not None and Path(output).suffix == ".html":
        from deal.report.loop_page import page

        write_text(Path(output), page(reports))
        return
    text = "\n".join(report.to_markdown() for report in reports)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_text(Path(output), text)
