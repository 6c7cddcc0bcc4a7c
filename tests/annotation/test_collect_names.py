"""Which image an export means, and where what is collected goes."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import deal
from deal.annotation import label_studio
from deal.annotation.names import Names
from tests.helpers.annotation import legend, zipped
from tests.helpers.models import scenes
from tests.helpers.runs import SIZE
from tests.helpers.tool_exports import (
    box,
    document,
    from_cvat,
    from_label_studio,
    image,
    kinds,
    labels_of,
)


def ids_of(folder: Path) -> set[str]:
    with (folder / "labeled.csv").open(newline="") as file:
        return {row["id"] for row in csv.DictReader(file)}


FRAMES = ("a/001.jpg", "b/001.jpg", "b/002.png")


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """Folders of frames that count from one each, as cameras write them."""
    for name, pixels in zip(FRAMES, scenes(3, SIZE), strict=True):
        path = tmp_path / "frames" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return tmp_path / "frames"


def voc(folder: Path, names: tuple[str, ...]) -> Path:
    """Masks of VOC: as many rows of class ``a`` as the mask's place from 1, ``b``, background."""
    files: dict[str, bytes | str] = {"labelmap.txt": "background:0,0,0::\na:1,1,1::\nb:2,2,2::\n"}
    for number, name in enumerate(names, 1):
        labels = np.full(SIZE, 2, np.uint8)
        labels[:number], labels[-1] = 1, 0
        data = io.BytesIO()
        Image.fromarray(labels).save(data, format="PNG")
        files[f"SegmentationClass/{Path(name).with_suffix('.png')}"] = data.getvalue()
    return zipped(folder / "voc.zip", files)


