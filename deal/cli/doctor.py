"""``deal doctor``: show what is installed, what works, and how to fix the rest."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from deal.cli.grouped import GroupedCommand, option
from deal.text import printable

_STATES = {True: "ok", False: "no", None: "extra"}
_COLOURS = {True: "green", False: "red", None: "yellow"}


@click.command(
    cls=GroupedCommand,
    short_help="Show what is installed, what works, and how to fix the rest.",
)
@option("Output", "--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(as_json: bool) -> None:
    """Show what is installed, which engines and devices work, and how to fix the rest.

    The command starts each engine and device to find out. Its exit status is always 0.
    """
    from deal.doctor import examine

    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in examine()], indent=1))
        return
    topic = None
    for finding in examine():
        if finding.topic != topic:
            topic = finding.topic
            click.echo(f"{topic}")
        state = click.style(f"{_STATES[finding.works]:5}", fg=_COLOURS[finding.works])
        click.echo(f"  {state}  {finding.name:16} {printable(finding.detail)}")
        if finding.remedy is not None:
            click.echo(f"{'':25} → {printable(finding.remedy)}")
