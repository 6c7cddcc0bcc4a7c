"""Names that a spreadsheet would run as formulas, in ``selection.csv``."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deal import cli, select
from deal.results.output import Output
from deal.selection.document import Selection

IDS = ["=1+1.png", "+2.png", "-3.png", "@4.png", "\t5.png", "'=6.png", "'7.png", "plain.png"]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    with Output.open(tmp_path / "out", settings={"m": 1}, classes=["road"]) as output:
        text = {"uri": "/p", "source_version": "v", "status": "ok"}
        output.write(
            {
                "id": IDS,
                **{name: [value] * len(IDS) for name, value in text.items()},
                "entropy_mean": np.arange(len(IDS), 0, -1) / 10,
            },
            None,
        )
    return tmp_path / "out"


def written(folder: Path, selection: Selection, **options: Any) -> list[str]:
    selection.write(folder, **options)
    with (folder / "selection.csv").open(newline="", encoding="utf-8") as file:
        return [row["id"] for row in csv.DictReader(file)]


def test_on_demand_an_apostrophe_precedes_what_begins_like_a_formula(out: Path) -> None:
    selection = select(out, acquisition="entropy")
    assert written(out, selection) == IDS
    assert written(out, selection, csv_safe=True) == [f"'{item}" for item in IDS[:6]] + IDS[6:]
    assert selection.formulas == 6
    assert selection.ids == tuple(IDS)


@pytest.mark.parametrize("csv_safe", [False, True])
def test_a_list_of_ids_is_read_as_it_was_before(out: Path, tmp_path: Path, csv_safe: bool) -> None:
    chosen = select(out, acquisition="entropy", budget=5)
    written(tmp_path / "first", chosen, csv_safe=csv_safe)
    rest = select(out, acquisition="entropy", exclude=[tmp_path / "first" / "selection.csv"])
    assert rest.ids == tuple(IDS[5:])
    assert rest.notes == ()


def test_the_command_says_so_once_and_writes_safely_on_demand(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["select", str(out), "--acquisition", "entropy", "-o", str(tmp_path / "new")]
    assert cli.run(cli.deal, command, "deal") == 0
    told = capsys.readouterr().err
    assert told.count("--csv-safe") == told.count("\n") == 1
    assert told.startswith("note: 6 rows of selection.csv hold names that begin with")
    assert cli.run(cli.deal, [*command, "--csv-safe"], "deal") == 0
    assert capsys.readouterr().err == ""
    assert "\n1,'=1+1.png," in (tmp_path / "new" / "selection.csv").read_text()
    assert cli.run(cli.deal, command[:-2], "deal") == 0  # nothing is written
    assert capsys.readouterr().err == ""
