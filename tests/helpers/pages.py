"""Commands of the documentation: taken from its pages, run in a folder, their output compared.

A fenced block ``console`` holds commands, each after ``$ ``, and what they print to stdout. ``...``
stands for any text, lines included. Numbers with a decimal point may differ by a percent, since
networks compute a little differently on other processors; below ``<!-- numbers differ -->`` any
number will do, and below ``<!-- output differs -->`` any text, where a network was trained. The
exit code has to be 0, unless the next command is ``echo $?``. A block below ``<!-- file: NAME -->``
is what the reader saves under that name.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "ROOT",
    "Block",
    "Command",
    "Shell",
    "blocks",
    "commands",
    "deal",
    "links",
    "matches",
    "run_page",
]

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(
    r"(?:^<!-- (?P<note>[^\n]*?) -->\n+)?^```(?P<language>[\w+-]*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_TOKEN = re.compile(r"(\.\.\.|\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, with the comment right above it."""

    language: str
    text: str
    note: str = ""


@dataclass(frozen=True)
class Command:
    """A command and what a page says that it prints."""

    line: str
    output: str


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return [Block(m["language"], m["text"], m["note"] or "") for m in _FENCE.finditer(page)]


def links(page: str) -> list[str]:
    """Targets of the links and images of a page, outside its fenced blocks and code."""
    return _LINK.findall(re.sub(r"`[^`\n]*`", "", _FENCE.sub("", page)))


def commands(text: str) -> list[Command]:
    """What stands after each ``$ ``, continued lines included, and the lines below it."""
    found = []
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        lines = part.splitlines()
        end = next(i for i, line in enumerate(lines) if not line.endswith("\\")) + 1
        found.append(Command("\n".join(lines[:end]), "\n".join(lines[end:])))
    return found


def matches(shown: str, printed: str, *, numbers_differ: bool = False) -> bool:
    """Whether a command printed what its page shows."""
    pattern, numbers = "", []
    for token in _TOKEN.split(shown.strip()):
        if token == "...":
            pattern += ".*?"
        elif _TOKEN.fullmatch(token):
            pattern += r"(\d+(?:\.\d+)?)"
            numbers.append(token)
        else:
            pattern += _text_pattern(token)
    found = re.fullmatch(pattern, printed.strip(), re.DOTALL)
    return found is not None and (
        numbers_differ or all(_near(*pair) for pair in zip(numbers, found.groups(), strict=True))
    )


def _text_pattern(text: str) -> str:
    """Columns are as wide as what is in them: spaces, and lines that are drawn, of any length."""
    parts = re.split(r"(\s+|━+|─+)", text)
    return "".join(
        re.escape(part) if number % 2 == 0 else r"\s*" if part.isspace() else f"{part[0]}+"
        for number, part in enumerate(parts)
    )


def _near(shown: str, printed: str) -> bool:
    if "." not in shown:
        return shown == printed
    return abs(float(shown) - float(printed)) <= 0.01 * abs(float(shown))


class Shell:
    """Commands in a folder, with ``deal`` and ``deal-score`` of this checkout and Python of now."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder, self.code = folder, 0
        programs.mkdir()
        python = f"exec {sys.executable}"
        scripts = {
            "deal": f"{python} -P -c 'from tests.helpers.pages import deal; deal()'",
            "deal-score": f"{python} -P -c 'from deal.cli import score_main; score_main()'",
            "python": python,
            "make": f'test "$1" = demo && {_demo_command()} #',
        }
        for name, text in scripts.items():
            script = programs / name
            script.write_text(f'#!/bin/sh\n{text} "$@"\n')
            script.chmod(0o755)
        (folder / "deal").mkdir()
        (folder / "deal" / "demo").symlink_to(ROOT / "deal" / "demo")
        self._environment = os.environ | {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTHONUTF8": "1",
            "COLUMNS": "80",
        }
        self._environment.pop("DEAL_MODEL", None)

    def run(self, line: str) -> str:
        """What a command prints to stdout; its exit code is kept."""
        if line == "echo $?":
            code, self.code = self.code, 0
            return str(code)
        assert self.code == 0, f"exit code {self.code} before: {line}"
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
        )
        self.code = done.returncode
        if self.code:
            print(f"$ {line}\n{done.stderr}")
        return done.stdout


def deal() -> None:
    """Run ``deal``; a network that an earlier run of the tests has traced is not traced again."""
    from deal.cli import main

    if sys.argv[1:2] == ["export"]:
        from tests.helpers.exports import kept_exports

        with kept_exports():
            main()
    else:
        main()


def _demo_command() -> str:
    """What ``make demo`` runs once everything is built."""
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    line = next(line for line in lines if "deal-score --demo" in line)
    return line.strip().lstrip("@").replace("$(BIN)/", "")


def run_page(page: Path, shell: Shell) -> int:
    """Save the files of a page and run its commands in order; how many there were."""
    count = 0
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.note.startswith("file: "):
            (shell.folder / block.note.removeprefix("file: ")).write_text(
                block.text, encoding="utf-8"
            )
        if block.language != "console":
            continue
        for command in commands(block.text):
            printed = shell.run(command.line)
            count += 1
            if block.note == "output differs":
                continue
            assert matches(
                command.output, printed, numbers_differ=block.note == "numbers differ"
            ), f"{page.name}: $ {command.line}\nshown:\n{command.output}\nprinted:\n{printed}"
    assert shell.code == 0, f"{page.name} ends with exit code {shell.code}"
    return count
