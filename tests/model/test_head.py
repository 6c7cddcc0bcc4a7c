"""Difficulty heads and their files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from deal.errors import ModelError, UsageError
from deal.model.head import DifficultyHead

HEAD = {"gamma": 0.8, "weight": [0.5, -1.0], "bias": -0.4, "grid": [6, 8]}


def test_a_head_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "head.json"
    path.write_text(json.dumps(HEAD))
    head = DifficultyHead.load(path)
    assert head == DifficultyHead(0.8, np.array([0.5, -1.0]), -0.4, np.array([6, 8]))
    assert head.to_dict() == HEAD


def test_weights_of_uncertainty_are_a_key_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "head.json"
    values = {**HEAD, "uncertainty_weight": [2.0, -1.0]}
    path.write_text(json.dumps(values))
    head = DifficultyHead.load(path)
    assert head.uncertainty_weight == (2.0, -1.0)
    assert head.to_dict() == values


def test_weights_of_uncertainty_that_are_zero_are_the_papers_head() -> None:
    head = DifficultyHead.from_dict({**HEAD, "uncertainty_weight": [0, 0]})
    assert head == DifficultyHead.from_dict(HEAD)
    assert head.to_dict() == HEAD


@pytest.mark.parametrize("weight", [[1.0], [1.0, 2.0, 3.0], [1.0, float("nan")], []])
def test_weights_of_uncertainty_are_as_many_as_classes(weight: list[float]) -> None:
    with pytest.raises(UsageError, match="uncertainty_weight must be 2 finite numbers"):
        DifficultyHead(1.0, [1.0, 2.0], 0.0, None, weight)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weight": np.ones((1, 2, 1, 1))}, r"conv\.weight\.flatten\(\).* of shape \[1, 2, 1, 1\]"),
        ({"weight": "ab"}, "weight must be one number for each class"),
        ({"weight": None}, "weight must be one number for each class"),
        ({"uncertainty_weight": np.ones((2, 1))}, "uncertainty_weight must be one number"),
        ({"gamma": "strong"}, "gamma must be a number, not 'strong'"),
        ({"bias": np.zeros(2)}, "bias must be a number"),
    ],
)
def test_numbers_of_another_shape_or_kind_are_usage_errors(options, words) -> None:
    with pytest.raises(UsageError, match=words):
        DifficultyHead(**{"gamma": 1.0, "weight": [1.0, 2.0], "bias": 0.0, **options})


@pytest.mark.parametrize("grid", [[0, 5], [5], [1.5, 2], [1, 2, 3], 5, "ab", [float("nan"), 1]])
def test_a_grid_is_two_positive_whole_numbers(grid: list[float]) -> None:
    with pytest.raises(UsageError, match=r"two positive whole numbers \[h, w\]"):
        DifficultyHead(1.0, [1.0], 0.0, grid)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", json.dumps({**HEAD, "more": 1}), json.dumps({**HEAD, "weight": "ab"})),
        json.dumps({**HEAD, "uncertainty_weight": 1}),
    ],
)
def test_a_file_that_is_no_head_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "head.json"
    path.write_text(text)
    with pytest.raises(ModelError, match=r"head\.json"):
        DifficultyHead.load(path)


def text_of(**changes: str) -> str:
    """A head file with keys of these JSON texts."""
    values = {key: json.dumps(value) for key, value in HEAD.items()} | changes
    return "{" + ", ".join(f"{json.dumps(key)}: {value}" for key, value in values.items()) + "}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (text_of(weight='"12"'), "weight must be a list of numbers"),
        (text_of(weight='["1", 2]'), "weight must be a list of numbers"),
        (text_of(gamma="true"), "gamma must be a number"),
        (text_of(weight="[true, 2]"), "weight must be a list of numbers"),
        (text_of(grid="[1e9, 1e9]"), "at most 16777216 cells"),
        (text_of(gamma="1" + "0" * 400), "is too large"),
        (text_of(gamma="1e999"), "is too large"),
        (text_of(bias="NaN"), "NaN is not a JSON number"),
        (text_of(bias="-Infinity"), "is not a JSON number"),
        (text_of(bias="[" * 100_000 + "]" * 100_000), "nested more than 64 deep"),
        (text_of(bias="[" * 80 + "]" * 80), "nested more than 64 deep"),
        (text_of()[:-1] + ', "gamma": 3}', "'gamma' occurs twice"),
    ],
)
def test_a_head_file_is_strict_json(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "head.json"
    path.write_text(text)
    with pytest.raises(ModelError, match=says) as error:
        DifficultyHead.load(path)
    assert len(str(error.value)) < 1000


def test_a_head_file_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "head.json")
    with pytest.raises(ModelError, match="not a regular file"):
        DifficultyHead.load(tmp_path / "head.json")
