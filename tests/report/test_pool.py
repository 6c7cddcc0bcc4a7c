"""``deal report pool``: what every acquisition function picks from one pool."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from deal import select
from deal.cli import deal, run
from deal.errors import ResultsError, UsageError
from deal.report.pool import report_pool
from deal.report.pool_page import page
from deal.results.schema import images_schema, part_metadata, to_table
from tests.helpers.looks import check_report

CLASSES = ("road", "pole")
# Two drives: frames 0, 10, … of "a" are certain but difficult, those of "b" the other way round.
IDS = [f"{drive}_{frame:04d}.jpg" for drive in "ab" for frame in range(0, 100, 10)]
DIFFICULTY = np.r_[np.linspace(0.5, 0.9, 10), np.linspace(0.1, 0.4, 10)]
ENTROPY = np.r_[np.linspace(0.1, 0.4, 10), np.linspace(0.5, 0.9, 10)]


def stored(folder: Path, **more: object) -> Path:
    columns = {
        "id": IDS,
        "uri": IDS,
        "source_version": ["v"] * len(IDS),
        "status": ["ok"] * len(IDS),
        "sequence": [item[0] for item in IDS],
        "n_pixels": np.full(len(IDS), 100),
        "difficulty_mean": DIFFICULTY,
        "entropy_mean": ENTROPY,
        **more,
    }
    schema = images_schema().with_metadata(part_metadata({}, CLASSES))
    (folder / "images").mkdir(parents=True)
    table = to_table(columns, schema, len(CLASSES))
    pq.write_table(table, folder / "images" / "part-0-of-1-000000.parquet")
    return folder


def test_functions_that_rank_alike_share_their_picks_and_others_do_not(tmp_path: Path) -> None:
    report = report_pool(
        stored(tmp_path), acquisitions=["ds", "entropy", "ds:none"], budget=4, scene_length="20f"
    )
    assert [picks.name for picks in report.picks] == ["ds:none", "entropy"]
    assert report.picks[0].ids == tuple(IDS[9:5:-1])
    np.testing.assert_array_equal(report.overlap(), [[1, 0], [0, 1]])
    assert report.count == 4


def test_images_that_were_only_screened_are_told_of(tmp_path: Path) -> None:
    status = ["ok"] * 12 + ["skipped"] * 8
    report = report_pool(stored(tmp_path, status=status), acquisitions=["ds"], budget=4)
    assert (report.images, report.skipped) == (12, 8)
    assert report.to_dict()["skipped"] == 8
    for text in (report.to_markdown(), page(report)):
        assert "8 further images were only screened" in text
    plain = report_pool(stored(tmp_path / "whole"), acquisitions=["ds"], budget=4)
    assert "screened" not in plain.to_markdown()


def test_scenes_are_stretches_of_a_sequence_from_its_first_frame(tmp_path: Path) -> None:
    report = report_pool(
        stored(tmp_path), acquisitions=["ds", "random"], budget=3, scene_length="20f"
    )
    # frames 90, 80 | 70 of drive a; 100 frames in stretches of 20
    assert (report.picks[0].sequences, report.picks[0].scenes) == (1, 2)
    assert report.picks[0].largest_scene == pytest.approx(2 / 3)
    assert (report.pool.sequences, report.pool.scenes) == (2, 10)


def test_rules_hold_for_every_function(tmp_path: Path) -> None:
    report = report_pool(stored(tmp_path), acquisitions=["ds", "entropy"], budget=3, min_gap="20f")
    assert report.picks[0].ids == (IDS[9], IDS[7], IDS[5])
    assert report.picks[1].ids == (IDS[19], IDS[17], IDS[15])


def test_every_function_draws_where_it_is_asked_to(tmp_path: Path) -> None:
    folder = stored(tmp_path)
    report = report_pool(folder, budget=6, stochastic="power", seed=3)
    drawn = {picks.name: picks.ids for picks in report.picks}
    for name in ("ds:none", "entropy"):
        assert (
            drawn[name]
            == select(folder, acquisition=name, budget=6, stochastic="power", seed=3).ids
        )
    assert "core-set" in report.left_out
    assert "--seed 3 --stochastic power" in report.to_markdown()


def test_sequences_can_be_read_from_the_ids(tmp_path: Path) -> None:
    folder = stored(tmp_path, sequence=[None] * len(IDS))
    without = report_pool(folder, acquisitions=["ds"], budget=12)
    assert without.picks[0].sequences == 0
    assert "to count them, give --sequence-from." in without.to_markdown()
    named = report_pool(folder, acquisitions=["ds"], budget=12, sequence_from="^(.)_")
    assert named.picks[0].sequences == 2


def test_sequences_of_the_ids_hold_for_the_rules_and_others_stay_as_stored(tmp_path: Path) -> None:
    folder = stored(tmp_path)
    acquisition = "ds"
    rules: dict[str, Any] = {"budget": 12, "min_gap": "20f", "sequence_from": "^(b)_"}
    report = report_pool(folder, acquisitions=[acquisition], **rules)
    assert report.picks[0].ids == select(folder, acquisition=acquisition, **rules).ids
    assert (report.pool.sequences, report.picks[0].sequences) == (2, 2)
    assert "--sequence-from ^(b)_" in report.to_markdown()
    bare = stored(tmp_path / "bare", sequence=[None] * len(IDS))
    rules["sequence_from"] = "^(.)_"
    assert len(report_pool(bare, acquisitions=[acquisition], **rules).picks[0].ids) == 10


def test_scenes_that_cannot_be_counted_are_said(tmp_path: Path) -> None:
    report = report_pool(stored(tmp_path), acquisitions=["ds"], budget=3, scene_length="10s")
    assert report.pool.scenes == 0
    assert "the images have no times to count scenes by: try --scene-length 300f." in (
        report.to_markdown()
    )


def test_by_default_every_function_is_tried_and_what_is_missing_is_said(tmp_path: Path) -> None:
    report = report_pool(stored(tmp_path), budget="10%")
    assert {picks.name for picks in report.picks} >= {"ds:none", "entropy", "random"}
    assert "bald" in report.left_out
    assert "focus:entropy" in report.left_out
    assert all(len(picks.ids) == 2 for picks in report.picks)


def test_the_command_prints_markdown_or_json_and_writes_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stored(tmp_path / "out")
    names = ["--acquisition", "ds", "--acquisition", "entropy", "--budget", "4"]
    file = tmp_path / "report.md"
    assert run(deal, ["report", "pool", str(folder), *names, "-o", str(file)], "deal") == 0
    assert capsys.readouterr().out == ""
    assert "| difficulty (DS) | 100 | 0 |" in file.read_text()
    assert run(deal, ["report", "pool", str(folder), *names], "deal") == 0
    assert capsys.readouterr().out == file.read_text()
    assert run(deal, ["report", "pool", str(folder), *names, "--json"], "deal") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["overlap"] == [[1, 0], [0, 1]]
    assert document["functions"][0]["ids"] == IDS[9:5:-1]


@pytest.mark.parametrize(("ending", "start"), [(".html", "<!DOCTYPE html>"), (".json", "{")])
def test_the_ending_of_the_file_names_the_format(
    tmp_path: Path, ending: str, start: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, file = stored(tmp_path / "out"), tmp_path / f"report{ending}"
    command = ["report", "pool", str(folder), "--acquisition", "ds", "-o", str(file)]
    assert run(deal, command, "deal") == 0
    assert file.read_text().startswith(start)
    assert ("ds:none" if ending == ".json" else "difficulty (DS)") in file.read_text()
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_the_page_in_a_browser(tmp_path: Path) -> None:
    ids = [f"<script>{number}</script>.jpg" for number in range(len(IDS))]
    folder, file = stored(tmp_path / "out", id=ids), tmp_path / "pool.html"
    assert run(deal, ["report", "pool", str(folder), "-o", str(file)], "deal") == 0
    check_report(file)


def test_the_page_shades_what_functions_share(tmp_path: Path) -> None:
    report = report_pool(stored(tmp_path), acquisitions=["ds", "entropy", "random"], budget=4)
    text = page(report)
    for row in report.overlap():
        for share in row:
            cell = f'<td class="heat" style="--v:{share:.2f}">{100 * share:.0f}</td>'
            assert cell in text
    assert "<b>20</b><span>images</span>" in text
    assert "<td>2 · entropy</td>" in text


@pytest.mark.parametrize("kind", ["pool", "loop", "difficulty"])
@pytest.mark.parametrize("file", ["report.pdf", "report", "report.md.gz"])
def test_a_format_that_is_not_known_is_refused_before_any_work(
    tmp_path: Path, kind: str, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    needed = ["--model", "none.onnx", "--data", "none"] if kind == "difficulty" else ["none"]
    code = run(deal, ["report", kind, *needed, "-o", str(tmp_path / file)], "deal")
    assert code == 2
    assert "end the name in .md, .html or .json" in capsys.readouterr().err
    assert not (tmp_path / file).exists()


def test_odd_names_neither_break_the_tables_nor_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = [f"{number}|\x1b[31m`\n.jpg" for number in range(len(IDS))]
    folder = stored(tmp_path / "out", id=ids)
    assert run(deal, ["report", "pool", str(folder), "--acquisition", "ds"], "deal") == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    (row,) = (line for line in printed.splitlines() if line.startswith("| 1 |"))
    assert len(re.split(r"(?<!\\)\|", row)) == 8
    assert r"9\|\x1b[31m`\n.jpg" in row


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"acquisitions": ["dss"]}, "Did you mean"),
        (
            {"scene_length": "10"},
            "scene_length '10': write a number of frames or a time, such as 300f",
        ),
        ({"sequence_from": "("}, "not a regular expression"),
        ({"sequence_from": "a"}, "has no group"),
        ({"acquisitions": ["ds"], "focus": "pole"}, "takes the option focus"),
        ({"budget": "0"}, "budget"),
        ({"budget": "clicks:500"}, "images"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, options: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        report_pool(stored(tmp_path), **options)


def test_a_function_asked_for_by_name_has_to_work(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="mutual_information_mean"):
        report_pool(stored(tmp_path), acquisitions=["ds", "bald"])


def test_a_report_that_cannot_be_written_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stored(tmp_path / "out")
    (tmp_path / "file").touch()
    code = run(deal, ["report", "pool", str(folder), "-o", str(tmp_path / "file" / "x.md")], "deal")
    assert code == 1
    assert "choose another --output" in capsys.readouterr().err


def test_results_without_an_image_that_is_ok_are_refused(tmp_path: Path) -> None:
    output = stored(tmp_path, status=["error"] * len(IDS))
    with pytest.raises(ResultsError, match="no image of these results is ok"):
        report_pool(output)
