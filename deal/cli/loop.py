"""``deal loop``: simulated active learning on a labeled data set."""

from __future__ import annotations

import click

from deal.cli.common import GroupedCommand, option
from deal.errors import UsageError
from deal.loop.preset import preset_names, preset_text
from deal.text import printable

_WHAT, _OUT = "Runs", "Output"


@click.command(
    cls=GroupedCommand,
    short_help="Simulated active learning on a labeled data set.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("config", type=click.Path(), metavar="CONFIG.toml", required=False)
@option(
    _WHAT,
    "--method",
    "methods",
    multiple=True,
    metavar="NAME",
    help="Only this method of the configuration; repeatable.",
)
@option(
    _WHAT,
    "--seed",
    "seeds",
    multiple=True,
    type=click.IntRange(min=0),
    metavar="S",
    help="Only this seed of the configuration; repeatable.",
)
@option(
    _OUT,
    "--preset",
    metavar="NAME",
    help=f"Print a configuration to begin with: {', '.join(preset_names())}. Those named synthetic "
    "need no data.",
)
@option(_OUT, "--debug", is_flag=True, help="Show the traceback of an error (or set DEAL_DEBUG=1).")
def command(
    config: str | None,
    methods: tuple[str, ...],
    seeds: tuple[int, ...],
    preset: str | None,
    debug: bool,
) -> None:
    """Compare acquisition functions by learning curves, with all labels known.

    Every method of CONFIG.toml labels more images round by round, trains from scratch on them, and
    picks the next by scoring the rest with the exported network. Plain files go to
    OUTPUT/EXPERIMENT/; the same command goes on after an interruption, and several processes share
    the runs among them. `deal report loop` makes the tables.
    """
    from deal.loop.config import read_config
    from deal.loop.experiment import run_loop

    if (config is None) == (preset is None):
        raise UsageError("give either CONFIG.toml or --preset")
    if preset is not None:
        click.echo(preset_text(preset), nl=False)
        return
    assert config is not None
    report = run_loop(
        read_config(config),
        methods=methods,
        seeds=seeds,
        say=lambda text: click.echo(printable(text), err=True),
    )
    for name in report.elsewhere:
        click.echo(f"{name}: another process has it in work", err=True)
    click.echo(f"{len(report.finished)} runs finished: {printable(str(report.folder))}/results.csv")
