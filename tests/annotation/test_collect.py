"""``deal.collect``: exports of labeling tools become a labeled data set."""

from __future__ import annotations

import csv
import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

import deal
from deal.errors import OutputError, PoolError
from deal.labeled.labels import read_classes
from tests.helpers.models import CLASSES, scenes
from tests.helpers.runs import SIZE
from tests.helpers.tool_exports import (
    VOID,
    Export,
    box,
    document,
    from_coco,
    from_cvat,
    from_label_studio,
    from_voc,
    image,
    kinds,
    labels_of,
    predicted_labels,
    task_rows,
)

WAYS: list[tuple[str, str, Export]] = [
    ("cvat", "cvat", from_cvat),
    ("label-studio", "label-studio", from_label_studio),
    ("coco", "coco", from_coco),
    ("masks", "voc", from_voc),
]


@pytest.mark.parametrize(("to", "from_", "exported"), WAYS)
def test_labels_come_back_as_a_data_set_that_training_reads(
    out, pool, tmp_path, to, from_, exported
):
    folder = deal.annotate(out, to=to, output=tmp_path / "tasks").output
    found = deal.collect(
        exported(folder, tmp_path), from_=from_, output=tmp_path / "labeled", tasks=folder
    )
    assert (found.count, found.problems, found.classes) == (6, (), CLASSES)
    assert sum(found.splits.values()) == 6
    assert min(found.splits.values()) >= 1
    expected, given = predicted_labels(out, tmp_path), labels_of(tmp_path / "labeled")
    assert given.keys() == expected.keys()
    for item_id, label in given.items():
        assert (label == expected[item_id]).all()
        (image,) = (tmp_path / "labeled").glob(f"*/images/{item_id}")
        assert image.read_bytes() == (pool / item_id).read_bytes()
    classes = read_classes(tmp_path / "labeled" / "classes.json")
    assert (classes.names, classes.ignore_index) == (CLASSES, VOID)


def test_what_is_labeled_can_be_excluded(out, tasks, export, tmp_path):
    deal.collect(export, from_="cvat", output=tmp_path / "labeled", tasks=tasks)
    assert len(deal.select(out)) == 6
    assert len(deal.select(out, exclude=tmp_path / "labeled" / "labeled.csv")) == 0


def test_a_network_trains_on_it(tasks, export, tmp_path):
    training = pytest.importorskip("deal.training.data")
    deal.collect(export, from_="cvat", output=tmp_path / "labeled", tasks=tasks)
    data = training.load_dataset("folder", tmp_path / "labeled", size=None, scenes=0)
    assert (data.classes, data.size) == (CLASSES, SIZE)
    assert len(data.train) + len(data.val) == 6


def test_what_is_missing_or_does_not_fit_is_reported_and_the_rest_collected(tasks, pool, tmp_path):
    rows = task_rows(tasks)
    files, ids = [row["file"] for row in rows], [row["id"] for row in rows]
    (tasks / "images" / files[3]).write_bytes(b"damaged")
    data = document(
        image(files[0], box("road", 0, 0, 9, 9)),
        image(files[0], box("sky", 0, 0, 5, 5), '<box label="car" xtl="0"/>'),
        image(files[1]),
        image(files[2], box("car", 0, 0, 9, 9), size=(10, 10)),
        image(files[3], box("car", 0, 0, 9, 9)),
        image(files[4], box("car", 0, 0, 9, 9), box("tank", 3, 3, 4, 4)),
        image("stranger.png", box("car", 0, 0, 9, 9)),
    )
    (tmp_path / "export.xml").write_bytes(data)
    found = deal.collect(
        tmp_path / "export.xml", from_="cvat", output=tmp_path / "labeled", tasks=tasks
    )
    assert sorted(kinds(found)) == sorted(
        [
            ("twice", ids[0]),
            ("shape", ids[0]),
            ("missing", ids[1]),
            ("size", ids[2]),
            ("unreadable", ids[3]),
            ("shape", ids[4]),
            ("unknown image", "stranger.png"),
            ("missing", ids[5]),
            ("unknown class", "tank"),
        ]
    )
    assert not found.complete
    assert (found.count, labels_of(tmp_path / "labeled").keys()) == (2, {ids[0], ids[4]})
    first = labels_of(tmp_path / "labeled")[ids[0]]
    assert (first[:5, :5] == CLASSES.index("sky")).all()
    assert Counter(first.ravel().tolist()) == {CLASSES.index("sky"): 25, VOID: 24 * 32 - 25}
    with (tmp_path / "labeled" / "report.csv").open(newline="") as file:
        assert [(row["kind"], row["name"]) for row in csv.DictReader(file)] == kinds(found)


