"""Labels ranked by doubt, against plain definitions; planted errors come first."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from deal.cli.rank_errors import command
from deal.engines import open_engine
from deal.errors import PoolError, ResultsError, UsageError
from deal.fitting import label_pictures
from deal.fitting.label_errors import LABEL_SCORES, rank_label_errors
from deal.fitting.label_pictures import write_ranking
from deal.fitting.pixels import resize
from deal.model.head import DifficultyHead
from tests.helpers.labeled import predictions, write_labeled
from tests.helpers.models import CLASSES, metadata, save_model, scenes
from tests.oracle import reference

HEAD = DifficultyHead(6.0, [3.0, -2.0, 1.0, -3.0, 2.0], -6.0, (9, 12))
SIZE = (48, 64)
CELL = 16  # 3×4 cells
PLANTED = {("test/images/frame_001.png", 5), ("test/images/frame_002.png", 0)}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a model predicts, as labels, with two cells of another class and a border of void."""
    folder = tmp_path_factory.mktemp("world")
    model = save_model(
        folder / "model.onnx", gain=0.05, props=metadata(difficulty_head=HEAD.to_dict())
    )
    images = scenes(3)
    labels = predictions(model, images)
    labels[1][16:32, 16:32] = (labels[1][16:32, 16:32] + 1) % 5
    labels[2][:16, :16] = (labels[2][:16, :16] + 2) % 5
    for label in labels:
        label[:, -3:] = 255
    write_labeled(folder / "data", "test", zip(images, labels, strict=True))
    engine = open_engine(model)
    logits = np.concatenate([engine.infer(image[None]).logits for image in images])
    return {"model": model, "data": folder / "data", "logits": logits, "labels": labels}


def expected(world: dict[str, Any], score: str) -> list[np.ndarray]:
    """Doubts of every pixel, in float64."""
    found = []
    for logits, label in zip(world["logits"], world["labels"], strict=True):
        z = resize(logits, SIZE, True).astype(np.float64)
        p = np.exp(z - z.max(axis=0))
        p /= p.sum(axis=0)
        known = np.where(label == 255, 0, label)
        differs = z.argmax(axis=0) != known
        grid = reference.difficulty_grid(logits[None], HEAD, True)
        d = reference.difficulty_map(grid, SIZE, True)[0]
        entropy = -(p * np.log(np.maximum(p, 1e-300))).sum(axis=0) / np.log(5)
        doubts = {
            "easy:difficulty": differs * (1 - d),
            "easy:entropy": differs * (1 - entropy),
            "disagreement": differs * 1.0,
            "self-confidence": 1 - np.take_along_axis(p, known[None].astype(int), axis=0)[0],
        }[score]
        found.append(np.where(label == 255, np.nan, doubts))
    return found


@pytest.mark.parametrize("score", LABEL_SCORES)
@pytest.mark.parametrize("cell", [None, CELL])
def test_scores_are_means_over_labeled_pixels(
    world: dict[str, Any], score: str, cell: int | None
) -> None:
    doubts = rank_label_errors(world["model"], world["data"], score=score, cell=cell)
    maps = expected(world, score)
    assert len(doubts.labels) == (3 if cell is None else 36)
    for label in doubts.labels:
        values = maps[int(label.id[-5])][label.y0 : label.y1, label.x0 : label.x1]
        assert label.score == pytest.approx(np.nanmean(values), abs=2e-5)
        assert label.pixels == np.isfinite(values).sum()
    scores = [label.score for label in doubts.labels]
    assert scores == sorted(scores, reverse=True)
    assert [label.rank for label in doubts.labels] == list(range(1, len(scores) + 1))


@pytest.mark.parametrize("score", ["easy:difficulty", "easy:entropy", "disagreement"])
def test_planted_errors_come_first_and_say_what_they_are_taken_for(
    world: dict[str, Any], score: str
) -> None:
    doubts = rank_label_errors(world["model"], world["data"], score=score, cell=CELL)
    assert {(label.id, label.region) for label in doubts.labels[:2]} == PLANTED
    for label in doubts.labels[:2]:
        assert label.differ == 1
        y, x = label.y0, label.x0
        part = world["labels"][int(label.id[-5])][y : y + CELL, x : x + CELL]
        shift = 1 if "001" in label.id else 2
        pairs = np.bincount((part * 5 + (part - shift) % 5).ravel())
        given, predicted = divmod(int(pairs.argmax()), 5)
        assert (label.label, label.predicted) == (CLASSES[given], CLASSES[predicted])
    assert {(label.differ, label.label) for label in doubts.labels[2:]} == {(0.0, "")}


