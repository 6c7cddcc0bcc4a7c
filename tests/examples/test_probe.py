"""The scripts behind the experiments with a frozen network, each run in small."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.labeled import write_labeled
from tests.helpers.pages import ROOT, blocks, commands

PROBE = ROOT / "examples" / "probe"
RESULTS = ROOT / "docs" / "results" / "archive"
SIZE = (144, 192)


def run(*arguments: object, cwd: Path = ROOT) -> str:
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_paired_differences_are_those_of_the_page() -> None:
    page = (RESULTS / "camvid-own-features.md").read_text(encoding="utf-8")
    (shown,) = (
        command
        for block in blocks(page)
        for command in commands(block.text)
        if "paired.py" in command.line
    )
    printed = run(PROBE / "paired.py", *sorted(RESULTS.glob("camvid-own-features*.csv")))
    assert sorted(printed.splitlines()) == sorted(shown.output.splitlines())


def test_every_fourth_frame_is_measured_on(tmp_path: Path) -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    for split in ("train", "val", "test"):
        pairs = [(picture, picture[..., 0])] * 4
        write_labeled(tmp_path / "in", split, pairs, prefix=f"{split}_frame")
    run(PROBE / "mix.py", tmp_path / "in", tmp_path / "out")
    names = {
        split: sorted(path.name for path in (tmp_path / "out" / split / "images").iterdir())
        for split in ("train", "val", "test")
    }
    everything = sorted(path.name for path in (tmp_path / "in").glob("*/images/*"))
    assert names["val"] == names["test"] == everything[3::4]
    assert sorted(names["train"] + names["val"]) == everything
    assert len(list((tmp_path / "out/train/labels").iterdir())) == 9


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the scripts, 16 labeled images, and what ``prepare.py`` makes of them."""
    pytest.importorskip("torch")
    from deal.labeled.labels import CAMVID
    from deal.training.checkpoint import build_module, save_checkpoint
    from tests.helpers.checkpoints import small_meta

    folder = tmp_path_factory.mktemp("probe")
    for script in PROBE.glob("*.py"):
        shutil.copy(script, folder)
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(16):
        label = rng.integers(0, len(CAMVID.names), (9, 12)).repeat(16, 0).repeat(16, 1)
        image = (label[..., None] * 20 + rng.integers(0, 40, (*label.shape, 3))).astype(np.uint8)
        pairs.append((image, label))
    write_labeled(folder / "data", "train", pairs)
    meta = small_meta(
        classes=CAMVID.names, ignore_index=CAMVID.ignore_index, grid=(18, 24), input_size=SIZE
    )
    save_checkpoint(folder / "pre.pt", build_module(meta), meta)
    run("prepare.py", "pre.pt", "data", cwd=folder)
    with open(folder / "labeled.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "image", "label"))
        for image in sorted((folder / "data/train/images").iterdir())[:4]:
            label = image.parent.parent / "labels" / image.name
            writer.writerow((image.name, image, label))
    return folder


@pytest.mark.slow
def test_the_probe_fits_a_last_layer_gives_it_features_and_compares_heads(prepared: Path) -> None:
    """One test, so that one worker alone makes what ``prepare.py`` makes."""
    a_last_layer_is_fitted_and_can_be_scored_with(prepared)
    a_difficulty_with_features_of_its_own_is_an_output(prepared)
    heads_are_compared_on_frames_held_out(prepared)


def a_last_layer_is_fitted_and_can_be_scored_with(prepared: Path) -> None:
    import deal

    assert "4 images" in run("probe.py", "labeled.csv", "probe.onnx", cwd=prepared)
    with deal.Scorer(prepared / "probe.onnx") as scorer:
        image = np.array(Image.open(prepared / "data/train/images/frame_000.png"))
        columns = scorer.score([image])
    assert 0 < columns["difficulty_mean"][0] < 1


def a_difficulty_with_features_of_its_own_is_an_output(prepared: Path) -> None:
    import deal

    run("own_features.py", "template", cwd=prepared)
    run("own_features.py", "labeled.csv", "own-fitted.onnx", "unseen", cwd=prepared)
    assert deal.read_spec(prepared / "own-fitted.onnx").difficulty_name == "difficulty"


def heads_are_compared_on_frames_held_out(prepared: Path) -> None:
    (prepared / "table").mkdir()
    small = "heads.SIZES, heads.SEEDS, heads.DECAYS = (8,), range(2), (1.0,)"
    small += "; heads.REGION_SIZES, heads.REGION_SEEDS = (9,), range(2)"
    run("-c", f"import heads; {small}; heads.main('data', 'table')", cwd=prepared)
    with open(prepared / "table/rows.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["kind"] for row in rows} == {"images", "regions"}
    assert {"entropy", "training: p", "crossed: x, p, p(1-p); 1"} <= {r["score"] for r in rows}
    assert all(0 <= float(row["auroc"]) <= 1 for row in rows)
    assert "### AUROC" in (prepared / "table/table.md").read_text(encoding="utf-8")
