"""What picks have in common is counted on hand-made drives, where it is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deal.bench import spread
from deal.errors import UsageError
from tests.helpers.models import metadata, save_model, scenes


def test_picks_within_a_second_scenes_and_scores_are_counted() -> None:
    names = [f"a_{number:05d}.jpg" for number in range(0, 1200, 30)] + ["b_00600.jpg", "plain.png"]
    scores = dict.fromkeys(names, 1.0) | {"a_00030.jpg": 3.0, "b_00600.jpg": 2.0}
    picks = ["a_00000.jpg", "a_00030.jpg", "a_00090.jpg", "a_00330.jpg", "b_00600.jpg"]
    found = spread.measures(picks, scores, 30)
    assert found["near"] == 1  # a_00000 lies one second from a_00030, which has a higher score
    assert found["scenes"] == 3
    assert found["share"] == pytest.approx((1 + 3 + 1 + 1 + 2) / (3 + 2 + 1 + 1 + 1))
    kinds = dict.fromkeys(names, "x") | {"b_00600.jpg": "y"}
    assert spread.measures(picks, scores, 30, kinds)["kinds"] == 2


def test_ways_to_spread_are_compared(tmp_path: Path) -> None:
    model = save_model(tmp_path / "m.onnx", exact=True, props=metadata())
    (tmp_path / "pool").mkdir()
    for drive, view in enumerate(scenes(2, (24, 32))):
        for frame in range(30):
            moved = np.roll(view, frame, axis=1)
            Image.fromarray(moved).save(tmp_path / f"pool/d{drive}_{frame * 30:04d}.png")
    options = {"pool": [str(tmp_path / "pool")], "model": str(model), "budget": 8}
    report = spread.run(**options, acquisition="entropy", keep=str(tmp_path / "kept"))
    rows = {row.name: row.value.median for row in report.rows}
    assert rows["spread off: mean score / best"] == 1
    assert rows["spread auto: within 1 s of a higher pick"] == 0
    assert rows["spread auto: scenes of 10 s"] >= rows["spread off: scenes of 10 s"]
    assert len(rows) == 7 * 3
    kinds = tmp_path / "kinds.csv"
    kinds.write_text("id,kind\nd0_0000.png,x\n")
    with pytest.raises(UsageError, match=r"has no kind of .*: give a line for each image"):
        spread.run(**options, kinds=str(kinds), keep=str(tmp_path / "kept"))