def test_missing_labels_alone_are_no_fault(tasks, tmp_path):
    (tmp_path / "a.xml").write_bytes(
        document(image(task_rows(tasks)[0]["file"], box("car", 0, 0, 9, 9)))
    )
    found = deal.collect(tmp_path / "a.xml", from_="cvat", output=tmp_path / "labeled", tasks=tasks)
    assert found.complete
    assert [problem.kind for problem in found.problems] == ["missing"] * 5
    assert found.notes == (
        "the split val has no image, which deal train needs: collect more, or change --val",
    )


def test_classes_are_renamed_merged_and_made_void(tasks, export, out, tmp_path):
    (tmp_path / "map.json").write_text(
        '{"sky": "far", "pole": "thin", "sign": "thin", "car": null}'
    )
    found = deal.collect(
        export,
        from_="cvat",
        output=tmp_path / "labeled",
        tasks=tasks,
        class_map=tmp_path / "map.json",
    )
    assert found.classes == ("road", "far", "thin")
    table = np.array([0, 1, VOID, 2, 2], np.uint8)  # road, sky, car, pole, sign
    whole = predicted_labels(out, tmp_path)
    for item_id, label in labels_of(tmp_path / "labeled").items():
        assert (label == table[whole[item_id]]).all()


def test_a_second_round_is_added_and_keeps_the_splits(tasks, tmp_path):
    files = [row["file"] for row in task_rows(tasks)]
    for number, (name, chosen) in enumerate([("a", files[:4]), ("b", files[3:])]):
        shapes = [image(file, box(CLASSES[number], 0, 0, 9, 9)) for file in chosen]
        (tmp_path / f"{name}.xml").write_bytes(document(*shapes))
    first = deal.collect(tmp_path / "a.xml", from_="cvat", output=tmp_path / "l", tasks=tasks)
    before = {p.name: p.parts[-3] for p in (tmp_path / "l").glob("*/labels/*")}
    with pytest.raises(OutputError, match="already holds labels; use --add"):
        deal.collect(tmp_path / "b.xml", from_="cvat", output=tmp_path / "l", tasks=tasks)
    second = deal.collect(
        tmp_path / "b.xml", from_="cvat", output=tmp_path / "l", tasks=tasks, add=True
    )
    assert (first.count, second.count, sum(second.splits.values())) == (4, 3, 6)
    after = {p.name: p.parts[-3] for p in (tmp_path / "l").glob("*/labels/*")}
    assert before.items() <= after.items()
    values = {label.min() for label in labels_of(tmp_path / "l").values()}
    assert values == {0, 1}
    assert labels_of(tmp_path / "l")[task_rows(tasks)[3]["id"]].min() == 1  # the later labels
    with pytest.raises(PoolError, match=r"has the classes road, sky, .*bring them together"):
        deal.collect(
            tmp_path / "b.xml",
            from_="cvat",
            output=tmp_path / "l",
            tasks=tasks,
            class_map={"road": "street"},
            add=True,
        )
    assert labels_of(tmp_path / "l").keys() == {row["id"] for row in task_rows(tasks)}


def test_images_of_equal_names_get_different_ones(model, tmp_path):
    pool = tmp_path / "pool"
    pool.mkdir()
    (pool / "a").mkdir()
    for name, pixels in zip(("a/b.png", "a_b.png", "A_B.jpg"), scenes(3, SIZE), strict=True):
        Image.fromarray(pixels).save(pool / name)
    deal.score_pool(pool, model=model, output=tmp_path / "out")
    tasks = deal.annotate(tmp_path / "out", to="cvat", output=tmp_path / "tasks").output
    export = from_cvat(tasks, tmp_path)
    found = deal.collect(export, from_="cvat", output=tmp_path / "l", tasks=tasks)
    assert found.count == 3
    stems = [path.stem.casefold() for path in (tmp_path / "l").glob("*/labels/*")]
    assert len(set(stems)) == 3
    assert labels_of(tmp_path / "l").keys() == {"a/b.png", "a_b.png", "A_B.jpg"}


