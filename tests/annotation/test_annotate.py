"""``deal.annotate``: a selection becomes a folder of tasks."""

from __future__ import annotations

import csv
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

import deal
from deal.annotation.pictures import Maker
from deal.errors import OutputError, ResultsError, UsageError
from deal.pool.decode import decode_bytes
from deal.results.maps import map_path
from deal.run.reopen import reopen
from deal.run.storing import store_maps
from tests.helpers.models import CLASSES, metadata, save_model
from tests.helpers.runs import SIZE
from tests.helpers.tool_exports import label_maps, predicted, task_rows

FORMATS = ("cvat", "label-studio", "coco", "masks", "fiftyone", "lightly")


@pytest.mark.parametrize("to", FORMATS)
def test_images_and_predictions_are_written_in_rank_order(out, pool, model, tmp_path, to):
    ids = deal.select(out).ids
    found = deal.annotate(out, to=to, output=tmp_path / "tasks")
    folder = tmp_path / "tasks"
    assert (found.count, found.left_out, found.notes) == (len(ids), (), ())
    assert [row["id"] for row in task_rows(folder)] == list(ids)
    names = sorted(path.name for path in (folder / "images").iterdir())
    assert names == [row["file"] for row in task_rows(folder)]
    for item_id, name, labels in zip(ids, names, label_maps(folder, to), strict=True):
        assert (folder / "images" / name).read_bytes() == (pool / item_id).read_bytes()
        assert (labels == predicted(model, pool / item_id)).all()
    readme = (folder / "README.txt").read_text()
    assert found.command in readme


def test_difficulty_lies_beside_the_masks(out, pool, model, tmp_path):
    deal.annotate(out, to="masks", output=tmp_path / "tasks")
    (first, *_) = task_rows(tmp_path / "tasks")
    with deal.Scorer(model) as scorer:
        image = decode_bytes((pool / first["id"]).read_bytes()).image
        (difficulty,) = scorer.difficulty_maps([image])
    heat = np.asarray(Image.open(tmp_path / "tasks" / "difficulty" / first["mask"]))
    assert np.abs(heat.astype(float) - 255 * difficulty).max() <= 0.51


@pytest.mark.parametrize("to", ["label-studio", "coco", "masks"])
def test_batches_are_folders(out, tmp_path, to):
    deal.annotate(out, to=to, output=tmp_path / "tasks", batch=4)
    folders = [path.name for path in sorted((tmp_path / "tasks").iterdir()) if path.is_dir()]
    assert folders == ["batch-001", "batch-002"]
    for row in task_rows(tmp_path / "tasks"):
        assert row["folder"] == f"batch-00{row['batch']}"
        assert (tmp_path / "tasks" / row["folder"] / "images" / row["file"]).is_file()
    assert [row["batch"] for row in task_rows(tmp_path / "tasks")] == list("111122")


def test_images_alone_need_no_model(out, model, tmp_path):
    kept = model.read_bytes()
    model.unlink()
    try:
        with pytest.raises(ResultsError, match="give the same model as --model FILE"):
            deal.annotate(out, to="cvat", output=tmp_path / "tasks")
        assert not (tmp_path / "tasks").exists()
        found = deal.annotate(out, to="cvat", output=tmp_path / "tasks", predictions=False)
    finally:
        model.write_bytes(kept)
    assert found.count == 6
    assert "annotation_path" not in found.command
    assert list(label_maps(tmp_path / "tasks", "cvat")) == [None] * 6


def test_a_folder_that_holds_something_is_refused_and_ours_replaced_on_demand(out, tmp_path):
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match=r"not written by deal annotate \(mine.txt"):
            deal.annotate(out, to="cvat", output=folder, overwrite=overwrite)
    (folder / "mine.txt").unlink()
    deal.annotate(out, to="coco", output=folder, batch=2)
    with pytest.raises(OutputError, match="use --overwrite to replace them"):
        deal.annotate(out, to="cvat", output=folder)
    (folder / "export.zip").write_text("drawn by people")
    (folder / "batch-001" / "images" / "2024_mine.jpg").write_text("mine")
    (out / "picked.csv").write_text(f"id\n{deal.select(out).ids[3]}\n")
    deal.annotate(
        out, to="cvat", output=folder, overwrite=True, selection=out / "picked.csv", batch=2
    )
    left = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    (picture,) = (row["file"] for row in task_rows(folder))
    assert left == sorted(
        [
            *("README.txt", "annotate.json", "annotations.xml", "classes.json", "labels.json"),
            *("batch-001/images/2024_mine.jpg", "export.zip", "tasks.csv", f"images/{picture}"),
        ]
    )


