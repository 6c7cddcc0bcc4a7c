"""``deal export --difficulty-head``: one file with the head that was fitted afterwards."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

import deal as package
from deal.model.head import DifficultyHead
from deal.model.spec import read_spec
from tests.helpers.models import metadata, save_model, scenes

FITTED = DifficultyHead(0.3, [0.1, 0.2, -0.3, 0.4, -0.5], 0.05, (6, 8))


@pytest.fixture
def head(tmp_path):
    path = tmp_path / "head.json"
    document = {**FITTED.to_dict(), "provenance": {"held_out": "val"}}
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def columns(model, **options):
    with package.Scorer(model, device="cpu", **options) as scorer:
        found = scorer.score(scenes(2))
    return {name: np.asarray(found[name]) for name in ("difficulty_mean", "entropy_mean")}


def test_a_model_with_the_head_scores_as_with_the_head_file(deal, head, tmp_path):
    model = save_model(tmp_path / "model.onnx", props=metadata())
    output = tmp_path / "headed.onnx"
    code, told, _ = deal("export", model, "-o", output, "--difficulty-head", head)
    assert (code, told) == (0, f"model: {output}\n")
    expected = columns(model, difficulty_head=head)
    found = columns(output)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
    assert np.any(columns(model)["difficulty_mean"] != found["difficulty_mean"])


def test_what_lies_beside_the_model_travels_too(deal, head, tmp_path):
    model = save_model(tmp_path / "model.onnx", floating=True)
    beside = {"classes": 5, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.2, 0.2]}
    model.with_suffix(".json").write_text(json.dumps(beside), encoding="utf-8")
    output = tmp_path / "other" / "headed.onnx"
    output.parent.mkdir()
    assert deal("export", model, "-o", output, "--difficulty-head", head)[0] == 0
    spec = read_spec(output)
    assert (spec.mean, spec.difficulty_head) == ((0.4, 0.5, 0.6), FITTED)
    assert len(spec.provenance["difficulty_head_sha256"]) == 64


def test_weights_of_other_files_come_into_the_one(deal, head, tmp_path):
    model = save_model(tmp_path / "model.onnx", props=metadata())
    apart = tmp_path / "apart.onnx"
    onnx.save(
        onnx.load(model), apart, save_as_external_data=True, location="weights.bin",
        size_threshold=0,
    )  # fmt: skip
    output = tmp_path / "other" / "headed.onnx"
    output.parent.mkdir()
    assert deal("export", apart, "-o", output, "--difficulty-head", head)[0] == 0
    np.testing.assert_array_equal(columns(output)["entropy_mean"], columns(model)["entropy_mean"])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"num_classes": 3}, "give a head that was fitted on this model"),
        ({"difficulty": True}, "score it with deal score --difficulty-head instead"),
    ],
)
def test_a_head_that_would_not_count_is_refused(deal, head, tmp_path, changes, reason):
    classes = changes.get("num_classes", 5)
    model = save_model(tmp_path / "model.onnx", props=metadata(classes), **changes)
    output = tmp_path / "headed.onnx"
    code, _, told = deal("export", model, "-o", output, "--difficulty-head", head)
    assert code == 1
    assert reason in told
    assert not output.exists()


def test_weights_that_fit_no_single_file_lie_beside_the_model(deal, head, tmp_path, monkeypatch):
    monkeypatch.setattr("deal.export.files.LARGEST", 100)
    model = save_model(tmp_path / "model.onnx", props=metadata())
    output = tmp_path / "headed.onnx"
    for _ in range(2):  # the second time over the first
        assert deal("export", model, "-o", output, "--difficulty-head", head)[0] == 0
        names = ["head.json", "headed.onnx", "headed.onnx.data", "model.onnx"]
        found = [path.name for path in tmp_path.iterdir() if path.name != "pool"]
        assert sorted({*found, "head.json"}) == names
        assert read_spec(output).external == ("headed.onnx.data",)
        expected = columns(model)["entropy_mean"]
        np.testing.assert_array_equal(columns(output)["entropy_mean"], expected)


def test_nothing_to_make_of_a_model_is_a_usage_error(deal, tmp_path):
    model = save_model(tmp_path / "model.onnx", props=metadata())
    code, _, told = deal("export", model, "-o", tmp_path / "same.onnx")
    assert code == 2
    assert "--difficulty-head" in told
