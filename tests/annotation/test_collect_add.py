"""What ``deal.collect`` adds to a data set, and what stays as it was."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from PIL import Image

import deal
from deal.errors import OutputError
from deal.machine.files import hold
from tests.helpers.annotation import zipped
from tests.helpers.models import CLASSES
from tests.helpers.runs import SIZE
from tests.helpers.tool_exports import box, document, image, kinds, labels_of, task_rows


def with_images(path: Path, greys: dict[str, int], label: str = "car") -> Path:
    """An export of CVAT with its images, each of one grey."""
    files: dict[str, bytes | str] = {}
    for name, grey in greys.items():
        data = io.BytesIO()
        Image.new("RGB", SIZE[::-1], (grey, grey, grey)).save(data, format="PNG")
        files[f"images/{name}"] = data.getvalue()
    shapes = [image(name, box(label, 0, 0, 9, 9)) for name in greys]
    files["annotations.xml"] = document(*shapes, labels=("car", "sky"))
    return zipped(path, files)


def images_of(folder: Path) -> dict[str, tuple[str, int]]:
    """Split and grey by id."""
    found = {}
    with (folder / "labeled.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            with Image.open(folder / row["split"] / "images" / row["image"]) as shown:
                found[row["id"]] = row["split"], shown.convert("L").getpixel((0, 0))
    return found


def test_an_image_that_is_there_never_changes_its_split(tmp_path):
    first = with_images(tmp_path / "a.zip", dict.fromkeys(["a.png", "b.png", "c.png"], 9))
    second = with_images(tmp_path / "b.zip", {"h.png": 9})
    deal.collect(first, from_="cvat", output=tmp_path / "l", val=0)
    before = images_of(tmp_path / "l")
    found = deal.collect(second, from_="cvat", output=tmp_path / "l", add=True)
    assert found.splits == {"train": 3, "val": 1}  # the new one, without which val has none
    assert before.items() <= images_of(tmp_path / "l").items()
    again = deal.collect(first, from_="cvat", output=tmp_path / "m", val=0)
    again = deal.collect(first, from_="cvat", output=tmp_path / "m", add=True)
    assert again.splits == {"train": 3, "val": 0}


def test_another_image_of_the_same_name_does_not_replace_the_first(tmp_path):
    first = with_images(tmp_path / "a.zip", {"0001.png": 10, "0002.png": 20})
    second = with_images(tmp_path / "b.zip", {"0001.png": 66, "0003.png": 30}, "sky")
    deal.collect(first, from_="cvat", output=tmp_path / "l")
    found = deal.collect(second, from_="cvat", output=tmp_path / "l", add=True)
    assert kinds(found) == [("conflict", "0001.png")]
    assert not found.complete
    greys = {name: grey for name, (_, grey) in images_of(tmp_path / "l").items()}
    assert greys == {"0001.png": 10, "0002.png": 20, "0003.png": 30}
    lowest = {name: int(label.min()) for name, label in labels_of(tmp_path / "l").items()}
    assert lowest == {"0001.png": 0, "0002.png": 0, "0003.png": 1}
    together = deal.collect([first, second], from_="cvat", output=tmp_path / "m")
    assert kinds(together) == [("conflict", "0001.png")]


def test_corrected_labels_of_an_image_replace_the_earlier_ones_whatever_its_file(tmp_path):
    first = with_images(tmp_path / "a.zip", {"1.png": 10, "2.png": 20})
    deal.collect(first, from_="cvat", output=tmp_path / "l")
    (tmp_path / "images").mkdir()
    Image.new("L", SIZE[::-1], 10).save(tmp_path / "images" / "1.png")  # the same in other bytes
    for name, label in (("b.zip", "sky"), ("c.zip", "car")):
        export = with_images(tmp_path / name, {"1.png": 10}, label)
        images = None if label == "car" else tmp_path / "images"
        found = deal.collect(export, from_="cvat", output=tmp_path / "l", images=images, add=True)
        assert (found.count, found.problems) == (1, ())
        assert labels_of(tmp_path / "l")["1.png"].min() == ["car", "sky"].index(label)


def test_an_image_that_is_damaged_or_gone_is_replaced(tmp_path):
    export = with_images(tmp_path / "a.zip", {"1.png": 10})
    deal.collect(export, from_="cvat", output=tmp_path / "l", val=0)
    (stored,) = (tmp_path / "l").glob("train/images/*")
    for damage in (lambda: stored.write_bytes(b"cut"), stored.unlink):
        damage()
        found = deal.collect(export, from_="cvat", output=tmp_path / "l", val=0, add=True)
        assert (found.count, images_of(tmp_path / "l")) == (1, {"1.png": ("train", 10)})


def test_two_processes_do_not_add_at_once(tmp_path):
    first = with_images(tmp_path / "a.zip", {"1.png": 10})
    second = with_images(tmp_path / "b.zip", {"2.png": 20})
    deal.collect(first, from_="cvat", output=tmp_path / "l")
    with (
        hold(tmp_path / "l", wait=False),
        pytest.raises(OutputError, match=r"another process adds to .*: wait for it, or choose"),
    ):
        deal.collect(second, from_="cvat", output=tmp_path / "l", add=True)
    assert images_of(tmp_path / "l").keys() == {"1.png"}
    for _ in range(2):  # whoever has added lets the next one in
        deal.collect(second, from_="cvat", output=tmp_path / "l", add=True)
    assert images_of(tmp_path / "l").keys() == {"1.png", "2.png"}


def test_what_an_earlier_round_labeled_is_not_missing(tasks, tmp_path):
    rows = task_rows(tasks)
    for name, row in zip("ab", rows, strict=False):
        shape = image(row["file"], box("car", 0, 0, 9, 9))
        (tmp_path / f"{name}.xml").write_bytes(document(shape, image(rows[2]["file"])))
    where = {"from_": "cvat", "output": tmp_path / "l", "tasks": tasks}
    ids = [row["id"] for row in rows]
    found = deal.collect(tmp_path / "a.xml", **where)
    assert kinds(found) == [("missing", item_id) for item_id in ids[1:]]
    found = deal.collect(tmp_path / "b.xml", **where, add=True)
    assert kinds(found) == [("missing", item_id) for item_id in ids[2:]]


def test_regions_are_missing_until_they_are_labeled(pool, model, tmp_path):
    out = tmp_path / "out"
    deal.score_pool(pool, model=model, output=out, regions="grid:12", budget="regions:4")
    tasks = deal.annotate(out, to="cvat", output=tmp_path / "tasks").output
    rows = task_rows(tasks)
    where = {"from_": "cvat", "output": tmp_path / "l", "tasks": tasks}
    for number, row in enumerate(rows):
        size = int(row["height"]), int(row["width"])
        shape = image(row["file"], box("car", 0, 0, 9, 9), size=size)
        (tmp_path / "a.xml").write_bytes(document(shape))
        found = deal.collect(tmp_path / "a.xml", **where, add=number > 0)
        assert kinds(found) == [("missing", row["id"]) for row in rows[number + 1 :]]


def test_classes_that_were_there_keep_their_numbers_where_the_tasks_have_another_order(
    tasks, pool, tmp_path
):
    first, second, *_ = task_rows(tasks)
    for row, name in ((first, first["id"]), (second, second["file"])):
        shapes = [box("sky", 0, 0, 9, 9), box("pole", 10, 10, 19, 19)]
        text = document(image(name, *shapes), labels=("pole", "sky"))
        (tmp_path / f"{row['rank']}.xml").write_bytes(text)
    deal.collect(tmp_path / "1.xml", from_="cvat", output=tmp_path / "l", images=pool)
    found = deal.collect(
        tmp_path / "2.xml", from_="cvat", output=tmp_path / "l", tasks=tasks, add=True
    )
    rest = tuple(name for name in CLASSES if name not in ("pole", "sky"))
    assert found.classes == ("pole", "sky", *rest)
    one, other = (labels_of(tmp_path / "l")[row["id"]] for row in (first, second))
    assert (one == other).all()
    assert [int(one[0, 0]), int(one[11, 11])] == [1, 0]
    described = json.loads((tmp_path / "l" / "classes.json").read_text())
    known = json.loads((tasks / "classes.json").read_text())
    colours = dict(zip(known["classes"], known["palette"], strict=True))
    assert described["palette"] == [colours[name] for name in found.classes]
