"""Loops that label regions of coloured images, trained by a command of a few lines."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from deal.kernel.regions import Grid
from deal.loop.rounds import RoundsConfig
from tests.helpers.labeled import colour_fields
from tests.helpers.labeled import write_labeled as write_data

__all__ = ["COMMAND", "GRID", "ROUNDS", "SIZE", "changed", "write_colours"]

SCRIPT = Path(__file__).parents[1] / "loop/train_colours.py"
COMMAND = [sys.executable, str(SCRIPT), "{labeled}", "{output}"]
SIZE = (36, 52)  # of 5×7 cells of 8 pixels, the last ones 4 pixels high and wide
GRID = Grid(8)
ROUNDS = RoundsConfig(labeled=(2, 3), regions=str(GRID))


def write_colours(root: Path) -> None:
    """Ten images to train on and three to measure on, three colours each, with noise."""
    rng = np.random.default_rng(3)
    write_data(root, "train", colour_fields(rng, 10, (9, 13), 4))
    write_data(root, "val", colour_fields(rng, 3, (9, 13), 4))
    (root / "classes.json").write_text('{"classes": ["road", "sky", "car"], "ignore_index": 9}')


def changed(tmp_path: Path, before: str = "", after: str = "") -> dict[str, list[str]]:
    """``[training]`` of the small training, with lines before and after it."""
    script = tmp_path / "changed.py"
    script.write_text(
        f"import json, sys; sys.path.insert(0, {str(SCRIPT.parent)!r})\n"
        f"import onnx, train_colours\n{before}\ntrain_colours.main(*sys.argv[1:])\n{after}\n"
    )
    return {"command": [sys.executable, str(script), "{labeled}", "{output}"]}
