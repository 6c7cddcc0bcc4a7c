"""The command ``deal``: help, start-up, errors, progress, and what it prints of odd names."""

from __future__ import annotations

import errno
import importlib.metadata
import io
import json
import logging
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from deal import cli
from deal.cli import run
from deal.cli.display import Display, describe
from deal.cli.grouped import GroupedCommand
from deal.cli.score import command as score_command
from deal.engines import ENGINES
from deal.run.progress import Progress
from deal.text import printable
from tests.helpers.runs import Deal, write_pool


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    return write_pool(tmp_path / "pool", 6, name="{}.png")


def imported_by(code: str) -> set[str]:
    """Modules that a fresh interpreter has imported after ``code``."""
    probe = f"import sys\n{code}\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize("command", ["", "score", "select", "doctor", "train"])
def test_help_imports_nothing_heavy(command: str) -> None:
    arguments = [*command.split(), "-h"]
    modules = imported_by(
        f"from deal.cli import deal, run\nassert run(deal, {arguments}, 'deal') == 0"
    )
    assert "deal.cli" in modules
    assert modules.isdisjoint({"numpy", "torch", "onnxruntime", "pyarrow", "PIL", "rich", "onnx"})


def test_a_run_begins_without_what_only_other_runs_need() -> None:
    modules = imported_by("import deal.run.pipeline")
    readers = {f"deal.pool.{name}" for name in ("mcap", "parquet", "tar", "video")}
    later = {"deal.selection.selector", "deal.run.screened", "deal.run.storing"}
    assert modules.isdisjoint(readers | later)


def test_every_command_listed_has_help(deal: Deal) -> None:
    code, out, _ = deal("--help")
    assert code == 0
    names = re.findall(r"^  (\S+)  ", out.partition("Commands:")[2], re.MULTILINE)
    assert {"train", "score", "select", "doctor"} <= set(names)
    for name in names:
        code, out, _ = deal(name, "--help")
        assert (code, out.startswith(f"Usage: deal {name}")) == (0, True)


def test_commands_that_are_not_installed_are_not_shown(
    deal: Deal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "_COMMANDS", ("score", "no-such-module"))
    assert "no-such-module" not in deal("--help")[1]
    code, _, err = deal("no-such-module")
    assert code == 2
    assert "No such command 'no-such-module'" in err


def test_version_names_python_the_platform_and_the_engines(
    deal: Deal, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deal import __version__

    there = {"onnxruntime": "1.2", "tensorrt": "10.3"}

    def version(name: str) -> str:
        if name not in there:
            raise importlib.metadata.PackageNotFoundError(name)
        return there[name]

    monkeypatch.setattr("importlib.metadata.version", version)
    code, out, _ = deal("--version")
    first, second, third = out.splitlines()
    assert (code, first) == (0, f"deal, version {__version__}")
    assert second == f"Python {platform.python_version()}, {platform.platform()}"
    assert third.startswith("engines installed: ort (onnxruntime 1.2), trt (tensorrt 10.3);")
    there.clear()
    assert "engines installed: none;" in deal("--version")[1]


def test_deal_score_is_deal_score(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["deal-score", "--help"])
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, getattr(sys, name))  # main replaces them
    with pytest.raises(SystemExit) as end:
        cli.score_main()
    assert end.value.code == 0
    assert capfd.readouterr().out.startswith("Usage: deal-score [OPTIONS] [POOL]...")
    assert run(score_command, ["--version"], "deal-score") == 0
    assert capfd.readouterr().out.startswith("deal-score, version ")


def test_all_options_stand_under_headings(deal: Deal) -> None:
    text = deal("score", "--help-all")[1]
    headings = re.findall(r"^([A-Z]\w+):$", text, re.MULTILINE)
    ranking = ["Ranking", "Budget", "Rules", "Diversity"]
    what = ["Pool", "Model", "Engine", "Statistics", *ranking, "Output", "Examples"]
    assert headings == what
    for parameter in score_command.params:
        assert isinstance(parameter, click.Argument) or parameter.opts[0] in text


def test_the_help_shows_the_options_of_a_first_day_and_examples(deal: Deal) -> None:
    text = deal("score", "--help")[1]
    options = re.findall(r"^  (?:-\w, )?(--[\w-]+)", text, re.MULTILINE)
    assert {"--demo", "--model", "--output", "--budget", "--acquisition"} <= set(options)
    assert options[-3:] == ["--version", "--help-all", "--help"]
    assert len(options) <= 16
    examples = text.partition("Examples:\n")[2].splitlines()
    assert "  deal-score --demo" in examples
    assert 2 <= len(examples) <= 4


