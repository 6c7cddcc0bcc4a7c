"""The stages of a small run, as ``deal bench startup`` tells them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from deal.bench.startup import stages
from tests.helpers.models import metadata, save_model, scenes


@pytest.mark.slow
def test_stages_of_a_process_follow_each_other(tmp_path: Path) -> None:
    pool, model = tmp_path / "pool", save_model(tmp_path / "model.onnx", props=metadata())
    pool.mkdir()
    for number, image in enumerate(scenes(3)):
        Image.fromarray(image).save(pool / f"{number}.png")
    found = stages([str(pool), "--model", str(model), "-o", str(tmp_path / "out")], tmp_path)
    names = ["interpreter", "options", "imports", "network", "first image", "ranking", "table"]
    assert list(found) == names
    assert list(found.values()) == sorted(found.values())
    assert found["interpreter"] > 0