def test_images_that_exif_turns_are_upright_for_training(model, tmp_path):
    (tmp_path / "pool").mkdir()
    tags = Image.Exif()
    tags[0x0112] = 8
    for name, pixels in zip("ab", scenes(2, (16, 24)), strict=True):
        Image.fromarray(pixels).save(tmp_path / "pool" / f"{name}.jpg", exif=tags)
    deal.score_pool(tmp_path / "pool", model=model, output=tmp_path / "out")
    tasks = deal.annotate(tmp_path / "out", to="coco", output=tmp_path / "t", images="none").output
    export = from_coco(tasks, tmp_path)
    deal.collect(export, from_="coco", output=tmp_path / "l", tasks=tasks)
    for path in (tmp_path / "l").glob("*/images/*"):
        with Image.open(path) as shown:
            assert (shown.size, path.suffix) == ((16, 24), ".png")
    assert {label.shape for label in labels_of(tmp_path / "l").values()} == {(24, 16)}


@pytest.mark.parametrize("regions", ["crop", "image"])
def test_labels_of_regions_go_back_to_their_place(pool, model, tmp_path, regions):
    out = tmp_path / "out"
    deal.score_pool(pool, model=model, output=out, regions=deal.Grid(12), budget="regions:7")
    tasks = deal.annotate(out, to="cvat", output=tmp_path / "tasks", regions=regions).output
    export = from_cvat(tasks, tmp_path)
    found = deal.collect(export, from_="cvat", output=tmp_path / "l", tasks=tasks)
    assert found.problems == ()
    picks = json.loads((out / "selection.json").read_bytes())["selection"]
    with deal.Scorer(model) as scorer:
        for item_id, label in labels_of(tmp_path / "l").items():
            pixels = np.asarray(Image.open(pool / item_id))
            (classes,) = scorer.predict([pixels])
            expected = np.full(SIZE, VOID, np.uint8)
            for pick in picks:
                if pick["id"] == item_id:
                    y, x = divmod(pick["region"], -(-SIZE[1] // 12))
                    part = slice(12 * y, 12 * y + 12), slice(12 * x, 12 * x + 12)
                    expected[part] = classes[part]
            assert (label == expected).all()
    again = deal.select(
        out, exclude=tmp_path / "l" / "labeled.csv", budget="regions:7", acquisition="ds"
    )
    taken = {(pick["id"], pick["region"]) for pick in picks}
    assert taken.isdisjoint((row["id"], row["region"]) for row in again.records())


def test_classes_of_equal_names_stay_apart(pool, tmp_path):
    from tests.helpers.models import metadata, save_model

    props = metadata(classes=["car", "Car", "car", "a,b", "c\nd"])
    model = save_model(tmp_path / "m.onnx", exact=True, props=props)
    deal.score_pool(pool, model=model, output=tmp_path / "out")
    tasks = deal.annotate(tmp_path / "out", to="cvat", output=tmp_path / "tasks").output
    export = from_cvat(tasks, tmp_path)
    found = deal.collect(export, from_="cvat", output=tmp_path / "l", tasks=tasks)
    assert found.classes == ("car", "Car", "car (3)", "a,b", "c\nd")
    expected = predicted_labels(tmp_path / "out", tmp_path)
    for item_id, label in labels_of(tmp_path / "l").items():
        assert (label == expected[item_id]).all()


@pytest.mark.parametrize(
    ("val", "splits"), [(0.0, {"train": 6, "val": 0}), (1.0, {"train": 0, "val": 6})]
)
def test_one_split_may_take_all(tasks, export, tmp_path, val, splits):
    found = deal.collect(export, from_="cvat", output=tmp_path / "l", tasks=tasks, val=val)
    assert found.splits == splits
    assert len(found.notes) == 1


def test_progress_is_told(tasks, export, tmp_path):
    seen: list[int] = []
    deal.collect(export, from_="cvat", output=tmp_path / "l", tasks=tasks, progress=seen.append)
    assert seen == [1, 2, 3, 4, 5, 6]


def test_a_round_that_breaks_off_is_listed_as_far_as_it_went(tasks, tmp_path):
    files = [row["file"] for row in task_rows(tasks)]
    (tmp_path / "a.xml").write_bytes(document(image(files[0], box("car", 0, 0, 9, 9))))
    deal.collect(tmp_path / "a.xml", from_="cvat", output=tmp_path / "l", tasks=tasks)
    (tmp_path / "b.xml").write_bytes(document(image(files[1], box("car", 0, 0, 9, 9))))
    (tmp_path / "c.xml").write_bytes(b"<annotations><image")
    several = [tmp_path / "b.xml", tmp_path / "c.xml"]
    with pytest.raises(PoolError, match="damaged or not XML"):
        deal.collect(several, from_="cvat", output=tmp_path / "l", tasks=tasks, add=True)
    with (tmp_path / "l" / "labeled.csv").open(newline="") as file:
        listed = {row["label"] for row in csv.DictReader(file)}
    assert listed == {path.name for path in (tmp_path / "l").glob("*/labels/*")}
    assert len(listed) == 2


def test_labels_of_a_round_that_breaks_off_have_names_if_their_class_is_new(tasks, tmp_path):
    files = [row["file"] for row in task_rows(tasks)]
    (tmp_path / "a.xml").write_bytes(document(image(files[0], box("car", 0, 0, 9, 9))))
    deal.collect(tmp_path / "a.xml", from_="cvat", output=tmp_path / "l", tasks=tasks)
    (tmp_path / "b.xml").write_bytes(document(image(files[1], box("trailer", 0, 0, 9, 9))))
    (tmp_path / "c.xml").write_bytes(b"<annotations><image")
    with pytest.raises(PoolError, match="damaged or not XML"):
        deal.collect(
            [tmp_path / "b.xml", tmp_path / "c.xml"],
            from_="cvat",
            output=tmp_path / "l",
            tasks=tasks,
            class_map={"trailer": "trailer"},
            add=True,
        )
    described = json.loads((tmp_path / "l" / "classes.json").read_text())
    assert described["classes"] == [*CLASSES, "trailer"]
    assert len(described["palette"]) == len(CLASSES) + 1
    labels = [np.asarray(Image.open(path)) for path in (tmp_path / "l").glob("*/labels/*")]
    assert set(np.unique(labels).tolist()) == {CLASSES.index("car"), len(CLASSES), VOID}


def test_a_class_that_people_added_is_taken_if_the_map_names_it(tasks, tmp_path):
    files = [row["file"] for row in task_rows(tasks)]
    shapes = box("car", 0, 0, 9, 9), box("trailer", 3, 3, 5, 5)
    data = document(*(image(file, *shapes) for file in files))
    (tmp_path / "a.xml").write_bytes(data)
    given = {"from_": "cvat", "tasks": tasks}
    found = deal.collect(tmp_path / "a.xml", output=tmp_path / "a", **given)
    assert ("unknown class", "trailer") in kinds(found)
    found = deal.collect(
        tmp_path / "a.xml",
        output=tmp_path / "b",
        class_map={"trailer": "trailer", "wagon": "car"},
        **given,
    )
    assert found.classes == (*CLASSES, "trailer")
    assert found.problems == ()
    assert found.notes == (
        "map of classes: 'wagon' is neither a class of the tasks nor in the export",
    )
    for label in labels_of(tmp_path / "b").values():
        expected = {CLASSES.index("car"): 77, len(CLASSES): 4, VOID: 24 * 32 - 81}
        assert Counter(label.ravel().tolist()) == expected
    found = deal.collect(
        tmp_path / "a.xml", output=tmp_path / "a", class_map={"trailer": "x"}, add=True, **given
    )
    assert found.classes == (*CLASSES, "x")
