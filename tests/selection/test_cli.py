"""``deal select`` and the ranking options that ``deal-score`` shares with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deal import cli
from deal.acquisitions import registry
from deal.cli.score import command as score_command
from deal.cli.select import command as select_command
from deal.results.output import Output

N = 6


@pytest.fixture(autouse=True)
def own_registry() -> Iterator[None]:
    """Forget afterwards what a plugin registers."""
    before = registry.registered()
    yield
    registry._REGISTRY.clear()
    registry._REGISTRY.update(before)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    with Output.open(tmp_path / "out", settings={"m": 1}, classes=["road", "pole"]) as output:
        numbers = np.arange(N)
        text = {"uri": "/p", "source_version": "v", "status": "ok", "sequence": "s"}
        output.write(
            {
                "id": [f"{number}.png" for number in numbers],
                **{name: [value] * N for name, value in text.items()},
                "camera": ["left", "right"] * 3,
                "entropy_mean": numbers / 10,
                "n_pixels": numbers + 1,
                "boundary_corners": 5 - numbers,
                "class_pixels": np.stack([numbers, numbers[::-1]], axis=1),
                "class_entropy_sum": np.stack([numbers / 7, numbers[::-1] / 9], axis=1),
            },
            None,
        )
    return tmp_path / "out"


def picks(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[list[int], str]:
    """Numbers of the selected images, and what stderr says."""
    code = cli.run(cli.deal, ["select", *map(str, arguments), "--json"], "deal")
    captured = capsys.readouterr()
    if code:
        return [code], captured.err
    rows = json.loads(captured.out)["selection"]
    return [int(row["id"].removesuffix(".png")) for row in rows], captured.err


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--budget", 2], [5, 4]),
        (["--budget", "pixels:9", "--by", "score"], [5, 2]),
        (["--budget", 1, "--cost", "pixels", "--by", "score-per-cost"], [5]),
        (["--budget", "clicks:5"], [5, 4]),
        (["--budget", "clicks:10", "--click-corner", 0, "--click-fixed", 4], [5, 4]),
        (["--budget", 3, "--quota", "camera:right=1", "--quota", "camera:left=50%"], [5, 4]),
        (["--min-gap", "2f", "--gap-per", "sequence"], [5, 3, 1]),
        (["--min-gap", "3f"], [5, 4, 1, 0]),
        (["--acquisition", "focus:entropy", "--focus", "pole", "--budget", 1], [0]),
    ],
)
def test_options_reach_the_selection(
    out: Path, capsys: pytest.CaptureFixture[str], options: list[Any], expected: list[int]
) -> None:
    assert picks(capsys, out, "--acquisition", "entropy", *options)[0] == expected


def test_lists_may_be_given_several_times(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (5, 3):
        (tmp_path / f"{number}.csv").write_text(f"id\n{number}.png\n")
    (tmp_path / "in.txt").write_text("0.png\n")
    lists = ["--exclude", tmp_path / "5.csv", "--exclude", tmp_path / "3.csv"]
    lists += ["--include", tmp_path / "in.txt", "--budget", 3]
    assert picks(capsys, out, "--acquisition", "entropy", *lists)[0] == [0, 4, 2]


def test_functions_of_a_plugin_take_options(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(
        "import deal\n\n"
        "@deal.acquisition('far', requires=['entropy_mean'])\n"
        "def far(columns, *, center=0.0):\n"
        "    return abs(columns['entropy_mean'] - center)\n"
    )
    options = ["--plugin", tmp_path / "mine.py", "--acquisition", "far", "--budget", 1]
    assert picks(capsys, out, *options)[0] == [5]
    assert picks(capsys, out, *options, "--acquisition-option", "center=0.5")[0] == [0]
    code, error = picks(capsys, out, *options, "--acquisition-option", "center")
    assert code == [2]
    assert "write it as KEY=VALUE" in error
    code, error = picks(capsys, out, *options, "--acquisition-option", "levels=8")
    assert code == [2]
    assert "give --levels" in error


def test_the_printed_table_has_what_was_asked_for(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["select", str(out), "--acquisition", "entropy", "--budget", "clicks:3"]
    assert cli.run(cli.deal, arguments, "deal") == 0
    printed = capsys.readouterr().out
    assert "2 of 6 selected by entropy; the first 2:" in printed
    assert "clicks" in printed
    assert "road 100 %" in printed


def test_score_and_select_share_the_options_of_a_ranking() -> None:
    groups = ("Ranking", "Budget", "Rules", "Diversity")

    def shared(command: Any) -> list[str]:
        return [p.name for p in command.params if getattr(p, "group", None) in groups]

    assert shared(score_command) == shared(select_command)
    assert len(shared(select_command)) > 20


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000])
def test_json_that_is_nested_too_deeply_is_a_usage_error(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    command = [
        "score",
        str(tmp_path),
        "--model",
        "m",
        "-o",
        "o",
        "--model-option",
        f"classes={text}",
    ]
    assert cli.run(cli.deal, command, "deal") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --model-option classes: ")
    assert "nested" in error
    assert len(error) < 300


def test_rows_are_drawn_and_the_table_says_so(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = (out, "--acquisition", "entropy", "--stochastic", "power")
    drawn, _ = picks(capsys, *options, "--seed", "3")
    assert sorted(drawn) == list(range(N))
    assert drawn[-1] == 0  # its entropy is
    assert drawn != picks(capsys, *options, "--seed", "4")[0]
    assert cli.run(cli.deal, ["select", *map(str, options), "--seed", "3"], "deal") == 0
    assert capsys.readouterr().out.startswith(
        "6 of 6 selected by entropy, drawn by power:1; the first 6:"
    )
