"""``deal`` as a process: its streams, ``python -m deal``, and completion by the shell."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCORE = "import sys; from deal.cli import score_main; sys.exit(score_main())"
DEAL = "import sys; from deal.cli import main; sys.exit(main())"


def started(*arguments: str, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments], stderr=subprocess.PIPE, text=True, **options
    )


def test_python_m_deal_is_deal() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deal", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("deal, version ")


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["-c", SCORE, "--help-all"], ["-m", "deal", "doctor"]])
def test_a_reader_that_goes_is_no_error(arguments: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    process = started(*arguments, stdout=write)
    os.close(write)
    error = process.communicate()[1]
    assert (process.returncode, error) == (0, "")


def test_the_exit_code_of_a_failed_command_outlives_its_reader(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "deal", "select", str(tmp_path)]
    assert subprocess.run(command, stdout=write, stderr=write, check=False).returncode == 1
    os.close(write)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_finds_no_room_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        process = started("-m", "deal", "--help", stdout=full)
        error = process.communicate()[1]
    assert (process.returncode, error.count("\n")) == (1, 1)
    assert error.startswith("error: cannot write the output: No space left on device")


@pytest.mark.parametrize(
    ("code", "variable", "words", "offered"),
    [
        (DEAL, "_DEAL_COMPLETE", "deal sel", "plain,select"),
        (DEAL, "_DEAL_COMPLETE", "deal select --acq", "plain,--acquisition"),
        (DEAL, "_DEAL_COMPLETE", "deal score --engine t", "plain,torch"),
        (SCORE, "_DEAL_SCORE_COMPLETE", "deal-score --acquisition entr", "plain,entropy"),
        (SCORE, "_DEAL_SCORE_COMPLETE", "deal-score --mod", "plain,--model"),
    ],
)
def test_a_shell_completes_commands_options_and_values(
    code: str, variable: str, words: str, offered: str
) -> None:
    name = words.partition(" ")[0]
    program = code.replace("import sys;", f"import sys; sys.argv[0] = {name!r};")
    env = {**os.environ, variable: "bash_complete", "COMP_WORDS": words}
    env["COMP_CWORD"] = str(len(words.split()) - 1)
    done = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False
    )
    assert offered in done.stdout.splitlines()


def test_ctrl_c_behind_another_error_is_an_interruption(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from deal import cli
    from deal.errors import EngineUnavailableError

    def importing(*arguments: object, **options: object) -> None:
        """As pybind11 puts it: an extension that is interrupted cannot be initialized."""
        try:
            try:
                raise KeyboardInterrupt
            except KeyboardInterrupt as error:
                raise ImportError("initialization failed") from error
        except ImportError as error:
            raise EngineUnavailableError("engine ort needs ONNX Runtime") from error

    def importing_late(*arguments: object, **options: object) -> None:
        """The same where nobody expects an import to fail."""
        try:
            importing()
        except EngineUnavailableError as error:
            raise error.__cause__ from error.__cause__.__cause__

    def closing(*arguments: object, **options: object) -> None:
        """As ``shutil.rmtree`` does: the file was closed when the signal came."""
        try:
            raise KeyboardInterrupt
        finally:
            os.close(-1)

    for main in (importing, importing_late, closing):
        monkeypatch.setattr(cli.deal, "main", main)
        assert cli.run(cli.deal, ["score"], "deal") == 130
        assert capfd.readouterr().err == "interrupted\n"


DONE = """
import atexit, sys, time
from deal.cli import main

def waiting():
    print("done", flush=True)
    while True:
        time.sleep(0.05)

atexit.register(waiting)
sys.argv = ["deal", "--version"]
main()
"""


def test_ctrl_c_after_the_end_of_a_command_is_silent() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", DONE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == "done\n":
                break
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert stderr == ""
