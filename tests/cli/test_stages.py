"""Progress of stages where stderr is no terminal."""

from deal.cli import display, stages
from deal.cli.stages import Stages, described


def test_a_stage_says_how_long_it_still_takes():
    assert described("calibrating", 16, 64, 20) == "calibrating: 16 of 64, 1:00 left"
    assert described("calibrating", 0, 64, 20) == "calibrating: 0 of 64"
    assert described("reading the model", 0, None, 20) == "reading the model"


def test_lines_come_at_growing_intervals(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(stages.time, "monotonic", lambda: now[0])
    with Stages(enabled=True) as progress:
        for second in range(1, 101):
            now[0] = second
            progress("calibrating", second, 100)
    lines = capsys.readouterr().err.splitlines()
    first = display.FIRST_LINE
    seconds = [first, first * 3, first * 7]
    assert [line.split(" of ")[0] for line in lines] == [f"calibrating: {s:.0f}" for s in seconds]


def test_quiet_shows_nothing(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(stages.time, "monotonic", lambda: now[0])
    with Stages(enabled=False) as progress:
        now[0] = 1000
        progress("calibrating", 1, 2)
    assert capsys.readouterr().err == ""
