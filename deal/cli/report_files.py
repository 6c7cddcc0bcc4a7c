"""Where reports go: to a file whose ending names the format, or to the terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import click

from deal.cli.grouped import FC, option
from deal.errors import OutputError, UsageError

__all__ = ["check_output", "check_writable", "output_options", "show"]

_OUT = "Output"
_FORMATS = (".md", ".html", ".json")


def output_options(function: FC) -> FC:
    """Add ``--output`` and ``--json``: parameters ``output`` and ``as_json``."""
    for add in (
        option(
            _OUT,
            "--json",
            "as_json",
            is_flag=True,
            help="Print the report as one JSON document instead of Markdown.",
        ),
        option(
            _OUT,
            "--output",
            "-o",
            type=click.Path(),
            metavar="FILE",
            help="Write the report to FILE instead of printing it: Markdown (.md), one HTML page "
            "(.html) or JSON (.json), by its ending.",
        ),
    ):
        function = add(function)
    return function


def check_output(output: str | None) -> None:
    """Find out before any work whether the file can be written.

    Raises
    ------
    UsageError
        Its ending names none of the formats.
    OutputError
        It is a folder, or its folder cannot be written.
    """
    from pathlib import Path

    if output is None:
        return
    path = Path(output)
    if not path.is_dir() and path.suffix.lower() not in _FORMATS:
        raise UsageError(
            f"--output {output}: the format is unknown; end the name in {', '.join(_FORMATS[:-1])} "
            f"or {_FORMATS[-1]}"
        )
    check_writable(output)


def check_writable(output: str) -> None:
    """Find out whether a file can be written, and make its folder; raises OutputError."""
    import tempfile
    from pathlib import Path

    from deal.pool.schemes import refuse_scheme

    refuse_scheme(output, "--output", "give a file on this machine")
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


def show(
    markdown: str,
    document: Mapping[str, Any],
    output: str | None,
    as_json: bool,
    *,
    page: Callable[[], str],
) -> None:
    """Write the report to ``output``; print it as JSON or, without both, as Markdown.

    Parameters
    ----------
    markdown : str
    document : mapping
        The same as JSON values.
    output : str, optional
        A file that `check_output` accepts.
    as_json : bool
    page : callable
        Makes the HTML page.
    """
    from pathlib import Path

    from deal.loop.files import write_text

    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    if output is not None:
        path = Path(output)
        if path.suffix.lower() == ".json":
            write_text(path, text)
        elif path.suffix.lower() == ".html":
            write_text(path, page())
        else:
            write_text(path, markdown)
    if as_json:
        click.echo(text, nl=False)
    elif output is None:
        click.echo(markdown, nl=False)
