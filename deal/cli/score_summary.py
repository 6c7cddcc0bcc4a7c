"""What ``deal score`` says at its end: counts, what screening promises, where results are."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deal.text import printable

if TYPE_CHECKING:
    from deal.run.progress import RunReport, Screened

__all__ = ["document", "print_summary"]


def document(report: RunReport, top: int) -> dict[str, Any]:
    """What a run did, as JSON values, with the first ranks."""
    from deal.pool.ids import path_to_id

    names = ("total", "skipped", "scored", "duplicates", "errors", "seconds", "bound_by", "notes")
    return {
        **{name: getattr(report, name) for name in (*names, "exit_code")},
        "output": path_to_id(str(report.output)),
        "previews": None if report.previews is None else path_to_id(str(report.previews)),
        "maps": None if report.maps is None else path_to_id(str(report.maps)),
        **({} if report.screen is None else {"screen": asdict(report.screen)}),
        "selection": report.selection.metadata,
        "top": list(report.selection.records(max(top, 0))),
    }


def print_summary(report: RunReport) -> None:
    """Print what a run did, and where its results are."""
    failed = sum(report.errors.values())
    speed = ""
    if report.scored:
        speed = f", bound by {report.bound_by}"
        if report.screen is None or report.screen.reason is not None:  # else most are not scored
            speed = f", {report.scored / report.seconds:.1f} images/s" + speed
    repeated = f"{report.duplicates} near-duplicates, " if report.duplicates else ""
    click.echo(
        f"{report.total} images: {report.scored} scored, {repeated}{report.skipped} stored before, "
        f"{failed} failed; {report.seconds:.1f} s{speed}"
    )
    if report.screen is not None:
        click.echo(f"screening    {_screening(report.screen)}")
    if failed:
        codes = ", ".join(f"{count} {code}" for code, count in report.errors.items())
        click.echo(f"quarantined  {codes} (column error in {_shown(report.output / 'images')})")
    click.echo(f"ranking      {_shown(report.output / 'selection.csv')}")
    click.echo(f"statistics   {_shown(report.output / 'images')}")
    if report.previews is not None:
        click.echo(f"previews     {_shown(report.previews)}")
    if report.maps is not None:
        click.echo(f"maps         {_shown(report.maps)}")


def _screening(found: Screened) -> str:
    """What screening did: what is promised, and what it cost."""
    if found.reason is not None:
        return f"does not pay here, so all images are scored exactly: {found.reason}"
    text = (
        f"mean score of the picks ≥ {found.kept:.3f} of the best possible "
        f"({'95% confidence' if found.bounded else 'an estimate, since picks keep apart'}); "
        f"{found.exact} images scored exactly, {found.skipped} skipped, {found.screened} screened "
        f"{found.shown}: about {found.cost:.2f} of the time of the network"
    )
    if found.elsewhere:
        text += (
            f"; {found.elsewhere} images of other shards still have to be scored exactly: run the "
            "commands of the other shards again"
        )
    return text


def _shown(path: Path) -> str:
    from deal.pool.ids import path_to_id

    return printable(path_to_id(str(path)))