def test_an_interrupted_run_leaves_no_half_of_a_document(out, tmp_path, monkeypatch):
    made = Maker._picture
    count = 0

    def interrupted(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return made(*arguments)

    monkeypatch.setattr(Maker, "_picture", interrupted)
    with pytest.raises(KeyboardInterrupt):
        deal.annotate(out, to="cvat", output=tmp_path / "tasks")
    left = sorted(path.name for path in (tmp_path / "tasks").iterdir())
    assert left == ["annotate.json", "images"]
    found = deal.annotate(out, to="cvat", output=tmp_path / "tasks", overwrite=True)
    assert found.count == 6


def test_a_list_of_picks_needs_only_ids(out, tmp_path):
    ids = deal.select(out).ids
    picked = tmp_path / "picked.csv"
    picked.write_text(f"id,note\n{ids[4]},x\n{ids[1]},\nnone.jpg,\n{ids[4]},again\n")
    found = deal.annotate(out, to="coco", output=tmp_path / "tasks", selection=picked)
    assert [row["id"] for row in task_rows(tmp_path / "tasks")] == [ids[4], ids[1], "none.jpg"]
    assert found.left_out == ("none.jpg: it is not among the results",)
    selection = (out / "selection.csv").read_text()
    known = {row["id"]: row["score"] for row in csv.DictReader(selection.splitlines())}
    scores = {row["id"]: row["score"] for row in task_rows(tmp_path / "tasks")}
    assert scores == {ids[4]: known[ids[4]], ids[1]: known[ids[1]], "none.jpg": ""}
    assert found.notes == (f"{ids[4]} is in picked.csv more than once: the first counts",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name\na\n", "has no column id"),
        ("id\n", "names no image"),
        ("id,score\na,b\n", "score 'b' is not a number"),
        ("id,region\na,b\n", "region 'b' is not a number"),
        ("id,x\n,1\n", "the id is empty"),
        ("id\nnone.jpg\n", "holds none of the images of the selection"),
        (None, "No such file or directory; give a selection.csv"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_before_anything_is_written(
    out, tmp_path, text, words
):
    picked = tmp_path / "picked.csv"
    if text is not None:
        picked.write_text(text)
    with pytest.raises((UsageError, ResultsError), match=words):
        deal.annotate(out, to="coco", output=tmp_path / "tasks", selection=picked)
    assert not (tmp_path / "tasks").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"to": "paint"}, "to 'paint': choose one of cvat, label-studio"),
        ({"shape": "box"}, "shape 'box': choose one of mask, polygon"),
        ({"to": "masks", "shape": "polygon"}, "masks takes masks only"),
        ({"to": "label-studio", "images": "none"}, "say where the images are with image_url"),
        ({"to": "fiftyone", "image_url": "s3://a"}, "fiftyone opens files only"),
        ({"to": "lightly", "images": "none"}, "use copy or link"),
        ({"tolerance": float("nan")}, "tolerance nan: a number from 0 on is needed"),
        ({"batch": 0}, "batch 0: a number from 1 on is needed"),
    ],
)
def test_options_that_do_not_go_together_are_refused(out, tmp_path, options, words):
    with pytest.raises(UsageError, match=words):
        deal.annotate(out, **{"to": "cvat", "output": tmp_path / "tasks", **options})
    assert not (tmp_path / "tasks").exists()


def test_polygons_and_small_areas(out, pool, model, tmp_path):
    deal.annotate(
        out, to="cvat", output=tmp_path / "tasks", shape="polygon", tolerance=0.0, min_area=5
    )
    maps = label_maps(tmp_path / "tasks", "cvat")
    for row, labels in zip(task_rows(tmp_path / "tasks"), maps, strict=True):
        whole = predicted(model, pool / row["id"])
        assert ((labels == whole) | (labels == 0)).all()
        assert 0.5 < (labels == whole).mean() < 1


