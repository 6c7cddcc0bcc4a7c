"""The stages of a small run, as ``deal bench startup`` tells them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from deal.bench.startup import stages
from tests.helpers.models import metadata, save_model, scenes


@pytest.mark.slow
def test_stages_of_a_process_follow_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)
    pool, model = tmp_path / "pool", save_model(tmp_path / "model.onnx", props=metadata())
    pool.mkdir()
    for number, image in enumerate(scenes(3)):
        Image.fromarray(image).save(pool / f"{number}.png")
    found = stages([str(pool), "--model", str(model), "-o", str(tmp_path / "out")], tmp_path)
    names = ["interpreter", "options", "imports", "network", "first image", "ranking", "table"]
    assert list(found) == names
    assert list(found.values()) == sorted(found.values())
    assert found["interpreter"] > 0
    # the processes keep compiled modules whatever this shell asks; else every start compiles them
    assert (site / "__pycache__").is_dir()
