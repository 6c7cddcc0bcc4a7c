"""What holds for every command and its options."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from deal import cli
from deal.cli.common import Range
from deal.cli.grouped import GroupedCommand


def commands(one: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(one, click.Group):
        yield name, one
        return
    context = click.Context(one)
    for each in one.list_commands(context):
        found = one.get_command(context, each)
        if found is not None:
            yield from commands(found, f"{name} {each}")


def test_every_command_has_the_options_of_errors() -> None:
    every = dict(commands(cli.deal, "deal"))
    assert {"deal bench label-errors", "deal report pool", "deal select"} <= every.keys()
    assert [name for name, one in every.items() if not isinstance(one, GroupedCommand)] == []


def test_no_range_of_an_option_takes_nan() -> None:
    ranges = {
        f"{name} {option.opts[0]}": option.type
        for name, one in commands(cli.deal, "deal")
        for option in one.params
        if isinstance(option.type, click.FloatRange)
    }
    assert {"deal train --blur", "deal annotate --tolerance"} <= ranges.keys()
    assert [name for name, kind in ranges.items() if not isinstance(kind, Range)] == []
    with pytest.raises(click.BadParameter, match="no number"):
        ranges["deal train --blur"].convert("nan", None, None)