def test_masks_of_a_model_without_difficulty_come_with_their_entropy(pool, tmp_path):
    from tests.helpers.models import metadata, save_model

    props = metadata(difficulty_head=None)
    model = save_model(tmp_path / "plain.onnx", exact=True, props=props)
    deal.score_pool(pool, model=model, output=tmp_path / "out", acquisition="entropy")
    deal.annotate(tmp_path / "out", to="fiftyone", output=tmp_path / "tasks")
    assert len(list((tmp_path / "tasks" / "entropy").iterdir())) == 6
    assert not (tmp_path / "tasks" / "difficulty").exists()


def test_progress_is_told(out, tmp_path):
    seen: list[tuple[int, int]] = []
    deal.annotate(
        out, to="coco", output=tmp_path / "tasks", progress=lambda *done: seen.append(done)
    )
    assert seen == [(number, 6) for number in range(1, 7)]


def test_stored_maps_spare_the_network(out, pool, model, tmp_path):
    deal.annotate(out, to="masks", output=tmp_path / "a")
    first = deal.select(out).ids[0]
    with reopen(out) as session:
        store_maps(out, session)
    kept = model.read_bytes()
    model.unlink()
    try:
        deal.annotate(out, to="masks", output=tmp_path / "b")
        map_path(out, "classes", first).unlink()
        with pytest.raises(ResultsError, match="give the same model as --model FILE"):
            deal.annotate(out, to="masks", output=tmp_path / "c")
    finally:
        model.write_bytes(kept)
    for path in (tmp_path / "a").glob("*/*.png"):
        there = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert (np.asarray(Image.open(path)) == np.asarray(Image.open(there))).all()
    (tmp_path / "picked.csv").write_text(f"id\n{first}\n")
    Image.new("RGB", SIZE[::-1], (200, 9, 9)).save(pool / first)  # of which no maps are stored
    deal.score_pool(pool, model=model, output=out)
    deal.annotate(out, to="masks", output=tmp_path / "d", selection=tmp_path / "picked.csv")
    (mask,) = (tmp_path / "d" / "masks").iterdir()
    assert (np.asarray(Image.open(mask)) == predicted(model, pool / first)).all()


def test_masked_pixels_have_no_label_and_come_back_as_void(pool, model, tmp_path):
    hood = np.full(SIZE, 255, np.uint8)
    hood[-6:] = 0
    Image.fromarray(hood).save(tmp_path / "hood.png")
    deal.score_pool(pool, model=model, output=tmp_path / "out", mask=tmp_path / "hood.png")
    (tmp_path / "hood.png").unlink()  # the results keep it
    for to in ("cvat", "label-studio", "coco", "masks"):
        deal.annotate(tmp_path / "out", to=to, output=tmp_path / to)
        for labels in label_maps(tmp_path / to, to):
            assert ((labels == 0) == (hood == 0)).all()
    found = deal.collect(
        tmp_path / "cvat" / "annotations.xml",
        from_="cvat",
        output=tmp_path / "l",
        tasks=tmp_path / "cvat",
    )
    assert found.complete
    for path in (tmp_path / "l").glob("*/labels/*"):
        assert ((np.asarray(Image.open(path)) == 255) == (hood == 0)).all()


@pytest.mark.parametrize("how", ["model", "stored", "none", "elsewhere"])
def test_classes_have_the_colours_of_the_model_whatever_predicts(pool, tmp_path, monkeypatch, how):
    colours = [[10 * number, 200, 7] for number in range(len(CLASSES))]
    save_model(tmp_path / "m.onnx", exact=True, props=metadata(palette=colours))
    monkeypatch.chdir(tmp_path)
    stored = "selected" if how in ("stored", "elsewhere") else "none"
    deal.score_pool(pool, model="m.onnx", output="out", budget=2, store_maps=stored)
    if how == "elsewhere":
        (tmp_path / "sub").mkdir()
        monkeypatch.chdir(tmp_path / "sub")
    out = tmp_path / "out"
    folder = deal.annotate(out, to="coco", output=tmp_path / "t", predictions=how != "none").output
    assert json.loads((folder / "classes.json").read_bytes())["palette"] == colours
