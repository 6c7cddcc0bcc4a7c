"""`deal bench label-errors`: what is planted, and how it is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from deal.bench.label_errors import found_in, plant, run
from deal.cli.bench import command
from deal.errors import UsageError
from deal.fitting.images import find_split, read
from deal.model.spec import read_spec
from tests.helpers.labeled import predictions, write_labeled
from tests.helpers.models import metadata, save_model, scenes


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Twenty images with the labels that the model predicts."""
    folder = tmp_path_factory.mktemp("world")
    model = save_model(folder / "model.onnx", gain=0.05, props=metadata())
    images = scenes(20)
    write_labeled(folder / "data", "", zip(images, predictions(model, images), strict=True))
    return {"model": model, "data": folder / "data"}


def test_a_component_of_every_tenth_image_gets_another_class(
    world: dict[str, Any], tmp_path: Path
) -> None:
    images, _ = find_split(world["data"])
    spec = read_spec(world["model"])
    folders = [tmp_path / name for name in ("first", "again")]
    for folder in folders:
        folder.mkdir()
    planted, again = (plant(images, folder, spec, 255, seed=3) for folder in folders)
    assert len(planted) == 2
    assert all((planted[name] == again[name]).all() for name in planted)
    copies, _ = find_split(folders[0])
    for image, copy in zip(images, copies, strict=True):
        rgb, label = read(image, spec.num_classes, 255)
        same, written = read(copy, spec.num_classes, 255)
        np.testing.assert_array_equal(rgb, same)
        wrong = planted.get(copy.id, np.zeros(label.shape, bool))
        np.testing.assert_array_equal(written != label, wrong)
        if wrong.any():
            assert 0.005 <= wrong.mean() <= 0.1
            assert len(np.unique(label[wrong])) == len(np.unique(written[wrong])) == 1


def test_what_is_found_is_the_share_in_the_first_tenth() -> None:
    scores = {(f"{number:02}", None): float(number) for number in range(20)}
    assert found_in(scores, {("19", None), ("18", None)}) == 1
    assert found_in(scores, {("19", None), ("17", None)}) == 0.5
    assert found_in(dict.fromkeys(scores, 0.0), {("00", None), ("19", None)}) == 0.5


def test_rankings_find_what_was_planted_into_right_labels(world: dict[str, Any]) -> None:
    report = run(str(world["data"]), model=str(world["model"]), cell=8)
    found = {row.name: row.value.median for row in report.rows}
    assert found["images: random order, expected"] == 0.1
    assert found["images, disagreement"] == found["cells, easy:entropy"] == 1
    assert found["cells, combined"] == 1
    assert {name for name in found if name.startswith("images by")} == {
        f"images by their worst cell, {score}"
        for score in ("easy:entropy", "easy:difficulty", "disagreement", "self-confidence")
    }


def test_too_few_images_are_refused(world: dict[str, Any], tmp_path: Path) -> None:
    write_labeled(tmp_path, "", [(scenes(1)[0], np.zeros((48, 64)))])
    result = CliRunner().invoke(
        command, ["label-errors", str(tmp_path), "--model", str(world["model"])]
    )
    assert isinstance(result.exception, UsageError)
    assert "1 images are too few: at least 10 are needed" in str(result.exception)


def test_cells_that_are_too_large_are_refused_before_the_network_runs(
    world: dict[str, Any],
) -> None:
    with pytest.raises(
        UsageError, match=r"no cell of 60 pixels is half planted: .* smaller --cell"
    ):
        run(str(world["data"]), model=str(world["model"]), cell=60)


def test_a_model_without_difficulty_is_ranked_by_the_other_scores(
    world: dict[str, Any], tmp_path: Path
) -> None:
    plain = save_model(tmp_path / "m.onnx", gain=0.05, props=metadata(difficulty_head=None))
    names = [row.name for row in run(str(world["data"]), model=str(plain), cell=8).rows]
    assert "cells, easy:entropy" in names
    assert not any("difficulty" in name or "combined" in name for name in names)