def test_masks_of_voc_find_their_images_by_folder_whatever_their_ending(frames, tmp_path):
    found = deal.collect(voc(tmp_path, FRAMES), from_="voc", output=tmp_path / "l", images=frames)
    assert (found.count, found.problems) == (3, ())
    given = labels_of(tmp_path / "l")
    assert [int((given[name] == 0).sum()) // SIZE[1] for name in FRAMES] == [1, 2, 3]


def test_masks_of_voc_find_tasks_that_are_named_by_their_ids(frames, model, tmp_path):
    deal.score_pool(frames, model=model, output=tmp_path / "out")
    tasks = deal.annotate(tmp_path / "out", to="cvat", output=tmp_path / "t", images="none").output
    export = voc(tmp_path, FRAMES)
    found = deal.collect(export, from_="voc", output=tmp_path / "l", tasks=tasks, class_map=AB)
    assert (found.count, found.problems) == (3, ())
    assert labels_of(tmp_path / "l").keys() == set(FRAMES)


AB = {"a": "a", "b": "b"}


def test_a_name_that_several_images_have_is_reported_and_not_guessed(frames, tmp_path):
    export = voc(tmp_path, ("001", "b/002"))
    found = deal.collect(export, from_="voc", output=tmp_path / "l", images=frames)
    assert (found.count, kinds(found)) == (1, [("unreadable", "001")])
    assert "2 images have this name (a/001.jpg, b/001.jpg)" in found.problems[0].text


def test_an_image_of_another_folder_is_not_taken(frames, tmp_path):
    (frames / "a" / "001.jpg").unlink()
    text = document(*(image(name, box("car", 0, 0, 9, 9)) for name in FRAMES))
    (tmp_path / "a.xml").write_bytes(text)
    found = deal.collect(tmp_path / "a.xml", from_="cvat", output=tmp_path / "l", images=frames)
    assert (found.count, kinds(found)) == (2, [("unreadable", "a/001.jpg")])
    assert f"no image in {frames} has this name" in found.problems[0].text


def test_a_file_of_the_bare_name_is_not_preferred_to_one_of_the_folder(frames, tmp_path):
    (frames / "001.jpg").write_bytes((frames / "b" / "001.jpg").read_bytes())
    (frames / "set").mkdir()
    (frames / "a").rename(frames / "set" / "a")
    text = document(*(image(name, box("car", 0, 0, 9, 9)) for name in ("a/001.jpg", "b/002.png")))
    (tmp_path / "a.xml").write_bytes(text)
    found = deal.collect(tmp_path / "a.xml", from_="cvat", output=tmp_path / "l", images=frames)
    assert (found.count, kinds(found)) == (1, [("unreadable", "a/001.jpg")])
    assert "2 images have this name (001.jpg, set/a/001.jpg)" in found.problems[0].text


def test_an_image_that_two_names_would_have_is_given_to_none(frames, tmp_path):
    names = ("a/001.jpg", "b/001.jpg", "b/002.png", "a/001.jpg")
    for number, name in enumerate(names):
        text = document(image(name, box("car", 0, 0, 9, 9)))
        (tmp_path / f"{number}.xml").write_bytes(text)
    exports = [tmp_path / f"{number}.xml" for number in range(len(names))]
    where = {"from_": "cvat", "output": tmp_path / "l", "images": frames / "b"}
    found = deal.collect(exports, **where)
    assert set(kinds(found)) == {("unreadable", "a/001.jpg"), ("unreadable", "b/001.jpg")}
    assert "name with --images a folder that has an image for each" in found.problems[0].text
    assert (found.count, ids_of(tmp_path / "l")) == (1, {"b/002.png"})
    assert len(list((tmp_path / "l").glob("*/*/*"))) == 2
    deal.collect(exports[1], **where, add=True)  # alone it is sure, and stays so
    found = deal.collect(exports[:3], **where, add=True)
    assert ("unreadable", "a/001.jpg") in kinds(found)
    assert ids_of(tmp_path / "l") == {"b/001.jpg", "b/002.png"}


def test_tasks_do_not_take_the_image_of_another_camera(frames, model, tmp_path):
    deal.score_pool(frames, model=model, output=tmp_path / "out")
    tasks = deal.annotate(tmp_path / "out", to="cvat", output=tmp_path / "t", images="none").output
    text = document(*(image(name, box("car", 0, 0, 9, 9)) for name in FRAMES))
    (tmp_path / "a.xml").write_bytes(text)
    where = {"from_": "cvat", "tasks": tasks}
    found = deal.collect(tmp_path / "a.xml", output=tmp_path / "l", images=frames / "b", **where)
    assert ids_of(tmp_path / "l") == {"b/002.png"}
    assert not found.complete
    found = deal.collect(tmp_path / "a.xml", output=tmp_path / "m", images=frames, **where)
    assert found.problems == ()


ODD = (b"K%C3%B6ln.png", "Köln.png".encode(), b"bad\xff.png")


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Names with percent signs, and one that is not UTF-8."""
    folder = tmp_path / "odd"
    folder.mkdir()
    for name, pixels in zip(ODD, scenes(3, SIZE), strict=True):
        Image.fromarray(pixels).save(folder / os.fsdecode(name))
    return folder


def test_images_of_a_pool_that_has_moved_are_found_whatever_their_names(odd, model, tmp_path):
    deal.score_pool(odd, model=model, output=tmp_path / "out")
    tasks = deal.annotate(tmp_path / "out", to="cvat", output=tmp_path / "t", images="link").output
    moved = odd.rename(tmp_path / "moved")
    export = from_cvat(tasks, tmp_path)
    found = deal.collect(export, from_="cvat", output=tmp_path / "l", tasks=tasks, images=moved)
    assert (found.count, found.problems) == (3, ())


def test_file_names_become_the_ids_that_a_pool_gives_them(odd, model, tmp_path):
    deal.score_pool(odd, model=model, output=tmp_path / "out")
    text = document(image("K%C3%B6ln.png", box("car", 0, 0, 9, 9)))
    (tmp_path / "a.xml").write_bytes(text)
    deal.collect(tmp_path / "a.xml", from_="cvat", output=tmp_path / "l", images=odd)
    assert ids_of(tmp_path / "l") == {"K%25C3%25B6ln.png"}
    left = deal.select(tmp_path / "out", exclude=tmp_path / "l" / "labeled.csv").ids
    assert set(left) == {"Köln.png", "bad%FF.png"}


def test_a_name_that_is_no_text_is_reported(frames, tmp_path):
    images = [{"id": 1, "file_name": "\ud800.jpg", "width": SIZE[1], "height": SIZE[0]}]
    images.append({**images[0], "id": 2, "file_name": "b/002.png"})
    shape = {"category_id": 1, "segmentation": [[0, 0, 9, 0, 9, 9]]}
    value = {
        "images": images,
        "categories": [{"id": 1, "name": "car"}],
        "annotations": [{**shape, "image_id": number} for number in (1, 2)],
    }
    (tmp_path / "a.json").write_text(json.dumps(value))
    found = deal.collect(tmp_path / "a.json", from_="coco", output=tmp_path / "l", images=frames)
    assert (found.count, [problem.kind for problem in found.problems]) == (1, ["unknown image"])
    assert "no valid text" in (tmp_path / "l" / "report.csv").read_text()


def test_ids_of_windows_paths_have_slashes(frames, tmp_path):
    text = document(image("b\\002.png", box("car", 0, 0, 9, 9)))
    (tmp_path / "a.xml").write_bytes(text)
    deal.collect(tmp_path / "a.xml", from_="cvat", output=tmp_path / "l", images=frames)
    assert ids_of(tmp_path / "l") == {"b/002.png"}


@pytest.mark.parametrize(
    ("known", "name", "found"),
    [
        (["a/x.jpg", "b/x.jpg"], "a/x.jpg", ["a/x.jpg"]),
        (["a/x.jpg", "b/x.jpg"], "job/a/x.jpg", ["a/x.jpg"]),
        (["a/x.jpg", "b/x.jpg"], "x.jpg", ["a/x.jpg", "b/x.jpg"]),
        (["a/x.jpg"], "b/x.jpg", []),
        (["a/x.jpg", "a/x.png"], "x.png", ["a/x.png"]),
        (["a/x.1.jpg", "a/x.2.jpg"], "a/x.2", ["a/x.2.jpg"]),
        (["a/x.jpg"], "a\\x.jpg", ["a/x.jpg"]),
        (["a/x.jpg"], "y.jpg", []),
    ],
)
def test_a_name_means_the_paths_that_end_as_it_does(known, name, found):
    assert Names((path, path) for path in known).find(name) == found


def test_frames_of_several_folders_stay_apart_in_label_studio():
    given = [
        "s3://bucket/a/001.jpg",
        "s3://bucket/b/001.jpg",
        "/data/local-files/?d=c/002.jpg",
        "/data/upload/1/0b1e2f3a-003.jpg",
        "s3://bucket/d/50%25 #1?.jpg",
    ]
    tasks = [{"data": {"image": name}, "annotations": []} for name in given]
    names = [drawn.name for drawn in label_studio.read(tasks, "", legend(("a", "b")))]
    assert names == ["a/001.jpg", "b/001.jpg", "002.jpg", "003.jpg", "50%25 #1?.jpg"]


@pytest.mark.parametrize("url", ["s3://bucket/pool", "https://host/pool"])
def test_ids_of_any_characters_come_back_from_label_studio(model, tmp_path, url):
    names = ("#1?a=b&c%20.png", "a/x.png", "b/x.png", "new\nline.png")
    for name, pixels in zip(names, scenes(4, SIZE), strict=True):
        path = tmp_path / "pool" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    deal.score_pool(tmp_path / "pool", model=model, output=tmp_path / "out")
    tasks = deal.annotate(
        tmp_path / "out", to="label-studio", output=tmp_path / "t", image_url=url
    ).output
    export = from_label_studio(tasks, tmp_path)
    found = deal.collect(export, from_="label-studio", output=tmp_path / "l", tasks=tasks)
    assert (found.count, found.problems) == (4, ())
    assert labels_of(tmp_path / "l").keys() == set(names)


@pytest.mark.parametrize("regions", ["crop", "image"])
def test_pictures_of_regions_are_never_taken_for_their_images(pool, model, tmp_path, regions):
    out = tmp_path / "out"
    deal.score_pool(pool, model=model, output=out, regions="grid:12", budget="regions:4")
    tasks = deal.annotate(out, to="label-studio", output=tmp_path / "t", regions=regions).output
    export = from_label_studio(tasks, tmp_path)
    found = deal.collect(
        export,
        from_="label-studio",
        output=tmp_path / "l",
        tasks=tasks,
        images=tasks / "images",
        class_map={},
    )
    assert found.problems == ()
    with (tmp_path / "l" / "labeled.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            taken = tmp_path / "l" / row["split"] / "images" / row["image"]
            assert taken.read_bytes() == (pool / row["id"]).read_bytes()


def test_a_map_holds_for_classes_that_were_collected_before(tmp_path):
    for number, pixels in enumerate(scenes(2, SIZE)):
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
        shapes = [box("truck", 0, 0, 9, 9), box("car", 9, 9, 20, 20)]
        text = document(image(f"{number}.png", *shapes), labels=("car", "truck"))
        (tmp_path / f"{number}.xml").write_bytes(text)
    where = {"from_": "cvat", "output": tmp_path / "l", "images": tmp_path / "images"}
    deal.collect(tmp_path / "0.xml", **where)
    merged = {"truck": "car"}
    found = deal.collect(tmp_path / "1.xml", **where, add=True, class_map=merged)
    assert (found.classes, found.notes) == (("car", "truck"), ())
    given = labels_of(tmp_path / "l")
    assert [sorted(set(given[name].ravel().tolist())) for name in ("0.png", "1.png")] == [
        [0, 1, 255],
        [0, 255],
    ]


def test_background_of_voc_becomes_a_class_where_the_map_names_it(frames, tmp_path):
    found = deal.collect(
        voc(tmp_path, FRAMES),
        from_="voc",
        output=tmp_path / "l",
        images=frames,
        class_map={"background": "ground"},
    )
    assert (found.classes, found.notes) == (("a", "b", "ground"), ())


def test_a_data_set_of_one_class_can_be_added_to(frames, tmp_path):
    for number, name in enumerate(FRAMES[:2]):
        text = document(image(name, box("car", 0, 0, 9, 9)), labels=("car",))
        (tmp_path / f"{number}.xml").write_bytes(text)
    where = {"from_": "cvat", "output": tmp_path / "l", "images": frames}
    deal.collect(tmp_path / "0.xml", **where)
    assert deal.collect(tmp_path / "1.xml", **where, add=True).classes == ("car",)


def test_a_folder_that_is_there_stays_the_same_folder(tasks, export, tmp_path, monkeypatch):
    """It may be mounted, which cannot be replaced, or be where the user is."""
    (tmp_path / "l").mkdir()
    before = (tmp_path / "l").stat().st_ino
    monkeypatch.chdir(tmp_path / "l")
    assert deal.collect(export, from_="cvat", output=".", tasks=tasks).count == 6
    assert Path().stat().st_ino == before
    assert sorted(path.name for path in Path().iterdir()) == [
        "classes.json",
        "labeled.csv",
        "report.csv",
        "train",
        "val",
    ]


@pytest.mark.parametrize("there", [True, False])
def test_what_a_killed_collection_left_goes_with_the_next(tasks, export, tmp_path, there):
    process = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    if there:
        (tmp_path / "l").mkdir()
    parent = tmp_path / "l" if there else tmp_path
    left = parent / f"_l.{int(process.stdout)}.abcd1234.tmp"
    (left / "labeled").mkdir(parents=True)
    deal.collect(export, from_="cvat", output=tmp_path / "l", tasks=tasks)
    assert not left.exists()
    assert not [path for path in os.scandir(tmp_path) if path.name.endswith(".tmp")]