def test_names_with_any_bytes_are_ranked_and_written_as_ids(
    world: dict[str, Any], tmp_path: Path
) -> None:
    data = shutil.copytree(world["data"], tmp_path / "data")
    for path in data.glob("test/*/frame_001.png"):
        path.rename(os.fsdecode(os.fsencode(path.parent) + b'/caf\xe9\r, "x".png'))
    doubts = rank_label_errors(world["model"], data)
    write_ranking(tmp_path / "out", doubts, {})
    with open(tmp_path / "out/label-errors.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [label.id for label in doubts.labels]
    assert 'test/images/caf%E9\r, "x".png' in {row["id"] for row in rows}


def test_the_command_writes_the_ranking_and_pictures(world: dict[str, Any], tmp_path: Path) -> None:
    arguments = ["--model", str(world["model"]), "--data", str(world["data"]), "--cell", str(CELL)]
    result = CliRunner().invoke(
        command, [*arguments, "-o", str(tmp_path / "out"), "--previews", "3", "--quiet"]
    )
    assert result.exit_code == 0, result.output
    assert "36 of 36 regions selected by easy:entropy; the first 10:" in result.output
    with open(tmp_path / "out/label-errors.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["id"], int(row["region"])) for row in rows[:2]} == PLANTED
    with Image.open(tmp_path / "out/label-errors.jpg") as sheet:
        pixels = np.asarray(sheet)
    assert pixels.shape[1] == 4 * 328 + 8
    assert pixels.std() > 20
    printed = CliRunner().invoke(command, [*arguments, "--json", "--quiet", "--budget", "99"])
    document = json.loads(printed.stdout)
    assert document["labels"][0]["id"] == rows[0]["id"]
    assert document["heading"] == "36 of 36 regions selected by easy:entropy"
    assert "the budget of 99 is larger than the pool" in document["notes"][0]
    assert f"note: {document['notes'][0]}" in printed.stderr


def test_a_sheet_shows_as_many_labels_as_a_jpeg_has_room_for(
    world: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_pictures, "_TALLEST", 700)
    tall = np.tile(scenes(1)[0], (60, 1, 1))  # 2880×64
    write_labeled(tmp_path / "data", "test", [(tall, np.zeros(tall.shape[:2], np.uint8))] * 2)
    arguments = ["--model", str(world["model"]), "--data", str(tmp_path / "data"), "--quiet"]
    arguments += ["-o", str(tmp_path / "out"), "--previews"]
    result = CliRunner().invoke(command, [*arguments, "2"])
    assert result.exit_code == 0, result.output
    assert "note: label-errors.jpg shows the first 1: a JPEG cannot be taller" in result.stderr
    with Image.open(tmp_path / "out/label-errors.jpg") as sheet:
        assert sheet.height == 480 + 2 * 20 + 3 * 8
    assert CliRunner().invoke(command, [*arguments, "0"]).exit_code == 0
    assert not (tmp_path / "out/label-errors.jpg").exists()


def test_labels_of_the_network_itself_are_told_to_have_no_order(
    world: dict[str, Any], tmp_path: Path
) -> None:
    images = scenes(2)
    own = zip(images, predictions(world["model"], images), strict=True)
    write_labeled(tmp_path, "test", own)
    (note,) = rank_label_errors(world["model"], tmp_path).notes
    assert note == (
        "all 2 scores are equal (0), so their ids alone decide the order: choose another score"
    )
    assert rank_label_errors(world["model"], tmp_path, score="self-confidence").notes == ()


def test_an_output_that_cannot_be_written_is_refused_before_the_network_runs(
    drive: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    arguments = ["--model", "no.onnx", "--data", str(drive["data"]), "-o"]
    for output, reason in {str(tmp_path / "file"): "cannot write", "s3://b/o": "address"}.items():
        result = CliRunner().invoke(command, [*arguments, output])
        assert reason in str(result.exception)


def test_what_cannot_be_ranked_is_refused(world: dict[str, Any], tmp_path: Path) -> None:
    given = {"model": world["model"], "data": world["data"]}
    with pytest.raises(UsageError, match=r"score must be one of easy:entropy, .* not 'ds'"):
        rank_label_errors(**given, score="ds")
    plain = save_model(tmp_path / "plain.onnx", props=metadata(difficulty_head=None))
    with pytest.raises(UsageError, match="has no difficulty: give --difficulty-head"):
        rank_label_errors(plain, world["data"], score="easy:difficulty")
    with pytest.raises(UsageError, match="--difficulty-head changes nothing: give --score"):
        rank_label_errors(**given, difficulty_head="head.json")
    write_labeled(tmp_path / "void", "test", [(scenes(1)[0], np.full(SIZE, 255))])
    with pytest.raises(PoolError, match="has no labeled pixel"):
        rank_label_errors(world["model"], tmp_path / "void")
    result = CliRunner().invoke(
        command, ["--model", str(plain), "--data", str(world["data"]), "--previews", "3"]
    )
    assert "--previews needs --output DIR" in str(result.exception)


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two scenes of 8 frames each, one pixel apart; a class is wrong, ever more of it."""
    folder = tmp_path_factory.mktemp("drive")
    model = save_model(folder / "model.onnx", gain=0.05, props=metadata(difficulty_head=None))
    frames = [np.roll(scene, shift, axis=1) for scene in scenes(2) for shift in range(8)]
    labels = predictions(model, frames)
    for number, label in enumerate(labels):
        wrong = label[: 4 + (number % 8) + 16 * (number < 8)]
        wrong[:] = (wrong + 1) % 5
    write_labeled(folder / "data", "test", zip(frames, labels, strict=True), prefix="f")
    return {"model": model, "data": folder / "data"}


def numbers(drive: dict[str, Any], **options: Any) -> list[int]:
    doubts = rank_label_errors(**drive, score="disagreement", **options)
    return [int(label.id[-7:-4]) for label in doubts.labels]


def test_a_budget_is_spread_over_the_drive_as_picks_are(drive: dict[str, Any]) -> None:
    alone = numbers(drive, budget=4, spread="off", near_duplicates="off")
    assert alone == [7, 6, 5, 4]
    assert numbers(drive)[:4] == alone
    apart = numbers(drive, budget="25%", spread="4f", near_duplicates="off")
    assert apart == [7, 3, 15, 11]
    assert numbers(drive, budget=2, near_duplicates="auto")[1] != 6
    assert {number < 8 for number in numbers(drive, budget=2, spread="off", diverse=8)} == {
        True,
        False,
    }


def test_cells_of_neighbouring_frames_keep_apart_where_a_gap_is_given(
    drive: dict[str, Any],
) -> None:
    alone = rank_label_errors(**drive, score="disagreement", cell=CELL, budget=8)
    assert {label.id[-7:-4] for label in alone.labels} <= {f"{n:03}" for n in range(8)}
    apart = rank_label_errors(**drive, score="disagreement", cell=CELL, budget=8, spread="8f")
    frames = sorted({int(label.id[-7:-4]) for label in apart.labels})
    assert len(frames) == 2
    assert frames[1] - frames[0] >= 8
    assert "spread by 8 frames within 1 sequence" in apart.heading


def test_rules_that_do_not_fit_are_refused_before_the_network_runs(drive: dict[str, Any]) -> None:
    def refused(**options: Any) -> None:
        rank_label_errors("no.onnx", drive["data"], **options)

    with pytest.raises(UsageError, match="give a number of labels or a percentage"):
        refused(budget="2GB")
    with pytest.raises(UsageError, match="spread needs a budget"):
        refused(spread="4f")
    with pytest.raises(UsageError, match="diverse compares features of images"):
        refused(cell=8, budget=4, diverse=3)
    with pytest.raises(UsageError, match=r"budget regions:4 counts cells, .* give --cell"):
        refused(budget="regions:4")
    for rule in ("spread", "min_gap"):
        with pytest.raises(UsageError, match=f"{rule} 2s: labeled images have no times; .* 30f"):
            refused(budget=4, **{rule: "2s"})
    with pytest.raises(ResultsError, match="16 of 16 rows have no sequence; give --sequence-from"):
        refused(min_gap="4f")
    assert numbers(drive, min_gap="4f", sequence_from="(f)_") == [7, 3, 15, 11]
