"""The C++ sources: all of them are compiled, and no folder includes from a later one."""

import re
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[2] / "csrc"
FOLDERS = ["abi", "pixel", "cpu", "stream", "model", "cuda", "python"]
FILES = sorted(
    path.relative_to(CSRC)
    for path in CSRC.rglob("*")
    if path.is_file() and path.relative_to(CSRC).parts[0] != "cmake"
)
LIST = [
    line.split()
    for line in (CSRC / "sources.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


def test_the_list_of_sources_names_every_source_once():
    listed = sorted(name for _, name in LIST)
    assert listed == sorted(str(path) for path in FILES if path.suffix in (".cpp", ".cu"))


def test_every_group_of_the_list_is_one_that_the_build_reads():
    assert {group for group, _ in LIST} == {"library", "cuda", "without_cuda", "binding"}


def test_every_file_lies_in_a_folder_and_is_a_source_or_a_header():
    others = [path for path in FILES if path.suffix not in (".cpp", ".cu", ".h", ".hpp")]
    assert [str(path) for path in others] == ["abi/columns.def", "sources.txt"]
    assert {path.parts[0] for path in FILES if path.suffix == ".h"} == set(FOLDERS)


# abi/*.cpp validates and dispatches for every device, so it may include all of them.
@pytest.mark.parametrize(
    "path", [path for path in FILES if path.match("*/*.*") and not path.match("abi/*.cpp")], ids=str
)
def test_a_file_includes_only_from_its_own_folder_and_those_before_it(path):
    included = re.findall(r'^#include "(.+?)"', (CSRC / path).read_text(), re.M)
    allowed = FOLDERS[: FOLDERS.index(path.parts[0]) + 1]
    # The public headers include each other by bare names, as they are installed.
    paths = [name for name in included if "/" in name or not path.match("abi/deal*.h*")]
    assert [name for name in paths if name.split("/")[0] not in allowed] == []
