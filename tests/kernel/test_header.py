"""The C headers: their examples, and those of the guide, compile without a warning."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ABI = Path(__file__).parents[2] / "csrc/abi"
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
# What the example takes as given.
GIVEN = """
enum { B = 2, C = 3, h = 6, w = 8 };
static float data[B * C * h * w];
static const float weight[C] = {0.5f, -1.0f, 2.0f};
"""


def example(header: str) -> str:
    """The indented code of the comment at the top of a header."""
    comment = (ABI / header).read_text().partition("*/")[0]
    usage = re.search(r"^ \* Usage.*?\n(.*?)^ \* Rules", comment, re.M | re.S)
    assert usage is not None
    lines = (line.removeprefix(" *").removeprefix("    ") for line in usage[1].splitlines())
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("header", "standard"),
    [
        ("deal.h", "c11"),
        ("deal.h", "c++17"),
        ("deal_model.h", "c11"),
        ("deal_model.h", "c++17"),
        ("deal_stream.h", "c11"),
        ("deal_stream.h", "c++17"),
        ("deal.hpp", "c++17"),
    ],
)
def test_the_example_compiles_without_a_warning(header, standard, tmp_path):
    compiler, suffix = ("g++", "cpp") if "++" in standard else ("gcc", "c")
    if shutil.which(compiler) is None:
        pytest.skip(f"needs {compiler}")
    source = tmp_path / f"example.{suffix}"
    source.write_text(
        f'#include <stdio.h>\n#include <stdlib.h>\n#include "{header}"\n'
        f"{GIVEN if header in ('deal.h', 'deal.hpp') else ''}"
        f"int main(void) {{\n{example(header)}\n  return 0;\n}}\n"
    )
    assert compiled(compiler, standard, source) == ""


def compiled(compiler, standard, source):
    """What the compiler says."""
    command = [compiler, f"-std={standard}", *WARNINGS, f"-I{ABI}", "-fsyntax-only", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr


GUIDE = (ABI.parents[1] / "docs/howto/c.md").read_text()
PROGRAMS = re.findall(r"^```(c|cpp)\n(.*?)^```", GUIDE, re.M | re.S)


@pytest.mark.parametrize(("language", "program"), PROGRAMS)
def test_the_programs_of_the_guide_compile_without_a_warning(language, program, tmp_path):
    compiler, standard = ("g++", "c++17") if language == "cpp" else ("gcc", "c11")
    if shutil.which(compiler) is None:
        pytest.skip(f"needs {compiler}")
    source = tmp_path / f"program.{language}"
    source.write_text(program)
    assert compiled(compiler, standard, source) == ""


def test_the_guide_has_programs_of_both_languages():
    assert {language for language, _ in PROGRAMS} == {"c", "cpp"}
