"""``deal fit-head`` on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from click.testing import CliRunner

from deal.cli.fit_head import _verdict, command
from deal.fitting.measures import Areas, Measures
from deal.model.head import DifficultyHead
from tests.helpers.labeled import predictions, with_errors, write_labeled
from tests.helpers.models import metadata, save_model, scenes


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    model = save_model(folder / "m.onnx", gain=0.05, props=metadata(difficulty_head=None))
    images = scenes(5)
    labels = [with_errors(p, p % 2 == 0, 5) for p in predictions(model, images)]
    write_labeled(folder, "", zip(images, labels, strict=True))
    return ["--model", str(model), "--data", str(folder), "--pixels", "1000"]


def invoke(*arguments: str):
    return CliRunner().invoke(command, arguments)


def test_the_report_has_scores_classes_and_a_verdict(world, tmp_path):
    path = tmp_path / "head.json"
    result = invoke(*world, "-o", str(path), "--grid", "6x8")
    assert result.exit_code == 0, result.output
    for text in (
        "fitted on 4 images",
        "measured on 1 held out (1 of 5 images)",
        "difficulty-without-attention",
        "difficulty-without-uncertainty",
        "average precision",
        "AURC",
        "by predicted class",
        "--acquisition",
        "inference",
        f"head: {path}",
    ):
        assert text in result.stdout
    assert "--sequence-from" in result.stderr
    assert DifficultyHead.load(path).grid == (6, 8)


def test_without_uncertainty_there_is_no_key_of_it(world, tmp_path):
    path = tmp_path / "head.json"
    result = invoke(*world, "-o", str(path), "--no-uncertainty", "--no-attention")
    assert result.exit_code == 0, result.output
    assert "difficulty-without-uncertainty" not in result.stdout
    assert set(json.loads(path.read_text())) == {"gamma", "weight", "bias", "grid", "provenance"}


def test_json_is_the_file_and_the_seconds(world, tmp_path):
    path = tmp_path / "head.json"
    result = invoke(*world, "-o", str(path), "--json")
    document = json.loads(result.stdout)
    stored = json.loads(path.read_text())
    assert document["provenance"] == stored.pop("provenance")
    assert document["head"] == stored
    assert set(document["seconds"]) == {"reading", "inference", "fitting", "measuring"}


def test_model_options_reach_the_model(world, tmp_path):
    result = invoke(*world, "-o", str(tmp_path / "h.json"), "--model-option", "classes=7")
    assert "classes names 7" in str(result.exception)


@pytest.mark.parametrize("grid", ["60", "0x80", "axb"])
def test_a_malformed_grid_is_a_usage_error(world, tmp_path, grid):
    result = invoke(*world, "-o", str(tmp_path / "h.json"), "--grid", grid)
    assert result.exit_code == 2
    assert "is not HxW, such as 60x80" in result.stderr


def test_a_model_is_needed(world, tmp_path):
    result = invoke(*world[2:], "-o", str(tmp_path / "h.json"))
    assert "give --model FILE or set DEAL_MODEL" in str(result.exception)


def measured(**scores: Areas) -> Measures:
    areas = {name.replace("_", "-"): value for name, value in scores.items()}
    return Measures(images=1, pixels=10, wrong=2, scores=areas, classes=(), image_correlation={})


def test_the_verdict_says_plainly_who_wins():
    poor, good = Areas(0.6, 0.3, 0.2), Areas(0.8, 0.5, 0.1)
    won = measured(difficulty=good, entropy=poor, margin=poor, least_confidence=poor)
    assert _verdict(won).startswith("difficulty finds the wrong pixels best (AUROC 0.800)")
    assert "--acquisition ds" in _verdict(won)
    lost = measured(difficulty=poor, entropy=poor, margin=good, least_confidence=poor)
    assert _verdict(lost).startswith("difficulty does not win: margin finds")
    assert _verdict(lost).endswith("rank with --acquisition margin")
    scores = {**won.scores, "entropy": Areas(0.7, 0.9, 0.2)}
    assert "by average precision it is entropy" in _verdict(replace(won, scores=scores))


@pytest.mark.parametrize(
    ("best", "remedy"),
    [
        ("difficulty_without_attention", "fit again with --no-attention"),
        ("difficulty_without_uncertainty", "fit again with --no-uncertainty"),
        ("model_difficulty", "without --difficulty-head"),
    ],
)
def test_the_verdict_names_the_best_row_and_how_to_get_it(best, remedy):
    poor, good = Areas(0.7, 0.3, 0.2), Areas(0.811, 0.5, 0.1)
    uncertain = dict.fromkeys(("entropy", "margin", "least_confidence"), poor)
    verdict = _verdict(measured(difficulty=poor, **uncertain, **{best: good}))
    assert f"{best.replace('_', '-')} finds the wrong pixels better (AUROC 0.811" in verdict
    assert remedy in verdict


def test_help_needs_no_torch_and_no_numpy():
    code = (
        "import sys; from deal.cli.fit_head import command; command(['--help'], "
        "standalone_mode=False); sys.exit(any(m in sys.modules for m in "
        "('torch', 'numpy', 'onnxruntime', 'pyarrow')))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"--held-out" in done.stdout


def test_fitting_needs_no_torch(world, tmp_path):
    arguments = [*world, "-o", str(tmp_path / "h.json"), "--json"]
    code = (
        "import sys; from deal.cli.fit_head import command; "
        f"command({arguments!r}, standalone_mode=False); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
