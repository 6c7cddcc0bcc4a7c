"""The page of functions: up to date, complete, and of commands that exist."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from deal.acquisitions.page import command, page
from deal.acquisitions.registry import registered
from deal.cli.score import command as score_command
from deal.cli.select import command as select_command

DOCS = Path(__file__).parents[2] / "docs" / "acquisition.md"
COMMANDS = {"deal-score": score_command, "deal select": select_command}


def test_the_page_is_up_to_date() -> None:
    assert DOCS.read_text(encoding="utf-8") == page(), "run: python -m deal.acquisitions.page"


@pytest.mark.parametrize("name", sorted(registered()))
def test_a_function_has_formula_source_columns_cost_and_command(name: str) -> None:
    entry = registered()[name]
    section = page().partition(f"### `{name}`\n")[2].partition("\n##")[0]
    for text in (entry.formula, entry.source, command(entry), "* Columns of images:", "* Cost:"):
        assert text in section


@pytest.mark.parametrize("name", sorted(registered()))
def test_the_command_of_a_function_can_be_given(name: str) -> None:
    line = command(registered()[name])
    program = next(text for text in COMMANDS if line.startswith(text))
    context = COMMANDS[program].make_context(program, shlex.split(line.removeprefix(program)))
    assert context.params["acquisition"] == name


def test_dimensions_of_columns_are_said() -> None:
    text = page()
    for column in ("`difficulty_hist` [240]", "`class_pixels` [C]", "`embedding` [E]"):
        assert column in text
