"""Where the reports of one selection or network go: Markdown to a file or the terminal, or JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from deal.cli.grouped import FC, option
from deal.errors import OutputError

__all__ = ["check_output", "output_options", "show"]

_OUT = "Output"


def output_options(function: FC) -> FC:
    """Add ``--output`` and ``--json``: parameters ``output`` and ``as_json``."""
    for add in (
        option(_OUT, "--json", "as_json", is_flag=True, help="Print one JSON document instead."),
        option(
            _OUT,
            "--output",
            "-o",
            type=click.Path(),
            metavar="FILE",
            help="Write Markdown here instead of printing it.",
        ),
    ):
        function = add(function)
    return function


def check_output(output: str | None) -> None:
    """Find out before any work whether the file can be written; OutputError."""
    import tempfile
    from pathlib import Path

    if output is None:
        return
    path = Path(output)
    if path.is_dir():
        raise OutputError(f"cannot write {output}: it is a folder; name a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OutputError(
            f"cannot write {output}: {error.strerror}; choose another --output"
        ) from error


def show(markdown: str, document: Mapping[str, Any], output: str | None, as_json: bool) -> None:
    """Write the Markdown to ``output``, and print the JSON document or, without both, Markdown."""
    if output is not None:
        from pathlib import Path

        from deal.loop.files import write_text

        write_text(Path(output), markdown)
    if as_json:
        click.echo(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False))
    elif output is None:
        click.echo(markdown, nl=False)