@pytest.mark.parametrize("name", ["score", "select", "train", "export", "fit-head", "loop"])
def test_the_examples_of_a_command_are_understood(
    deal: Deal, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DEAL_MODEL", raising=False)
    examples = deal(name, "--help")[1].partition("Examples:\n")[2].splitlines()
    assert examples
    for example in examples:
        words = shlex.split(example.partition(" > ")[0])
        group, words = (score_command, words[1:]) if words[0] == "deal-score" else (None, words[1:])
        if group is None:
            group = cli.deal.get_command(click.Context(cli.deal), words[0])
            words = words[1:]
        while isinstance(group, click.Group):
            group = group.commands[words[0]]
            words = words[1:]
        assert group is not None
        group.make_context("deal", words)  # UsageError for a word that is no option


@pytest.mark.parametrize(("name", "option"), [("score", "--help-all"), ("fit-head", "--help")])
def test_the_help_names_every_engine(deal: Deal, name: str, option: str) -> None:
    engines = "|".join((*ENGINES, "auto") if name == "score" else ENGINES)
    assert f"--engine {engines} " in " ".join(deal(name, option)[1].split())


def test_debug_shows_the_traceback(
    deal: Deal, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deal.errors import ModelError

    arguments = ("score", pool, "--model", tmp_path / "none.onnx", "--output", tmp_path / "out")
    assert deal(*arguments)[0] == 1
    with pytest.raises(ModelError):
        deal(*arguments, "--debug")
    monkeypatch.setenv("DEAL_DEBUG", "1")
    with pytest.raises(ModelError):
        deal(*arguments)


def test_select_ranks_stored_results_anew(
    deal: Deal, pool: Path, model: Path, tmp_path: Path
) -> None:
    out, anew = tmp_path / "out", tmp_path / "anew"
    deal("score", pool, "--model", model, "--output", out)
    before = (out / "selection.csv").read_bytes()
    code, stdout, _ = deal(
        "select", out, "--acquisition", "entropy", "--budget", "50%", "--output", anew
    )
    assert code == 0
    assert "3 of 6 selected by entropy" in stdout
    assert len((anew / "selection.csv").read_text().splitlines()) == 4
    assert (out / "selection.csv").read_bytes() == before
    code, stdout, _ = deal("select", out, "--json", "--budget", 2)
    assert [row["rank"] for row in json.loads(stdout)["selection"]] == [1, 2]


def test_select_leaves_no_pictures_and_decisions_of_another_selection(
    deal: Deal, pool: Path, model: Path, tmp_path: Path
) -> None:
    out, anew = tmp_path / "out", tmp_path / "anew"
    deal("score", pool, "--model", model, "--output", out)
    anew.mkdir()
    for name in ("previews.jpg", "decisions.csv", "mine.txt"):
        (anew / name).touch()
    assert deal("select", out, "--budget", 2, "--output", anew)[0] == 0
    assert {path.name for path in anew.iterdir()} == {"selection.csv", "selection.json", "mine.txt"}


def test_select_says_that_the_budget_is_larger_than_the_pool(
    deal: Deal, pool: Path, model: Path, tmp_path: Path
) -> None:
    deal("score", pool, "--model", model, "--output", tmp_path / "out")
    code, _, stderr = deal("select", tmp_path / "out", "--budget", 100)
    assert (code, stderr) == (
        0,
        "note: the budget of 100 is larger than the pool: all 6 images are selected\n",
    )


def test_select_does_not_take_an_empty_name_for_the_current_folder(
    deal: Deal, pool: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    assert deal("score", pool, "--model", model, "-o", out)[0] == 0
    monkeypatch.chdir(tmp_path)
    assert deal("select", out, "-o", "")[0] == 2
    assert not (tmp_path / "selection.csv").exists()


@pytest.mark.slow
def test_closed_and_narrow_streams_break_nothing(
    deal: Deal, pool: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (pool / "0.png").rename(pool / "ü.png")
    assert deal("score", pool, "--model", model, "-o", out)[0] == 0
    select = [sys.executable, "-c", "from deal.cli import main; main()", "select", str(out)]
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    table = subprocess.run(select, env=env, capture_output=True, text=True, check=True)
    assert r"\xfc.png" in table.stdout
    without_stderr = ["sh", "-c", '"$@" 2>&-', "sh", *select, "--budget", "100", "--json"]
    done = subprocess.run(without_stderr, env=env, stdout=subprocess.PIPE, check=True)
    assert "ü.png" in {row["id"] for row in json.loads(done.stdout)["selection"]}


def test_select_of_a_folder_without_results_is_an_error(deal: Deal, tmp_path: Path) -> None:
    code, _, stderr = deal("select", tmp_path)
    assert (code, len(stderr.splitlines())) == (1, 1)
    assert "holds no results" in stderr


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü.jpg", "plain ü.jpg"),
        ("a\nb", "a\\nb"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\udcff", "\\udcff"),
    ],
)
def test_unprintable_characters_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (Progress(10, 0, 0, 0, 0.0), "0/10 images, 0.0 images/s"),
        (Progress(100, 20, 40, 1, 10.0), "60/100 images, 4.0 images/s, 0:10 left, 1 error"),
        (Progress(8000, 0, 10, 2, 10.0), "10/8000 images, 1.0 images/s, 2:13:10 left, 2 errors"),
        (Progress(10, 0, 10, 0, 5.0), "10/10 images, 2.0 images/s"),
    ],
)
def test_progress_in_words(progress: Progress, text: str) -> None:
    assert describe(progress) == text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with Display(enabled=True) as display:
        display(Progress(10, 0, 4, 1, 2.0))
    assert "4/10 images, 2.0 images/s, 0:03 left, 1 error" in terminal.getvalue()
    assert "━" in terminal.getvalue()


def test_a_file_gets_lines_at_growing_intervals(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr("deal.cli.display.time.monotonic", lambda: now)
    with Display(enabled=True) as display:
        for second in range(3000):
            now = float(second)
            display(Progress(5000, 0, second, 0, now))
    lines = capsys.readouterr().err.splitlines()
    # 10, 20, 40, … seconds apart, at most 600; and the end.
    shown = [10, 30, 70, 150, 310, 630, 1230, 1830, 2430, 2999]
    assert [int(line.partition("/")[0]) for line in lines] == shown


def test_what_was_counted_before_keeps_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Display(enabled=True) as display:
        display(Progress(2, 0, 2, 0, 1.0))
        display(Progress(1, 0, 1, 0, 1.0, what="previews drawn"))
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["2/2 images, 2.0 images/s", "1/1 previews drawn, 1.0 images/s"]


def fail_with(error: BaseException) -> Any:
    @click.command()
    def command() -> None:
        raise error

    return command


def test_output_that_cannot_be_printed_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DEAL_DEBUG", raising=False)
    full = OSError(errno.ENOSPC, "No space left on device")
    assert run(fail_with(full), [], "deal") == 1
    assert re.fullmatch(r"error: .*No space left on device.*\n", capsys.readouterr().err)


def test_without_a_command_the_help_is_shown(deal: Deal) -> None:
    code, out, err = deal()
    assert (code, out) == (2, "")
    assert {"Commands:", "Options:"} <= set(err.splitlines())


def test_an_interrupt_exits_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(fail_with(KeyboardInterrupt()), [], "deal") == 130
    assert capsys.readouterr().err.strip() == "interrupted"


def test_an_error_that_nobody_foresaw_is_one_line_to_report(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DEAL_DEBUG", raising=False)
    assert run(fail_with(KeyError("a\nb")), [], "deal") == 1
    printed = capsys.readouterr().err
    assert re.fullmatch(
        r"error: internal error, please report it with this line: KeyError at "
        r"deal/cli/__init__\.py:\d+: 'a\\+nb' \[deal, version .*\] "
        r"\(DEAL_DEBUG=1 shows the traceback\)\n",
        printed,
    )
    monkeypatch.setenv("DEAL_DEBUG", "1")
    with pytest.raises(KeyError):
        run(fail_with(KeyError("a")), [], "deal")


def test_memory_that_runs_out_is_one_line_with_a_remedy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DEAL_DEBUG", raising=False)
    assert run(fail_with(MemoryError()), [], "deal") == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: not enough memory: lower --sessions")
    assert printed.count("\n") == 1


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    logger = logging.getLogger("deal")
    before = logger.level, logger.propagate, list(logger.handlers)
    yield logger
    logger.setLevel(before[0])
    logger.propagate, logger.handlers = before[1:]


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ([], []),
        (["-v"], ["INFO"]),
        (["--log-level", "debug"], ["DEBUG", "INFO"]),
        (["--log-level", "error"], []),
    ],
)
def test_a_log_is_written_on_demand_each_record_as_one_line(
    log: logging.Logger, capsys: pytest.CaptureFixture[str], arguments: list[str], shown: list[str]
) -> None:
    @click.command(cls=GroupedCommand)
    def command() -> None:
        log.getChild("test").debug("a\nb")
        log.getChild("test").info("a\nb")

    assert run(command, arguments, "deal") == 0
    printed = capsys.readouterr().err
    assert re.findall(r" (DEBUG|INFO) deal\.test: a\\nb$", printed, re.MULTILINE) == shown
