"""The figures of the front page: where they are kept, what moved, and how they are shown."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from deal.bench import headline, place
from deal.bench.report import Report, Row
from deal.bench.table import read_reports
from deal.bench.timing import Spread
from deal.cli import bench_machine
from deal.errors import UsageError

EPYC = {"processor": "AMD EPYC", "cores": 2, "date": "2026-12-01T01:02:03+00:00", "commit": "abc"}


@pytest.mark.parametrize(
    ("processor", "name"),
    [
        ("AMD EPYC", "amd-epyc-2-cores"),
        ("Intel(R) Xeon(R) Processor @ 2.50GHz", "intel-xeon-2.50ghz-2-cores"),
        ("Intel(R) Core(TM) i7-8700 CPU @ 3.20GHz", "intel-i7-8700-3.20ghz-2-cores"),
        ("aarch64", "aarch64-2-cores"),
    ],
)
def test_a_machine_has_a_folder(processor, name):
    assert place.slug({"processor": processor, "cores": 2}) == name
    assert place.result_path({"processor": processor, "cores": 2}, "q").parent.name == name


@pytest.mark.parametrize("isa", ["avx2", "avx512"])
def test_processors_of_one_name_have_folders_of_their_own(isa):
    environment = {**EPYC, "kernel": f"isa={isa} compiled=portable,avx2,avx512 cuda=no"}
    assert place.slug(environment) == f"amd-epyc-{isa}-2-cores"
    assert place.machine(environment) == f"AMD EPYC, {isa}, 2 cores"


def test_a_result_has_the_name_of_a_file():
    with pytest.raises(UsageError, match="no name of a result"):
        place.result_path(EPYC, "../q")


def row(name, low, median, high, unit="ratio"):
    return Row(name, Spread(median, low, high, 5), unit)


def report(*rows, question="headline", settings=None, **environment):
    return Report(question, settings or {}, rows, environment={**EPYC, **environment})


def test_only_what_is_apart_and_beyond_noise_moved():
    old = report(
        *(row(name, 9, 10, 11) for name in ("same", "near", "wide", "faster", "slower")),
        row("time", 0.9, 1, 1.1, "s"),
    )
    new = report(
        row("same", 9, 10, 11),
        row("near", 10.2, 10.3, 11),
        row("wide", 10, 14, 18),
        row("faster", 12, 13, 14),
        row("slower", 6, 7, 8),
        row("time", 1.9, 2, 2.1, "s"),
        row("new", 1, 1, 1),
    )
    lines = headline.compared(new, old.to_dict())
    verdicts = [line.rpartition(", ")[2].rpartition(": ")[2] for line in lines]
    expected = ["as before", "as before", "as before", "better", "WORSE", "WORSE", "nothing stored"]
    assert verdicts == expected
    assert lines[3] == "faster: 10 (9 – 11) → 13 (12 – 14), 1.300 of it: better"


def made_up_pipeline(**environment):
    rows = row("deal-score / released loop", 24, 25.6, 27), row("deal-score", 42, 42.5, 43, "x/s")
    settings = {"network": "light", "quantised": True, "model": None}
    return report(*rows, question="pipeline", settings=settings, **environment)


@pytest.fixture
def one_figure(monkeypatch):
    figure = headline.FIGURES[0]
    monkeypatch.setattr(headline, "FIGURES", (figure,))
    monkeypatch.setattr(headline, "_pipeline", lambda **_: made_up_pipeline())
    return figure


def test_the_headline_is_that_of_the_machine_measured_last(one_figure):
    older = made_up_pipeline(processor="Old", date=None, commit=None)
    table = headline.headline_table([older.to_dict()])
    line = f"| {one_figure.title} | **25.6 ×**, 42.5 x/s |"
    assert table == f"| Old, 2 cores | |\n|---|---|\n{line}"
    measured = headline.run(say=lambda _: None)
    both = [older.to_dict(), {**measured.to_dict(), "environment": EPYC}]
    expected = f"| AMD EPYC, 2 cores, 2026-12-01, `abc` | |\n|---|---|\n{line}"
    assert headline.headline_table(both) == expected


def test_the_command_stores_and_compares(one_figure, tmp_path, monkeypatch):
    file = tmp_path / "amd" / "headline.json"
    monkeypatch.setattr(place, "result_path", lambda environment, name: file)
    first = CliRunner().invoke(bench_machine.headline, ["--result", "headline"])
    assert "nothing is stored" in first.output
    second = CliRunner().invoke(bench_machine.headline, [])
    assert second.output.count("as before") == 2
    assert json.loads(file.read_text())["command"] == "deal bench headline"


def test_a_result_in_the_folder_of_another_machine_is_refused(tmp_path):
    folder = tmp_path / "intel-2-cores"
    folder.mkdir()
    made_up_pipeline().write(folder / "pipeline.json")
    with pytest.raises(ValueError, match=r"measured elsewhere: move it to .*amd-epyc-2-cores"):
        read_reports(tmp_path)


def test_lines_fit_on_the_front_page():
    figures = "**25.6 ×**, 0.912 images/s"
    assert all(len(f"| {figure.title} | {figures} |") <= 120 for figure in headline.FIGURES)
