"""What all images of a pool have in common tells of a model that is not what it is taken for."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deal.run.pipeline import score_pool
from deal.scoring.doubts import PoolDoubts
from tests.helpers.models import metadata, save_model, scenes

CLASSES = ("road", "sky", "car")
SURE, MIXED = 0.1, [[50, 30, 20]]


def doubts_of(entropies: list[float], pixels: list[list[int]]) -> list[str]:
    found = PoolDoubts()
    for entropy, counts in zip(entropies, pixels, strict=True):
        found.add({"entropy_mean": np.array([entropy]), "class_pixels": np.array([counts])})
    return found.sentences(CLASSES)


def test_usual_scores_leave_no_doubt() -> None:
    assert doubts_of([SURE] * 6, MIXED * 6) == []


def test_entropy_near_its_greatest_in_every_image_is_doubtful() -> None:
    (doubt,) = doubts_of([0.99 * math.log(3)] * 6, MIXED * 6)
    assert "every one of 6 images" in doubt
    assert doubts_of([0.99 * math.log(3)] * 5 + [SURE], MIXED * 6) == []


def test_one_class_for_every_pixel_is_doubtful() -> None:
    (doubt,) = doubts_of([SURE] * 5, [[0, 100, 0]] * 5)
    assert "every pixel of all 5 images is predicted as 'sky'" in doubt
    assert doubts_of([SURE] * 5, [[0, 100, 0]] * 4 + [[1, 99, 0]]) == []


def test_few_images_prove_nothing() -> None:
    assert doubts_of([math.log(3)] * 4, [[0, 100, 0]] * 4) == []
    assert PoolDoubts().sentences(CLASSES) == []


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    folder = tmp_path / "pool"
    folder.mkdir()
    for index, image in enumerate(scenes(6)):
        Image.fromarray(image).save(folder / f"{index}.png")
    return folder


def test_a_run_tells_and_records_the_doubts(tmp_path: Path, pool: Path) -> None:
    model = save_model(tmp_path / "m.onnx", gain=0, bias=[0, 0, 5, 0, 0], props=metadata())
    report = score_pool([pool], model=[model], output=tmp_path / "out", acquisition="entropy")
    assert any("the same at every pixel" in note for note in report.notes)
    assert any("predicted as 'car'" in note for note in report.notes)
    (record,) = (tmp_path / "out" / "runs").glob("*.json")
    assert json.loads(record.read_text())["notes"] == list(report.notes)


def test_a_run_of_a_cropping_model_says_that_only_the_middle_counts(
    tmp_path: Path, pool: Path
) -> None:
    model = save_model(tmp_path / "m.onnx", props=metadata(resize="crop", input_size=[32, 32]))
    report = score_pool([pool], model=[model], output=tmp_path / "out", acquisition="entropy")
    assert any("only the middle part of each image is scored" in note for note in report.notes)
