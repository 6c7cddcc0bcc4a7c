"""Labeled data sets by name: which splits there are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deal.errors import PoolError
from deal.labeled.datasets import list_dataset


def write_split(root: Path, split: str) -> None:
    for kind, shape in (("images", (4, 6, 3)), ("labels", (4, 6))):
        (root / split / kind).mkdir(parents=True)
        Image.fromarray(np.zeros(shape, np.uint8)).save(root / split / kind / "a.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "classes.json").write_text(json.dumps({"classes": ["road", "sky"]}))
    write_split(tmp_path, "train")
    write_split(tmp_path, "val")
    return tmp_path


@pytest.mark.parametrize("name", ["camvid", "folder"])
@pytest.mark.parametrize("empty", [True, False])
def test_there_need_not_be_a_test_split(root: Path, name: str, *, empty: bool) -> None:
    if empty:
        for kind in ("images", "labels"):
            (root / "test" / kind).mkdir(parents=True)
    _, splits = list_dataset(name, root)
    assert {split: len(files) for split, files in splits.items()} == {
        "train": 1,
        "val": 1,
        "test": 0,
    }


@pytest.mark.parametrize("name", ["camvid", "folder"])
def test_val_has_to_be_there(root: Path, name: str) -> None:
    (root / "val").rename(root / "other")
    with pytest.raises(PoolError, match="val"):
        list_dataset(name, root)
