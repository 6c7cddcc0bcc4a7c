"""The report of `deal loop` over hand-made files: no training."""

from __future__ import annotations

import json
import xml.dom.minidom

import pytest
from click.testing import CliRunner

from deal.cli import deal
from deal.errors import ResultsError, UsageError
from deal.loop.files import write_csv, write_json
from deal.loop.table import read_experiment
from deal.report.loop import report_loop
from deal.report.loop_page import learning_curves, page

IDS = [f"{'ab'[index % 2]}_{index}.jpg" for index in range(6)]
VALUES = {
    "random": {0: [0.30, 0.40, 0.50], 1: [0.20, 0.30, 0.40], 2: [0.10, 0.20, 0.30]},
    "ds": {0: [0.30, 0.42, 0.50], 1: [0.20, 0.33, 0.38], 2: [0.10, 0.24, 0.36]},
}
# Beyond the first two images, random picks from both drives and ds from one.
ORDER = {"random": [0, 1, 2, 3], "ds": [0, 1, 2, 4]}


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "trial"
    shared = {
        "data": {"dataset": "folder", "size": [48, 64], "evaluate": "val"},
        "training": {
            "network": "light",
            "width": 1.0,
            "weights": None,
            "epochs": 15,
            "steps": None,
            "batch_size": 2,
            "lr": 0.05,
            "precision": "bf16",
        },
        "rounds": {"pool_subset": None},
        "images": 6,
        "counts": [2, 3, 4],
        "classes": ["road", "pole"],
        "drives": {name: name[0] for name in IDS},
    }
    write_json(root / "experiment.json", shared)
    for method, of in VALUES.items():
        for seed, curve in of.items():
            run = root / f"{method}-seed{seed}"
            values = {"method": method, "seed": seed, "counts": [2, 3, 4], "settings": {}}
            write_json(run / "run.json", values)
            for number, miou in enumerate(curve, 1):
                each = run / f"round-{number}"
                labeled = [[IDS[i]] for i in ORDER[method][: number + 1]]
                write_csv(each / "labeled.csv", ["id"], labeled)
                scores = ("difficulty", "entropy", "margin", "least-confidence")
                metrics = {
                    "miou": miou,
                    "accuracy": 0.5,
                    "iou": {"road": 2 * miou, "pole": None if number == 1 else 0.01},
                    "auroc": dict.fromkeys(scores, 0.5),
                }
                write_json(each / "metrics.json", metrics)
    return root


def section(text, heading):
    return text.split(f"## {heading}\n")[1].split("\n## ")[0]


def rows(text, heading):
    lines = [line for line in section(text, heading).splitlines() if line.startswith("| ")]
    cells = [line[2:-2].split(" | ") for line in lines]
    return {row[0]: row[1:] for row in cells[2:]}


def test_tables_hold_the_numbers_by_hand(folder):
    text = report_loop([folder], full=0.5)[0].to_markdown()
    # mean 0.3, 4.303 · 0.1 / √3; average of rounds 2 and 3 0.35; areas (m1 + 2 m2 + m3) / 4.
    assert rows(text, "mIoU by round")["random"] == [
        "20.0 ± 24.8",
        "30.0 ± 24.8",
        "40.0 ± 24.8",
        "35.0 ± 24.8",
        "30.0 ± 24.8",
    ]
    assert rows(text, "Difference to random")["ds"] == [
        "+3.0 ± 2.5",
        "+1.3 ± 10.3",
        "+2.2 ± 6.1",
        "3",
        "open",
    ]
    assert rows(text, "Wins")["ds"] == ["", "75 % (50 %)"]
    assert rows(text, "Labels needed")["ds"] == ["not reached", "not reached"]
    assert rows(text, "IoU by class with 4 labels")["random"] == ["1.0 ± 0.0", "80.0 ± 49.7"]
    assert rows(text, "Overlap of picks")["random"] == ["50 %", ""]
    assert rows(text, "Drives among the picks")["ds"] == ["1.0", "100 %", "0 %"]
    assert rows(text, "Drives among the picks")["random"] == ["2.0", "50 %", "50 %"]
    assert "nan" not in text


def test_the_table_of_an_experiment_is_made_anew_of_its_files(folder):
    (folder / "results.csv").write_text("stale")
    report_loop([folder])
    lines = (folder / "results.csv").read_text().splitlines()
    assert lines[0].startswith("method,seed,round,labeled,miou,accuracy,auroc:difficulty")
    assert len(lines) == 1 + 2 * 3 * 3
    assert lines[1].startswith("ds,0,1,2,0.3,0.5,0.5,0.5,0.5,0.5,0.6,")
    assert lines[1].endswith(",")  # a class that occurs nowhere


def test_runs_that_are_not_finished_are_named_and_counted_as_far_as_they_are(folder):
    (folder / "ds-seed2" / "round-3" / "metrics.json").unlink()
    assert len(read_experiment(folder).runs[2].rounds) == 2
    text = report_loop([folder])[0].to_markdown()
    assert "Not finished, counted as far as they are: ds-seed2." in text
    assert "Finished runs: ds 2, random 3." in text


def test_the_page_has_curves_that_differ_without_colour(folder):
    report = report_loop([folder])[0]
    drawing = xml.dom.minidom.parseString(learning_curves(report))
    lines = drawing.getElementsByTagName("polyline")
    assert len({line.getAttribute("stroke-dasharray") for line in lines}) == len(lines) == 2
    assert len(drawing.getElementsByTagName("polygon")) == 2
    text = page([report])
    assert text.count("<svg") == 1
    assert "<h2>Difference to random</h2>" in text
    assert "<td>+3.0 ± 2.5</td>" in text
    assert "http-equiv" not in text
    assert "src=" not in text


def test_one_run_has_no_intervals_and_no_band(folder):
    for path in folder.glob("*/run.json"):
        if not path.parent.name.endswith("seed0"):
            path.unlink()
    report = report_loop([folder])[0]
    text = report.to_markdown()
    assert rows(text, "mIoU by round")["ds"][:3] == ["30.0", "42.0", "50.0"]
    assert rows(text, "Difference to random")["ds"] == ["+2.0", "+0.0", "+1.0", "1", "-"]
    assert "nan" not in text
    assert "<polygon" not in learning_curves(report)


def test_the_command_prints_and_writes(folder, tmp_path):
    result = CliRunner().invoke(deal, ["report", "loop", str(folder)])
    assert result.exit_code == 0
    assert result.output.startswith("# trial: ds, random\n")
    for name, start in (("report.html", "<!DOCTYPE html>"), ("report.md", "# trial")):
        path = tmp_path / name
        result = CliRunner().invoke(deal, ["report", "loop", str(folder), "-o", str(path)])
        assert result.exit_code == 0
        assert path.read_text().startswith(start)


def test_what_is_not_there_is_an_error(folder, tmp_path):
    with pytest.raises(ResultsError, match="give a folder of `deal loop`"):
        report_loop([tmp_path])
    with pytest.raises(UsageError, match="has no 'sky': there are road, pole"):
        report_loop([folder], classes=["sky"])
    with pytest.raises(UsageError, match=r"a fraction such as 0.55, not 55"):
        report_loop([folder], full=55)
    (folder / "ds-seed0" / "run.json").write_text(json.dumps({})[:1])
    with pytest.raises(ResultsError, match="damaged"):
        report_loop([folder])
