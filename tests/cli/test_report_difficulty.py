"""``deal report difficulty`` on the command line."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from deal.cli.report import command
from tests.helpers.labeled import predictions, with_errors, write_labeled
from tests.helpers.looks import check_report
from tests.helpers.models import CLASSES, metadata, save_model, scenes


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    model = save_model(folder / "m.onnx", gain=0.05, props=metadata())
    images, rng = scenes(3), np.random.default_rng(0)
    labels = [with_errors(p, rng.random(p.shape) < 0.3, 5) for p in predictions(model, images)]
    write_labeled(folder / "data", "test", zip(images, labels, strict=True))
    return ["difficulty", "--model", str(model), "--data", str(folder / "data"), "--quiet"]


def invoke(*arguments: str):
    return CliRunner().invoke(command, arguments)


def test_markdown_has_every_table(world):
    result = invoke(*world, "--ablations", "--grid", "3x4", "--sequence-from", "(frame)")
    assert result.exit_code == 0, result.output
    for text in (
        "# Difficulty of m.onnx on data/test",
        "3 images, 9216 labeled pixels",
        "What finds the wrong pixels best: ",
        "| ds:least-confidence | 0.",
        "## By sequence",
        "## By predicted class",
        "## By labeled class",
        "## Calibration",
        "## Difficult classes",
        "| rank correlation with 1 − IoU |",
        "## Heads on the same logits",
        "difficulty, grid 3x4 | metadata of the model |",
        "## Attention by polynomials",
    ):
        assert text in result.stdout
    tables = [line for line in result.stdout.splitlines() if line.startswith("|")]
    assert all("nan" not in line for line in tables)
    for name in CLASSES:
        assert any(line.startswith(f"| {name} |") for line in tables)


def test_only_what_was_asked_for_is_shown(world):
    text = invoke(*world).stdout
    for heading in ("## By sequence", "## Heads", "## Attention"):
        assert heading not in text


def test_the_file_holds_what_would_be_printed_and_json_the_numbers(world, tmp_path):
    path = tmp_path / "page.md"
    result = invoke(*world, "-o", str(path), "--json")
    assert result.exit_code == 0, result.output
    assert path.read_text() == invoke(*world).stdout
    document = json.loads(result.stdout)
    auroc = document["scores"]["difficulty"]["areas"]["auroc"]
    assert f"| difficulty | {auroc:.3f} |" in path.read_text()
    assert invoke(*world, "-o", str(tmp_path / "page.html")).exit_code == 0
    text = (tmp_path / "page.html").read_text()
    assert f"<td>{auroc:.3f}</td>" in text
    risk = document["scores"]["difficulty"]["risks"][9]  # of the 50 from 2 % to 100 %
    assert f"difficulty: {risk:.2%} wrong of the 20% with the lowest scores" in text
    bins = document["scores"]["entropy"]["calibration"]["bins"]
    part = max(bins, key=lambda part: part["pixels"])
    assert (
        f"entropy: {part['wrong_share']:.1%} wrong at a score of {part['mean_score']:.2f}" in text
    )
    assert invoke(*world, "-o", str(tmp_path / "page.json")).exit_code == 0
    assert json.loads((tmp_path / "page.json").read_text()) == document


@pytest.mark.slow
def test_the_page_in_a_browser(world, tmp_path):
    path = tmp_path / "page.html"
    assert invoke(*world, "--ablations", "-o", str(path)).exit_code == 0
    check_report(path)


def test_a_folder_as_output_is_refused_before_work(world, tmp_path):
    result = invoke(*world, "--data", str(tmp_path / "nowhere"), "-o", str(tmp_path))
    assert "it is a folder; name a file" in str(result.exception)


def test_an_output_that_cannot_be_written_is_refused_before_work(world, tmp_path):
    (tmp_path / "file").touch()
    result = invoke(
        *world, "--data", str(tmp_path / "nowhere"), "-o", str(tmp_path / "file" / "x.md")
    )
    assert "choose another --output" in str(result.exception)


def test_a_malformed_grid_is_a_usage_error(world):
    result = invoke(*world, "--grid", "3")
    assert result.exit_code == 2
    assert "is not HxW, such as 60x80" in result.stderr


def test_a_model_is_needed(world):
    result = invoke("difficulty", *world[3:])
    assert "give --model FILE or set DEAL_MODEL" in str(result.exception)


@pytest.mark.slow
def test_measuring_needs_no_torch_and_help_no_numpy(world):
    for arguments, modules in (
        (["difficulty", "--help"], ("torch", "numpy", "onnxruntime", "pyarrow")),
        (world, ("torch",)),
    ):
        code = (
            "import sys; from deal.cli.report import command; "
            f"command({arguments!r}, standalone_mode=False); "
            f"sys.exit(any(m in sys.modules for m in {modules!r}))"
        )
        done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
        assert done.returncode == 0, done.stderr
