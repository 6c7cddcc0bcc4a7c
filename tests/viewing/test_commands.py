"""The commands on the page select what they say, and the head counts every pick."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from deal import score_pool, select
from deal.viewing.view import make_page
from tests.helpers.models import metadata, save_model
from tests.helpers.runs import Deal, write_pool
from tests.viewing.conftest import DEMO
from tests.viewing.test_view import shown


@pytest.fixture(scope="module")
def regions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("regions") / "out"
    score_pool(DEMO / "pool", model=DEMO / "model.onnx", output=output, regions="grid:80")
    return output


def head_of(output: Path, selection: Path) -> dict[str, Any]:
    return shown(make_page(output, selection=selection, maps=0, thumbnails=0).text)[0]


def rows_of(selection: Path) -> str:
    return (selection / "selection.csv").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "options"),
    [
        ("images", "--budget 3 --by score-per-cost --cost pixels"),
        ("images", "--budget clicks:2000 --click-corner 3 --click-fixed 5"),
        ("images", "--budget 4 --max-bytes 30kB"),
        ("images", "--budget 30kB"),
        ("images", "--budget 4 --diverse 50% --features statistics --metric euclidean"),
        ("images", "--budget 4 --window 4s --window-budget 1"),
        ("images", "--budget 4 --min-gap 2s --gap-per sequence"),
        ("regions", "--table images --budget 4 --min-gap 2f --sequence-from ^([a-z]*)"),
        ("images", "--budget 4 --as-stream --min-gap 2s --look-ahead 3s --random-share 0.25"),
        ("images", "--budget 4 --acquisition random --seed 7 --quota camera=2"),
        ("images", "--budget 4 --acquisition clasp"),
        ("regions", "--budget 5 --table regions"),
        ("regions", "--budget regions:5 --by score-per-cost --cost clicks --max-per-image 1"),
    ],
)
def test_the_command_of_the_page_selects_the_same_again(
    deal: Deal, scored: Path, regions: Path, tmp_path: Path, table: str, options: str
) -> None:
    output = scored if table == "images" else regions
    first, second = tmp_path / "first", tmp_path / "second"
    assert deal("select", str(output), *options.split(), "-o", str(first))[0] == 0
    program, *words = shlex.split(head_of(output, first)["command"])
    assert program == "deal"
    assert deal(*words, "-o", str(second))[0] == 0
    assert rows_of(second) == rows_of(first)


def test_lists_of_ids_stand_in_the_command_for_the_user_to_name(
    scored: Path, tmp_path: Path
) -> None:
    (tmp_path / "labeled.txt").write_text("day/street_00001.jpg\nday/street_00002.jpg\n")
    select(scored, budget=3, exclude=tmp_path / "labeled.txt").write(tmp_path / "s")
    head = head_of(scored, tmp_path / "s")
    assert head["command"].endswith("--budget 3 --exclude FILE")
    assert head["filling"] == f"deal select {scored} --exclude FILE"
    assert ["Rules", "--exclude (2 ids)"] in head["facts"]


def test_the_basket_is_filled_up_by_the_function_and_the_rules_of_the_page(
    scored: Path, tmp_path: Path
) -> None:
    select(scored, budget=3, acquisition="entropy", spread="off").write(tmp_path)
    told = head_of(scored, tmp_path)["filling"]
    assert told == f"deal select {scored} --acquisition entropy --spread off"
    select(scored, budget=3).write(tmp_path)
    assert head_of(scored, tmp_path)["filling"] == f"deal select {scored}"


def test_without_difficulty_the_basket_is_filled_up_by_entropy(deal: Deal, tmp_path: Path) -> None:
    plain = save_model(tmp_path / "plain.onnx", props=metadata(difficulty_head=None))
    output = tmp_path / "out"
    write_pool(tmp_path / "pool", 5)
    score_pool(tmp_path / "pool", model=plain, output=output, acquisition="entropy", budget=2)
    head = shown(make_page(output, maps=0, thumbnails=0).text)[0]
    words = shlex.split(head["filling"])[1:]
    assert deal(*words, "--budget", "4", "-o", str(tmp_path / "picked"))[0] == 0


def test_more_picks_than_rows_are_counted_and_the_first_are_shown(scored: Path) -> None:
    made = make_page(scored, rows=2, maps=0, thumbnails=0)
    head, columns = shown(made.text)
    assert sorted(columns["pick"]) == [1, 2]
    assert head["title"].startswith("5 of 17 images selected")
    assert head["tiles"][0] == [5, "selected", ""]
    assert any("the first of 5 picks (--rows N shows more" in note for note in made.notes)


def test_picks_without_maps_are_not_said_to_be_missing(scored: Path) -> None:
    assert head_of(scored, scored)["no_maps"] == "--maps 0 was given, so no maps were drawn."
    document = json.loads((scored / "selection.json").read_bytes())
    assert document["selected"] == 5
