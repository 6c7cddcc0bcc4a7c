"""The report of `deal loop` as a page, as JSON, and as the command prints and writes it."""

from __future__ import annotations

import json
import re
import xml.dom.minidom

import pytest
from click.testing import CliRunner

from deal.cli import deal
from deal.report.loop import report_loop
from deal.report.loop_page import bands, learning_curves, page
from tests.helpers.looks import check_report


def test_the_working_folder_has_a_name_too(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (report,) = report_loop(["."])
    assert report.to_markdown().startswith("# trial: ds, random\n")
    assert "<title>trial</title>" in page([report])


def test_the_table_of_an_experiment_is_made_anew_of_its_files(folder):
    (folder / "results.csv").write_text("stale")
    report_loop([folder])
    lines = (folder / "results.csv").read_text().splitlines()
    assert lines[0].startswith("method,seed,round,labeled,miou,accuracy,auroc:difficulty")
    assert len(lines) == 1 + 2 * 3 * 3
    assert lines[1].startswith("ds,0,1,2,0.3,0.5,0.5,0.5,0.5,0.5,0.6,")
    assert lines[1].endswith(",")  # a class that occurs nowhere


def test_a_table_that_is_up_to_date_is_left_alone(folder):
    report_loop([folder])
    before = (folder / "results.csv").stat()
    report_loop([folder])
    after = (folder / "results.csv").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_what_is_asked_for_twice_is_shown_once(folder):
    asked = {"baselines": ["ds"], "classes": ["pole"]}
    twice = {name: values * 2 for name, values in asked.items()}
    assert report_loop([folder], **twice)[0].to_markdown() == (
        report_loop([folder], **asked)[0].to_markdown()
    )


def test_the_page_has_curves_that_differ_without_colour(folder):
    report = report_loop([folder])[0]
    drawing = xml.dom.minidom.parseString(learning_curves(report))
    lines = drawing.getElementsByTagName("polyline")
    assert len({line.getAttribute("stroke-dasharray") for line in lines}) == len(lines) == 2
    panels = xml.dom.minidom.parseString(bands(report))
    assert len(panels.getElementsByTagName("polygon")) == 2
    text = page([report])
    assert text.count("<svg") == 3
    assert "<h2>Difference to random</h2>" in text
    assert "<td>+3.0 ± 2.5</td>" in text
    assert "default-src 'none'" in text
    assert "src=" not in text


@pytest.mark.slow
def test_the_page_in_a_browser(folder, tmp_path):
    (tmp_path / "loop.html").write_text(page([report_loop([folder])[0]]), encoding="utf-8")
    check_report(tmp_path / "loop.html")


def test_the_overlap_of_picks_is_a_heat_map(folder):
    text = page([report_loop([folder])[0]])
    (section_,) = re.findall(r"<h2>Overlap of picks</h2>.*?(?=<h2>)", text, re.DOTALL)
    assert '<td class="heat" style="--v:0.50">50 %</td>' in section_


def test_json_has_the_numbers_of_the_tables(folder, tmp_path):
    path = tmp_path / "report.json"
    result = CliRunner().invoke(deal, ["report", "loop", str(folder), "--json", "-o", str(path)])
    assert result.exit_code == 0, result.output
    assert path.read_text() == result.output
    (experiment,) = json.loads(result.output)["experiments"]
    assert experiment["labeled"] == [2, 3, 4]
    random = experiment["methods"]["random"]
    assert random["curves"]["1"] == [0.2, 0.3, 0.4]
    first = random["rounds"][0]
    assert (first["low"], first["seeds"]) == (0.0, 3)  # 20.0 ± 24.8 is cut at nothing
    assert first["high"] == pytest.approx(0.448, abs=1e-3)
    difference = experiment["differences"]["random"]["ds"]
    assert difference["verdict"] == "open"
    assert difference["rounds"][0]["low"] == pytest.approx(0.03 - 0.0248, abs=1e-4)
    assert experiment["wins"]["ds"]["random"] == 0.75


def test_the_command_prints_and_writes(folder, tmp_path):
    result = CliRunner().invoke(deal, ["report", "loop", str(folder)])
    assert result.exit_code == 0
    assert result.output.startswith("# trial: ds, random\n")
    for name, start in (("report.html", "<!DOCTYPE html>"), ("report.md", "# trial")):
        path = tmp_path / name
        result = CliRunner().invoke(deal, ["report", "loop", str(folder), "-o", str(path)])
        assert result.exit_code == 0
        assert path.read_text().startswith(start)
