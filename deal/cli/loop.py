"""``deal loop``: simulate active learning on a labeled data set."""

from __future__ import annotations

import click

from deal.cli.grouped import GroupedCommand, option
from deal.errors import UsageError
from deal.loop.preset import preset_names, preset_text
from deal.text import printable

_WHAT, _OUT = "Runs", "Output"


@click.command(
    cls=GroupedCommand,
    short_help="Simulate active learning on a labeled data set.",
    examples=[
        "deal loop --preset synthetic > trial.toml",
        "deal loop trial.toml",
        "deal report loop runs/trial -o trial.html",
    ],
)
@click.argument("config", type=click.Path(), metavar="CONFIG.toml", required=False)
@option(
    _WHAT,
    "--method",
    "methods",
    multiple=True,
    metavar="NAME",
    help="Run only this method of the configuration. Repeatable.",
)
@option(
    _WHAT,
    "--seed",
    "seeds",
    multiple=True,
    type=click.IntRange(min=0),
    metavar="S",
    help="Run only this seed of the configuration. Repeatable.",
)
@option(
    _OUT,
    "--preset",
    metavar="NAME",
    help=f"Print a configuration to start from: {', '.join(preset_names())}. The synthetic ones "
    "need no data.",
)
def command(
    config: str | None,
    methods: tuple[str, ...],
    seeds: tuple[int, ...],
    preset: str | None,
) -> None:
    """Compare acquisition functions by their learning curves, on data whose labels are known.

    Each method of CONFIG.toml labels more images in each round, trains on them, and picks the next
    images by scoring the rest with the exported network. Results are plain files in
    OUTPUT/EXPERIMENT/. If a run is interrupted, the same command resumes it; several processes may
    share the runs. `deal report loop` makes the tables.
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
        click.echo(f"{printable(name)}: another process is working on it", err=True)
    click.echo(f"{len(report.finished)} runs finished: {printable(str(report.folder))}/results.csv")
