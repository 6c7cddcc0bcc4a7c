"""A ``MODEL.json`` beside the file that ``deal export`` writes may not belie it in silence."""

from __future__ import annotations

import json

import pytest

from deal.model.head import DifficultyHead
from deal.model.spec import read_spec
from tests.helpers.models import metadata, save_model
from tests.helpers.runs import assert_refused

HEAD = DifficultyHead(0.3, [0.1, 0.2, -0.3, 0.4, -0.5], 0.05)
OTHER = DifficultyHead(0.9, [0, 0, 0, 0, 0.5], 0)


def written(path, values):
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


@pytest.fixture
def model(tmp_path):
    return save_model(tmp_path / "model.onnx", props=metadata())


def test_a_new_head_is_not_hidden_by_the_old_one_beside_it(deal, model, tmp_path):
    head = written(tmp_path / "head.json", HEAD.to_dict())
    output = tmp_path / "out.onnx"
    written(output.with_suffix(".json"), {"difficulty_head": OTHER.to_dict()})
    told = deal("export", model, "-o", output, "--difficulty-head", head)
    assert_refused(told, 1, "out.json", "difficulty_head", "remove or rename it")
    assert not output.exists()


@pytest.mark.parametrize(
    "values",
    [
        {"input_size": [24, 32]},
        {"resize": "letterbox"},
        {"precision": None},
        {"provenance": {"conversion": {"target": "gpu"}}},
        {"gamma": 0.5, "weight": [1], "bias": 0, "grid": None},  # a head file of that name
    ],
)
def test_a_side_car_that_says_otherwise_is_refused_before_the_work(deal, model, tmp_path, values):
    output = tmp_path / "out.onnx"
    written(output.with_suffix(".json"), values)
    told = deal("export", model, "-o", output, "--static", "48x64")
    assert_refused(told, 1, "out.json", next(iter(values)), "give --output another name")
    assert not output.exists()


def test_a_side_car_that_says_the_same_may_stay(deal, tmp_path):
    model = save_model(tmp_path / "model.onnx")
    output = tmp_path / "out.onnx"
    for path in (model, output):
        written(path.with_suffix(".json"), {"format": 1, "classes": 5, "resize": "stretch"})
    head = written(tmp_path / "head.json", HEAD.to_dict())
    code, _, error = deal("export", model, "-o", output, "--difficulty-head", head)
    assert code == 0, error
    assert read_spec(output).difficulty_head == HEAD
