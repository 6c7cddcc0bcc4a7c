"""Selected regions as tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import deal
from deal.errors import ResultsError
from tests.helpers.runs import SIZE
from tests.helpers.tool_exports import label_maps, predicted, task_rows


@pytest.fixture
def of_regions(pool: Path, model: Path, tmp_path: Path) -> Path:
    deal.score_pool(
        pool, model=model, output=tmp_path / "out", regions=deal.Grid(12), budget="regions:5"
    )
    return tmp_path / "out"


def selected(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((out / "selection.json").read_bytes())["selection"]
    return rows


def test_a_region_becomes_a_crop(of_regions, pool, model, tmp_path):
    found = deal.annotate(of_regions, to="masks", output=tmp_path / "tasks")
    assert (found.count, found.of_regions) == (5, True)
    for row, pick in zip(task_rows(tmp_path / "tasks"), selected(of_regions), strict=True):
        assert (row["id"], int(row["region"])) == (pick["id"], pick["region"])
        x0, y0, w, h = (int(row[key]) for key in ("x0", "y0", "width", "height"))
        assert (x0 % 12, y0 % 12) == (0, 0)
        shown = np.asarray(Image.open(tmp_path / "tasks" / "images" / row["file"]))
        whole = np.asarray(Image.open(pool / row["id"]))
        assert (shown == whole[y0 : y0 + h, x0 : x0 + w]).all()
        labels = np.asarray(Image.open(tmp_path / "tasks" / "masks" / row["mask"]))
        assert (labels == predicted(model, pool / row["id"])[y0 : y0 + h, x0 : x0 + w]).all()


def beside(inside: np.ndarray) -> np.ndarray:
    """Pixels with a neighbour inside, above, below, left or right."""
    padded = np.pad(inside, 1)
    near = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return near & ~inside


def test_regions_of_an_image_stand_out_in_one_picture(of_regions, pool, tmp_path):
    deal.annotate(of_regions, to="coco", output=tmp_path / "tasks", regions="image")
    picks = selected(of_regions)
    assert [row["id"] for row in task_rows(tmp_path / "tasks")] == list(
        dict.fromkeys(pick["id"] for pick in picks)
    )
    maps = label_maps(tmp_path / "tasks", "coco")
    for row, labels in zip(task_rows(tmp_path / "tasks"), maps, strict=True):
        shown = np.asarray(Image.open(tmp_path / "tasks" / "images" / row["file"]))
        whole = np.asarray(Image.open(pool / row["id"]))
        inside = np.zeros(SIZE, bool)
        for region in map(int, row["region"].split(";")):
            y, x = divmod(region, -(-SIZE[1] // 12))
            inside[12 * y : 12 * y + 12, 12 * x : 12 * x + 12] = True
        assert (shown[inside] == whole[inside]).all()
        around = (shown == (230, 159, 0)).all(axis=2) & ~inside
        assert (around == beside(inside)).all()
        outside = shown[~inside & ~around]
        assert 120 <= outside.min() <= outside.max() <= 184  # faint
        assert ((labels > 0) == inside).all()


def test_the_outline_of_a_region_is_looked_up_where_the_list_has_none(of_regions, tmp_path):
    pick = selected(of_regions)[0]
    (tmp_path / "picked.csv").write_text(f"id,region\n{pick['id']},{pick['region']}\n")
    listed = {"selection": tmp_path / "picked.csv", "to": "coco"}
    deal.annotate(of_regions, output=tmp_path / "a", **listed)
    deal.annotate(of_regions, output=tmp_path / "b", to="coco")
    keys = ("x0", "y0", "width", "height")
    assert [task_rows(tmp_path / "a")[0][key] for key in keys] == [
        task_rows(tmp_path / "b")[0][key] for key in keys
    ]
    (tmp_path / "picked.csv").write_text(f"id,region\n{pick['id']},999\n")
    with pytest.raises(ResultsError, match=r"region 999 of .* is not among the stored regions"):
        deal.annotate(of_regions, output=tmp_path / "c", **listed)
