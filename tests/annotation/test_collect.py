"""``deal.collect``: exports of labeling tools become a labeled data set."""

from __future__ import annotations

import csv
import io
import json
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
from deal.errors import OutputError, PoolError, UsageError
from deal.labeled.datasets import list_dataset
from deal.labeled.labels import read_classes, read_label
from tests.helpers.annotation import accept_predictions, pictures, zipped
from tests.helpers.models import CLASSES, scenes
from tests.helpers.runs import SIZE, write_pool

VOID = 255

# A folder of tasks, and where to write → what the tool exports once all predictions are accepted.
Export = Callable[[Path, Path], Path]


def from_cvat(tasks: Path, folder: Path) -> Path:
    return zipped(
        folder / "cvat.zip", {"annotations.xml": (tasks / "annotations.xml").read_bytes()}
    )


def from_label_studio(tasks: Path, folder: Path) -> Path:
    return accept_predictions(tasks / "tasks.json", folder / "export.json")


def from_coco(tasks: Path, folder: Path) -> Path:
    data = (tasks / "annotations.json").read_bytes()
    return zipped(folder / "coco.zip", {"annotations/instances_default.json": data})


def from_voc(tasks: Path, folder: Path) -> Path:
    """As CVAT writes "Segmentation mask 1.1": colours, and images without their ending."""
    colours = np.array([[0, 0, 0], *([17 * i, 255 - i, 9] for i in range(len(CLASSES)))], np.uint8)
    lines = [
        f"{name}:{','.join(map(str, colour))}::"
        for name, colour in zip(("background", *CLASSES), colours.tolist(), strict=True)
    ]
    files: dict[str, bytes | str] = {
        "labelmap.txt": "# label:color_rgb:parts:actions\n" + "\n".join(lines) + "\n"
    }
    for path in (tasks / "masks").iterdir():
        data = io.BytesIO()
        Image.fromarray(colours[np.asarray(Image.open(path))]).save(data, format="PNG")
        files[f"SegmentationClass/{path.name}"] = data.getvalue()
        files[f"SegmentationObject/{path.name}"] = data.getvalue()
    return zipped(folder / "voc.zip", files)


WAYS: list[tuple[str, str, Export]] = [
    ("cvat", "cvat", from_cvat),
    ("label-studio", "label-studio", from_label_studio),
    ("coco", "coco", from_coco),
    ("masks", "voc", from_voc),
]


@pytest.fixture
def tasks(out: Path, tmp_path: Path) -> Path:
    return deal.annotate(out, to="cvat", output=tmp_path / "tasks").output


@pytest.fixture
def export(tasks: Path, tmp_path: Path) -> Path:
    return from_cvat(tasks, tmp_path)


def labels_of(folder: Path) -> dict[str, np.ndarray]:
    """Labels by id, read as training reads them."""
    classes, splits = list_dataset("folder", folder)
    found = {}
    with (folder / "labeled.csv").open(newline="") as file:
        ids = {row["label"]: row["id"] for row in csv.DictReader(file)}
    for files in (pair for pairs in splits.values() for pair in pairs):
        with Image.open(files.image) as image:
            size = image.height, image.width
        label = read_label(files, size, len(classes.names), classes.ignore_index)
        found[ids[files.label.name]] = label
    return found


