"""``deal doctor``: what is installed, which engines and devices work, and the remedies."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from deal.cli.common import GroupedCommand, option
from deal.text import printable

_STATES = {True: "ok", False: "no", None: "extra"}
_COLOURS = {True: "green", False: "red", None: "yellow"}


@click.command(
    cls=GroupedCommand,
    short_help="Show what is installed and works, and the remedies.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@option("Output", "--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def command(as_json: bool) -> None:
    """Show what is installed, which engines and devices work, and what to do about the rest.

    Engines and devices are really started. Always exits with 0.
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
