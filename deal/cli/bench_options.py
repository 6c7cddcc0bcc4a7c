"""Options that the benchmarks share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deal.cli.grouped import FC
from deal.cli.report_files import check_writable
from deal.errors import OutputError

if TYPE_CHECKING:
    from deal.bench.report import Report

__all__ = ["count", "json_and_output", "outputs", "rounds", "show", "writing"]


_RESULT = "deal.bench.result"


def outputs(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--json``, ``--output`` and ``--result``, which `show` follows."""
    return click.option(
        "--result",
        metavar="NAME",
        expose_value=False,
        callback=_note_result,
        help="Write the JSON to bench/results/MACHINE/NAME.json of the checkout too.",
    )(json_and_output(function))


def _note_result(context: click.Context, parameter: click.Parameter, name: str | None) -> None:
    context.meta[_RESULT] = name


def json_and_output(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--json`` and ``--output``."""
    function = click.option(
        "--json", "as_json", is_flag=True, help="Print JSON instead of the table."
    )(function)
    return click.option(
        "--output",
        "-o",
        type=click.Path(dir_okay=False),
        metavar="FILE",
        callback=_checked_before_work,
        help="Write the JSON to FILE too.",
    )(function)


def _checked_before_work(
    context: click.Context, parameter: click.Parameter, output: str | None
) -> str | None:
    if output is not None:
        check_writable(output)
    return output


def count(name: str, default: int, text: str, least: int = 1) -> Callable[[FC], FC]:
    """Add an option that is a number of things."""
    return click.option(
        name,
        type=click.IntRange(least),
        default=default,
        show_default=True,
        metavar="N",
        help=text,
    )


def rounds(default: int) -> Callable[[FC], FC]:
    """Add ``--rounds``."""
    return count("--rounds", default, "Repeat the measurement N times.")


def show(report: Report, as_json: bool, output: str | None) -> None:
    """Print a report, with the command that measures it again; write it where that was asked for.

    ``output`` is a file; ``--result`` names one of the checkout.
    """
    from deal.bench.command import recorded
    from deal.bench.place import result_path

    context = click.get_current_context()
    report = replace(report, command=recorded(context))
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=2))
    else:
        _print_table(report)
    if output is not None:
        with writing(output):
            report.write(output)
    if (name := context.meta.get(_RESULT)) is not None:
        path = result_path(report.environment, name)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            report.write(path)


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Write a report that was printed already, so that minutes are not lost; OutputError."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror}; --output names another"
        ) from error


def _print_table(report: Report) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{report.command}   ({report.environment['processor']})")
    for heading in ("what", "median", "quartiles", "unit", "target", ""):
        table.add_column(heading, justify="left" if heading in ("what", "unit") else "right")
    for row in report.rows:
        value = row.value
        verdict = {None: "", True: "reached", False: "not reached"}[row.reached]
        quartiles = "" if value.count == 1 else f"{value.low:.4g} – {value.high:.4g}"
        table.add_row(
            row.name, f"{value.median:.4g}", quartiles, row.unit, row.target or "", verdict
        )
    Console().print(table)
    for note in report.notes:
        click.echo(note, err=True)
