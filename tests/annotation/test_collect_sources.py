"""Exports of several jobs, without tasks, and of VOC."""

from __future__ import annotations

import csv
import io
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import deal
from deal.annotation import cvat
from deal.errors import PoolError
from tests.helpers.annotation import pictures, zipped
from tests.helpers.models import CLASSES, scenes
from tests.helpers.runs import SIZE, write_pool
from tests.helpers.tool_exports import (
    VOID,
    box,
    document,
    from_cvat,
    from_voc,
    image,
    kinds,
    labels_of,
    task_rows,
)


def test_exports_of_several_jobs_are_collected_together(tasks, tmp_path):
    files = [row["file"] for row in task_rows(tasks)]
    (tmp_path / "jobs").mkdir()
    for number in range(0, 6, 2):
        shapes = [image(file, box("car", 0, 0, 9, 9)) for file in files[number : number + 2]]
        zipped(tmp_path / "jobs" / f"{number}.zip", {"annotations.xml": document(*shapes)})
    found = deal.collect(tmp_path / "jobs", from_="cvat", output=tmp_path / "a", tasks=tasks)
    assert (found.count, found.problems) == (6, ())
    several = sorted((tmp_path / "jobs").iterdir())
    assert deal.collect(several, from_="cvat", output=tmp_path / "b", tasks=tasks).count == 6


def test_without_tasks_the_export_brings_its_images_and_classes(tmp_path):
    files: dict[str, bytes | str] = {}
    for name, pixels in zip(("a/x.png", "b/x.png", "y.png"), scenes(3, SIZE), strict=True):
        data = io.BytesIO()
        Image.fromarray(pixels).save(data, format="PNG")
        files[f"images/{name}"] = data.getvalue()
    shapes = [image(name, box("b", 0, 0, 9, 9)) for name in ("a/x.png", "b/x.png", "y.png")]
    files["annotations.xml"] = document(*shapes, labels=("a", "b"))
    export = zipped(tmp_path / "export.zip", files)
    found = deal.collect(export, from_="cvat", output=tmp_path / "l")
    assert (found.count, found.classes) == (3, ("a", "b"))
    assert labels_of(tmp_path / "l").keys() == {"a/x.png", "b/x.png", "y.png"}
    with (tmp_path / "l" / "labeled.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        shown = (tmp_path / "l" / row["split"] / "images" / row["image"]).read_bytes()
        assert shown == files[f"images/{row['id']}"]
    zipped(tmp_path / "bare.zip", {"annotations.xml": files["annotations.xml"]})
    with pytest.raises(PoolError, match="name its folder with --images"):
        deal.collect(tmp_path / "bare.zip", from_="cvat", output=tmp_path / "m")
    with zipfile.ZipFile(export) as archive:
        archive.extractall(tmp_path / "unpacked")
    found = deal.collect(
        tmp_path / "bare.zip",
        from_="cvat",
        output=tmp_path / "m",
        images=tmp_path / "unpacked" / "images",
    )
    assert found.count == 3


def test_masks_of_voc_may_have_palettes_or_indices_and_background_may_be_a_class(tmp_path):
    write_pool(tmp_path / "images", 3)
    labels = np.zeros(SIZE, np.uint8)
    labels[:5] = 1
    labels[5:9] = 2
    files: dict[str, bytes | str] = {"x/labelmap.txt": "background:0,0,0::\na:9,8,7::\nb:1,2,3::\n"}
    grey, palette = Image.fromarray(labels), Image.fromarray(labels).convert("P")
    palette.putpalette([0, 0, 0, 9, 8, 7, 1, 2, 3])
    strange = Image.new("RGB", SIZE[::-1], (9, 8, 7))
    strange.paste((200, 0, 0), (0, 0, 4, 4))
    for name, picture in (("000", grey), ("001", palette), ("002", strange)):
        data = io.BytesIO()
        picture.save(data, format="PNG")
        files[f"x/SegmentationClass/{name}.png"] = data.getvalue()
    export = zipped(tmp_path / "voc.zip", files)
    found = deal.collect(export, from_="voc", output=tmp_path / "l", images=tmp_path / "images")
    assert found.classes == ("a", "b")
    given = labels_of(tmp_path / "l")
    for name in ("000.png", "001.png"):
        assert (given[name] == np.where(labels == 0, VOID, labels - 1)).all()
    assert kinds(found) == [("shape", "002.png")]
    assert "16 pixel(s) of a color that labelmap.txt lacks: 200,0,0" in found.problems[0].text
    assert (given["002.png"][:4, :4] == VOID).all()


def test_background_that_the_model_knows_is_a_class(pool, tmp_path):
    from tests.helpers.models import metadata, save_model

    props = metadata(classes=["background", "a", "b", "c", "d"])
    model = save_model(tmp_path / "m.onnx", exact=True, props=props)
    deal.score_pool(pool, model=model, output=tmp_path / "out")
    tasks = deal.annotate(tmp_path / "out", to="masks", output=tmp_path / "tasks").output
    (first, *_) = task_rows(tasks)
    labels = np.zeros((*SIZE, 3), np.uint8)
    labels[:3] = 9
    data = io.BytesIO()
    Image.fromarray(labels).save(data, format="PNG")
    files: dict[str, bytes | str] = {
        "labelmap.txt": "background:0,0,0::\na:9,9,9::\n",
        f"SegmentationClass/{Path(first['file']).stem}.png": data.getvalue(),
    }
    export = zipped(tmp_path / "voc.zip", files)
    deal.collect(export, from_="voc", output=tmp_path / "l", tasks=tasks, val=0.0)
    (path,) = (tmp_path / "l").glob("train/labels/*")
    label = np.asarray(Image.open(path))
    assert Counter(label.ravel().tolist()) == {0: 21 * 32, 1: 3 * 32}


@pytest.mark.parametrize("count", [255, 256])
def test_more_classes_than_labels_hold_are_refused(tmp_path, count):
    write_pool(tmp_path / "images", 1)
    names = [f"c{number}" for number in range(count)]
    text = document(image("000.png", box("c254", 0, 0, 9, 9)), labels=tuple(names))
    (tmp_path / "a.xml").write_bytes(text)
    call: Callable[[], Any] = lambda: deal.collect(  # noqa: E731
        tmp_path / "a.xml", from_="cvat", output=tmp_path / "l", images=tmp_path / "images"
    )
    if count > VOID:
        with pytest.raises(PoolError, match="256 classes are too many for 8-bit labels"):
            call()
    else:
        assert len(call().classes) == VOID


def test_pictures_of_cvat_may_lie_in_folders_of_the_server(tasks, tmp_path):
    (first, *_) = task_rows(tasks)
    (picture,) = pictures([np.ones(SIZE, np.uint8)])
    text = "".join(cvat.document([picture], CLASSES)).replace(picture.file, f"job/{first['file']}")
    (tmp_path / "a.xml").write_text(text)
    found = deal.collect(tmp_path / "a.xml", from_="cvat", output=tmp_path / "l", tasks=tasks)
    assert found.count == 1


@pytest.mark.parametrize(
    ("to", "from_", "exported"), [("cvat", "cvat", from_cvat), ("masks", "voc", from_voc)]
)
def test_an_export_may_be_unpacked(out, tmp_path, to, from_, exported):
    folder = deal.annotate(out, to=to, output=tmp_path / to).output
    path = exported(folder, tmp_path)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "unpacked" / "deeper")
    found = deal.collect(tmp_path / "unpacked", from_=from_, output=tmp_path / "l", tasks=folder)
    assert (found.count, found.problems) == (6, ())
