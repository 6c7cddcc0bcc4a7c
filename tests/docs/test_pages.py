"""Every command of the README, the tutorials and some guides runs, and prints what pages show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.pages import ROOT, Shell, blocks, commands, matches, run_page

TUTORIALS = ROOT / "docs" / "tutorials"
HOW_TO = ROOT / "docs" / "howto"


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    folder = tmp_path / "reader"
    folder.mkdir()
    return Shell(folder, tmp_path / "programs")


@pytest.mark.slow
def test_the_commands_of_the_readme(shell: Shell) -> None:
    assert run_page(ROOT / "README.md", shell) >= 4


def test_python_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = (b.text for b in blocks((ROOT / "README.md").read_text()) if b.language == "python")
    monkeypatch.chdir(tmp_path)
    Path("frames").symlink_to(ROOT / "deal/demo/pool")
    Path("model.onnx").symlink_to(ROOT / "deal/demo/model.onnx")
    rng = np.random.default_rng(0)
    names = {
        "rgb": np.array(Image.open("frames/street_00000.jpg")),
        "w": rng.normal(size=11).astype(np.float32),
        "logits": rng.normal(size=(1, 11, 45, 60)).astype(np.float32),
    }
    exec(compile(code, "README.md", "exec"), names)
    assert len(names["selection"]) == 24
    assert names["scores"].shape == (1,)
    assert names["stats"].images["difficulty_mean"].shape == (1,)


@pytest.mark.slow
def test_the_tutorial_of_a_labeling_list(shell: Shell) -> None:
    assert run_page(TUTORIALS / "labeling-list.md", shell) >= 8


@pytest.mark.slow
def test_the_guide_to_pictures(shell: Shell) -> None:
    assert run_page(ROOT / "docs/howto/pictures.md", shell) >= 4


@pytest.mark.slow
def test_the_tutorial_of_a_network_of_ones_own(shell: Shell) -> None:
    pytest.importorskip("torch")
    assert run_page(TUTORIALS / "own-network.md", shell) >= 5


@pytest.mark.slow
def test_the_tutorial_for_frames_without_a_model(shell: Shell) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    for name in ("models", "examples"):  # the page is read in a checkout
        (shell.folder / name).symlink_to(ROOT / name)
    assert run_page(TUTORIALS / "no-model.md", shell) >= 6


@pytest.mark.slow
def test_the_tutorial_of_a_function_of_ones_own(shell: Shell) -> None:
    pytest.importorskip("torch")
    assert run_page(TUTORIALS / "own-function.md", shell) >= 4


@pytest.mark.slow
def test_the_page_on_looking_at_a_pool(shell: Shell) -> None:
    assert run_page(HOW_TO / "view.md", shell) == 2
    assert (shell.folder / "pool.html").stat().st_size > 100_000


@pytest.mark.slow
def test_the_way_into_a_labeling_tool_and_back(shell: Shell) -> None:
    assert run_page(HOW_TO / "annotate.md", shell) >= 6


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a 0.500\nb", "a 0.502\nb\n", True),
        ("a 0.500\nb", "a 0.51\nb\n", False),
        ("5 of 24", "4 of 24", False),
        ("first\n...\nlast", "first\n1\n2\nlast", True),
        ("first\n...\nlast", "first\n1\n2\nother", False),
        ("│   1 │ x │\n└───┴───┘", "│ 1 │ x │\n└─┴───┘", True),
        ("│ 1 │ x │", "│ 1 │ y │", False),
        ("", "something", False),
    ],
)
def test_outputs_are_compared_by_text_and_number(shown: str, printed: str, same: bool) -> None:
    assert matches(shown, printed) is same


def test_numbers_that_differ_leave_the_text_to_compare() -> None:
    assert matches("gamma 0.3, 5 images", "gamma 1.7, 6 images", numbers_differ=True)
    assert not matches("gamma 0.3, 5 images", "gamma 1.7, 6 frames", numbers_differ=True)


def test_commands_are_told_from_their_output() -> None:
    found = commands("$ deal a \\\n    b\nx\ny\n$ deal c\n")
    assert [(c.line, c.output) for c in found] == [("deal a \\\n    b", "x\ny"), ("deal c", "")]


def test_a_command_that_fails_ends_a_page_unless_its_code_is_shown(
    shell: Shell, tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    page.write_text("```console\n$ exit 3\n$ echo $?\n3\n```\n", encoding="utf-8")
    assert run_page(page, shell) == 2
    page.write_text("```console\n$ exit 3\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError, match="exit code 3"):
        run_page(page, shell)