def predicted(out: Path, tmp_path: Path) -> dict[str, np.ndarray]:
    """What was predicted, as labels."""
    folder = deal.annotate(out, to="masks", output=tmp_path / "predicted").output
    with (folder / "tasks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    masks = {row["id"]: np.asarray(Image.open(folder / "masks" / row["mask"])) for row in rows}
    return {name: mask - np.uint8(1) for name, mask in masks.items()}


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
    expected, given = predicted(out, tmp_path), labels_of(tmp_path / "labeled")
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


def document(*images: str, labels: tuple[str, ...] = CLASSES) -> bytes:
    named = "".join(f"<label><name>{name}</name></label>" for name in labels)
    head = f"<annotations><meta><job><labels>{named}</labels></job></meta>"
    return f"{head}{''.join(images)}</annotations>".encode()


def image(name: str, *shapes: str, size: tuple[int, int] = SIZE) -> str:
    height, width = size
    return (
        f'<image id="0" name="{name}" width="{width}" height="{height}">{"".join(shapes)}</image>'
    )


def box(label: str, x0: int, y0: int, x1: int, y1: int) -> str:
    corners = f"{x0},{y0};{x1},{y0};{x1},{y1};{x0},{y1}"
    return f'<polygon label="{label}" points="{corners}" z_order="0"/>'


def lines(tasks: Path) -> list[dict[str, str]]:
    with (tasks / "tasks.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def kinds(found: deal.Collection) -> list[tuple[str, str]]:
    return [(problem.kind, problem.name) for problem in found.problems]


def test_what_is_missing_or_does_not_fit_is_reported_and_the_rest_collected(tasks, pool, tmp_path):
    rows = lines(tasks)
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
        document(image(lines(tasks)[0]["file"], box("car", 0, 0, 9, 9)))
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
    whole = predicted(out, tmp_path)
    for item_id, label in labels_of(tmp_path / "labeled").items():
        assert (label == table[whole[item_id]]).all()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"none": "car"}', "'none' is no class; there are 'road', 'sky'"),
        ('{"car": 1}', "'car' becomes 1; give a name, or null for void"),
        ('["car"]', "map"),
        ("{", "map"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(tasks, export, tmp_path, text, words):
    (tmp_path / "map.json").write_text(text)
    with pytest.raises((UsageError, PoolError), match=words):
        deal.collect(
            export,
            from_="cvat",
            output=tmp_path / "labeled",
            tasks=tasks,
            class_map=tmp_path / "map.json",
        )
    assert not (tmp_path / "labeled").exists()


def test_a_second_round_is_added_and_keeps_the_splits(tasks, tmp_path):
    files = [row["file"] for row in lines(tasks)]
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
    assert labels_of(tmp_path / "l")[lines(tasks)[3]["id"]].min() == 1  # the later labels
    with pytest.raises(PoolError, match=r"has the classes road, sky, .*bring them together"):
        deal.collect(
            tmp_path / "b.xml",
            from_="cvat",
            output=tmp_path / "l",
            tasks=tasks,
            class_map={"road": "street"},
            add=True,
        )
    assert labels_of(tmp_path / "l").keys() == {row["id"] for row in lines(tasks)}


def test_a_folder_with_other_files_is_refused(tasks, export, tmp_path):
    (tmp_path / "l").mkdir()
    (tmp_path / "l" / "mine.txt").write_text("mine")
    for add in (True, False):
        with pytest.raises(OutputError, match=r"not written by deal collect \(mine.txt"):
            deal.collect(export, from_="cvat", output=tmp_path / "l", tasks=tasks, add=add)


def test_a_collection_that_fails_leaves_nothing(tasks, export, tmp_path):
    data = (tasks / "annotations.xml").read_bytes()
    (tmp_path / "cut.xml").write_bytes(data[: len(data) // 2])
    with pytest.raises(PoolError, match="damaged or not XML"):
        deal.collect(tmp_path / "cut.xml", from_="cvat", output=tmp_path / "l", tasks=tasks)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(("l", "_l"))]


def damaged(kind: str, path: Path) -> Path:
    if kind == "slip":
        return zipped(path, {"../../annotations.xml": document()})
    if kind == "absolute":
        return zipped(path, {"/etc/annotations.xml": document()})
    if kind == "bomb":
        return zipped(path, {"annotations.xml": bytes(2**30 + 2**29)})
    zipped(path, {"annotations.xml": document(image("a", box("car", 0, 0, 1, 1)))})
    data = bytearray(path.read_bytes())
    if kind == "cut":
        data = data[:-30]
    elif kind == "locked":
        data[6] |= 1
        data[data.index(b"PK\x01\x02") + 8] |= 1
    elif kind == "flipped":
        data[data.index(b"annotations.xml") + 30] ^= 255
    path.write_bytes(bytes(data))
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("slip", "names the file '../../annotations.xml', which is outside of it"),
        ("absolute", "which is outside of it"),
        ("cut", "is no whole ZIP file"),
        ("locked", "locked by a password"),
        ("flipped", "cannot be read|damaged"),
        pytest.param("bomb", "would unpack to 1610612736 bytes", marks=pytest.mark.slow),
    ],
)
def test_a_zip_file_that_is_no_export_is_refused(tasks, tmp_path, kind, words):
    path = damaged(kind, tmp_path / "export.zip")
    with pytest.raises(PoolError, match=words) as refused:
        deal.collect(path, from_="cvat", output=tmp_path / "l", tasks=tasks)
    assert len(str(refused.value).splitlines()) == 1
    assert not (tmp_path / "l").exists()


@pytest.mark.parametrize(
    ("from_", "name", "data", "words"),
    [
        ("cvat", "a.json", b"{}", "holds no .xml file, as cvat exports it"),
        ("coco", "a.xml", b"<a/>", "holds no .json file"),
        ("coco", "a.json", b"{", "is damaged or not JSON"),
        ("coco", "a.json", b"\xff{}", "is damaged or not JSON in UTF-8"),
        ("coco", "a.json", b"[" * 100_000, "is damaged or not JSON"),
        ("label-studio", "a.json", b"{}", "is not a list of tasks"),
        ("voc", "a.txt", b"", "holds no labelmap.txt"),
        ("paint", "a.json", b"{}", "from 'paint': choose one of cvat"),
    ],
)
def test_a_file_that_is_no_export_is_refused(tasks, tmp_path, from_, name, data, words):
    (tmp_path / name).write_bytes(data)
    with pytest.raises((PoolError, UsageError), match=words):
        deal.collect(tmp_path / name, from_=from_, output=tmp_path / "l", tasks=tasks)
    assert not (tmp_path / "l").exists()


def test_paths_that_do_not_exist_or_are_empty_are_refused(tasks, export, tmp_path):
    (tmp_path / "empty").mkdir()
    for source, words in ((tmp_path / "none", "No such file"), (tmp_path / "empty", "is empty")):
        with pytest.raises(PoolError, match=words):
            deal.collect(source, from_="cvat", output=tmp_path / "l", tasks=tasks)
    with pytest.raises(PoolError, match="not a folder that deal annotate wrote"):
        deal.collect(export, from_="cvat", output=tmp_path / "l", tasks=tmp_path / "empty")


def test_predictions_are_told_from_what_people_drew(tasks, tmp_path):
    with pytest.raises(PoolError, match="is what deal annotate wrote; name what the labeling tool"):
        deal.collect(tasks, from_="cvat", output=tmp_path / "l", tasks=tasks)
    found = deal.collect(
        tasks / "annotations.xml", from_="cvat", output=tmp_path / "l", tasks=tasks
    )
    assert "these labels are the model's, not people's" in found.notes[0]


def test_an_export_without_labels_is_an_error_that_says_why(out, tmp_path):
    folder = deal.annotate(out, to="label-studio", output=tmp_path / "tasks").output
    (tmp_path / "export.json").write_bytes((folder / "tasks.json").read_bytes())
    with pytest.raises(PoolError, match=r"no labels were found .*nobody has labeled it"):
        deal.collect(
            tmp_path / "export.json", from_="label-studio", output=tmp_path / "l", tasks=folder
        )


def test_exports_of_several_jobs_are_collected_together(tasks, tmp_path):
    files = [row["file"] for row in lines(tasks)]
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
    expected = predicted(tmp_path / "out", tmp_path)
    for item_id, label in labels_of(tmp_path / "l").items():
        assert (label == expected[item_id]).all()


@pytest.mark.parametrize(
    ("val", "splits"), [(0.0, {"train": 6, "val": 0}), (1.0, {"train": 0, "val": 6})]
)
def test_one_split_may_take_all(tasks, export, tmp_path, val, splits):
    found = deal.collect(export, from_="cvat", output=tmp_path / "l", tasks=tasks, val=val)
    assert found.splits == splits
    assert len(found.notes) == 1


def test_a_share_that_is_none_is_refused(tasks, export, tmp_path):
    with pytest.raises(UsageError, match="val 2: a share from 0 to 1"):
        deal.collect(export, from_="cvat", output=tmp_path / "l", tasks=tasks, val=2)


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
    (first, *_) = lines(tasks)
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
    (first, *_) = lines(tasks)
    (picture,) = pictures([np.ones(SIZE, np.uint8)])
    text = "".join(cvat.document([picture], CLASSES)).replace(picture.file, f"job/{first['file']}")
    (tmp_path / "a.xml").write_text(text)
    found = deal.collect(tmp_path / "a.xml", from_="cvat", output=tmp_path / "l", tasks=tasks)
    assert found.count == 1


def test_progress_is_told(tasks, export, tmp_path):
    seen: list[int] = []
    deal.collect(export, from_="cvat", output=tmp_path / "l", tasks=tasks, progress=seen.append)
    assert seen == [1, 2, 3, 4, 5, 6]
