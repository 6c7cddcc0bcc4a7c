"""Documents are read alike by other people's readers, and refuse what is no document."""

from __future__ import annotations

import io
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from deal.annotation import coco, cvat, label_studio, voc
from deal.annotation.brush import brush_of, from_brush
from deal.annotation.labels import tool_names, without_small
from deal.annotation.record import Shape
from deal.errors import PoolError
from tests.helpers.annotation import (
    NAMES,
    colours_of,
    exported,
    golden_pictures,
    legend,
    pictures,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "annotation"


def test_golden_files_hold_what_is_written():
    """Datumaro 1.13 reads the same masks from them: tests/golden/annotation/validate.py."""
    for name, document in (
        ("cvat.xml", cvat.document(golden_pictures(), NAMES)),
        ("cvat-polygons.xml", cvat.document(golden_pictures(), NAMES, Shape(True, 0.0))),
        ("coco.json", coco.document(golden_pictures(), NAMES)),
    ):
        assert "".join(document) == (GOLDEN / name).read_text(encoding="utf-8"), name


def test_another_xml_reader_finds_the_masks_of_cvat():
    root = ElementTree.fromstring("".join(cvat.document(golden_pictures(), NAMES)))
    names = [label.findtext("name") for label in root.iter("label")]
    assert names == list(NAMES)
    for picture, image in zip(golden_pictures(), root.iter("image"), strict=True):
        height, width = picture.size
        assert (image.get("name"), image.get("width"), image.get("height")) == (
            picture.file,
            str(width),
            str(height),
        )
        found = np.zeros(picture.size, np.uint8)
        for mask in image.iter("mask"):
            left, top, across, down = (int(mask.get(k)) for k in ("left", "top", "width", "height"))
            flat, inside = [], 0
            for run in mask.get("rle").split(", "):
                flat += [inside] * int(run)
                inside = 1 - inside
            box = np.array(flat).reshape(down, across)
            part = found[top : top + down, left : left + across]
            part[box == 1] = names.index(mask.get("label")) + 1
        assert (found == picture.labels).all()


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # its own
@pytest.mark.parametrize("shape", [Shape(), Shape(polygon=True, tolerance=0.0)])
def test_pycocotools_reads_the_masks_and_the_further_keys(tmp_path, capsys, shape):
    tools = pytest.importorskip("pycocotools.coco")
    path = tmp_path / "coco.json"
    path.write_text("".join(coco.document(golden_pictures(), NAMES, shape)), encoding="utf-8")
    found = tools.COCO(str(path))
    capsys.readouterr()
    assert [category["name"] for category in found.loadCats(found.getCatIds())] == list(NAMES)
    assert min(found.getCatIds()) == 1
    for number, picture in enumerate(golden_pictures(), 1):
        (image,) = found.loadImgs(number)
        assert (image["deal_rank"], image["deal_score"]) == (picture.rank, picture.score)
        labels = np.zeros(picture.size, np.uint8)
        for annotation in found.loadAnns(found.getAnnIds(imgIds=number)):
            mask = found.annToMask(annotation)
            assert not labels[mask == 1].any()
            labels[mask == 1] = annotation["category_id"]
            assert (annotation["area"], annotation["iscrowd"]) == (mask.sum(), 0)
        assert (labels == picture.labels).all()


def test_compressed_counts_of_pycocotools_are_read():
    codec = pytest.importorskip("pycocotools.mask")
    value = json.loads("".join(coco.document(golden_pictures(), NAMES)))
    for annotation in value["annotations"]:
        size = annotation["segmentation"]["size"]
        packed = codec.frPyObjects(annotation["segmentation"], *size)
        annotation["segmentation"]["counts"] = packed["counts"].decode()
    for picture, drawn in zip(
        golden_pictures(), coco.read(value, "export", legend(NAMES)), strict=True
    ):
        assert (picture.labels == (0 if drawn.labels is None else drawn.labels)).all()


def unpacked(stream: list[int], count: int) -> list[int]:
    """Values of a brush, by a reader that goes bit by bit."""
    bits = "".join(f"{byte:08b}" for byte in stream)
    place = 0

    def read(width: int) -> int:
        nonlocal place
        place += width
        return int(bits[place - width : place], 2)

    assert read(32) == count
    word, sizes = read(5) + 1, [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < count:
        repeated, number = read(1), read(sizes[read(2)]) + 1
        values += [read(word)] * number if repeated else [read(word) for _ in range(number)]
    assert len(bits) - place < 8
    return values


def test_brushes_are_rgba_of_255_and_0():
    mask = np.zeros((90, 210), bool)
    mask[3:80, 5:190] = True
    mask[5, 7] = False
    expected = np.repeat(np.where(mask.ravel(), 255, 0), 4)
    assert unpacked(brush_of(mask), expected.size) == expected.tolist()


def test_brushes_of_single_values_and_other_widths_are_read():
    """As the tool's own page writes them where colors change with every pixel."""
    pixels = [(9, 9, 9, alpha) for alpha in (0, 200, 127, 128)]
    values = [value for pixel in pixels for value in pixel]
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (2, 5, 9, 12))
    bits += "0" + "01" + f"{15:05b}" + "".join(f"{value:08b}" for value in values)
    stream = [int(bits[i : i + 8].ljust(8, "0"), 2) for i in range(0, len(bits), 8)]
    assert unpacked(stream, len(values)) == values
    assert from_brush(stream, (2, 2)).tolist() == [[False, True], [False, True]]


def test_label_studio_decodes_our_brushes():
    brush = pytest.importorskip(
        "label_studio_sdk.converter.brush", reason="label-studio-sdk brings along 500 MB"
    )
    for picture in golden_pictures():
        mask = picture.labels > 0
        found = brush.decode_rle(brush_of(mask)).reshape(*mask.shape, 4)
        assert (found == np.where(mask, 255, 0)[:, :, None]).all()
        packed = brush.encode_rle(np.repeat(np.where(mask.ravel(), 255, 0), 4))
        assert (from_brush(packed, mask.shape) == mask).all()


@pytest.mark.parametrize("shape", [Shape(), Shape(polygon=True)])
def test_label_studio_accepts_our_predictions(shape):
    sdk = pytest.importorskip(
        "label_studio_sdk.label_interface", reason="label-studio-sdk brings along 500 MB"
    )
    interface = sdk.LabelInterface(label_studio.config(NAMES, colours_of(NAMES), shape))
    tasks = json.loads("".join(label_studio.tasks(golden_pictures(), NAMES, shape, count=3)))
    for task in tasks:
        for prediction in task["predictions"]:
            assert interface.validate_prediction(prediction, return_errors=True) == []
    tasks[0]["predictions"][0]["result"][0]["value"][
        "polygonlabels" if shape.polygon else "brushlabels"
    ] = ["none"]
    assert interface.validate_prediction(tasks[0]["predictions"][0], return_errors=True)


def test_confidence_in_label_studio_rises_with_the_rank():
    tasks = json.loads("".join(label_studio.tasks(golden_pictures(), NAMES, count=3)))
    scores = [task["predictions"][0]["score"] for task in tasks]
    assert scores == [0.25, 0.5, 0.75]
    assert [task["data"]["deal_rank"] for task in tasks] == [1, 2, 3]
    assert [task["data"]["deal_score"] for task in tasks] == [1.0, 0.5, 1 / 3]
    assert [task["data"]["id"] for task in tasks] == ["drive/1.jpg", "drive/2.jpg", "drive/3.jpg"]


def test_one_brush_per_class_however_many_areas():
    labels = np.indices((9, 9)).sum(axis=0).astype(np.uint8) % 2 + 1
    (task,) = json.loads("".join(label_studio.tasks(pictures([labels]), NAMES, count=1)))
    assert len(task["predictions"][0]["result"]) == 2


def test_names_of_files_and_classes_are_escaped():
    (picture,) = pictures([np.ones((1, 1), np.uint8)])
    odd = "<script>\"'&\n\x01é"
    picture = type(picture)(1, None, odd, odd, (1, 1), picture.labels)
    root = ElementTree.fromstring("".join(cvat.document([picture], [odd])))
    assert root.find("image").get("name") == "<script>\"'&\n\ufffdé"
    config = ElementTree.fromstring(label_studio.config(['"a, b" <c>'], [(1, 2, 3)]))
    assert config.find(".//Label").attrib == {"value": '"a, b" <c>', "background": "#010203"}
    value = json.loads("".join(coco.document([picture], [odd])))
    assert (value["images"][0]["file_name"], value["images"][0]["deal_score"]) == (odd, None)


def test_tools_get_a_name_of_its_own_for_every_class():
    given = ["car", "Car", " car\n", "", "x" * 90, "x" * 91, "a\x00b"]
    found = tool_names(given)
    assert found[:4] == ["car", "Car (2)", "car (3)", "class 3"]
    assert len({name.casefold() for name in found}) == len(given)
    assert max(map(len, found)) <= 64
    assert all(name.isprintable() for name in found)


def test_small_areas_lose_their_label():
    labels = np.array([[1, 1, 0, 2], [1, 0, 2, 0]], np.uint8)
    assert without_small(labels, 2).tolist() == [[1, 1, 0, 0], [1, 0, 0, 0]]
    assert (without_small(labels, 1) == labels).all()


BROKEN_XML = [
    (b"", "damaged or not XML"),
    (b"not xml", "damaged or not XML"),
    (b"<annotations><image", "damaged or not XML"),
    (b"<other/>", "begins with <other>"),
    (b"<!DOCTYPE a [<!ENTITY b 'c'>]><annotations/>", "document type"),
    (b"<annotations><track/></annotations>", "tracks of a video"),
    (b"<?xml version='1.0' encoding='none'?><annotations/>", "damaged or not XML"),
    ("<annotations name='ü'/>".encode("latin-1"), "damaged or not XML"),
]


@pytest.mark.parametrize(("data", "words"), BROKEN_XML)
def test_what_is_no_export_of_cvat_is_refused_with_the_remedy(data, words):
    with pytest.raises(PoolError, match=words) as refused:
        list(cvat.read(io.BytesIO(data), "a.xml", legend(NAMES)))
    assert "CVAT for images 1.1" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_xml_in_utf_16_is_read():
    text = "".join(cvat.document(golden_pictures(), NAMES)).replace("utf-8", "utf-16")
    found = list(cvat.read(io.BytesIO(text.encode("utf-16")), "export", legend(NAMES)))
    assert (found[0].labels == golden_pictures()[0].labels).all()


def image(*shapes: str, size: str = 'width="4" height="3"') -> bytes:
    inner = "".join(shapes)
    return f'<annotations><image id="0" name="a" {size}>{inner}</image></annotations>'.encode()


MASK = '<mask label="road" left="{}" top="0" width="2" height="1" rle="{}"/>'


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ('<box label="road" xtl="0" ytl="0" xbr="1" ybr="1"/>', "kind 'box', which is no area"),
        (MASK.format(3, "0, 2"), "leaves the image"),
        (MASK.format(-1, "0, 2"), "begins outside"),
        (MASK.format(0, "0, 1"), "add up to 1 pixels instead of 2x1"),
        (MASK.format(0, "0, -1, 3"), "add up"),
        (MASK.format(0, "0, a"), "left out"),
        ('<polygon label="road" points="0,0;1,1"/>', "fewer than three"),
        ('<polygon label="road" points="0,0;1,nan;2,2"/>', "not finite"),
        ('<polygon label="road"/>', "left out"),
        ('<mask label="none" left="0" top="0" width="1" height="1" rle="0,1"/>', "unknown class"),
    ],
)
def test_a_shape_that_cannot_be_used_is_left_out_with_a_word(shape, words):
    good = MASK.format(1, "0, 2")
    (drawn,) = cvat.read(io.BytesIO(image(good, shape)), "export", legend(NAMES))
    assert drawn.labels.tolist() == [[0, 1, 1, 0], [0] * 4, [0] * 4]
    (problem,) = drawn.problems
    assert words in problem


@pytest.mark.parametrize("size", ['width="4"', 'width="a" height="3"', 'width="0" height="3"'])
def test_an_image_without_a_size_is_damaged(size):
    (drawn,) = cvat.read(io.BytesIO(image(size=size)), "export", legend(NAMES))
    assert drawn.labels is None
    assert drawn.skipped.startswith("damaged")


def test_a_picture_too_large_to_be_one_takes_no_memory():
    size = 'width="1000000" height="1000000"'
    (drawn,) = cvat.read(io.BytesIO(image(size=size)), "export", legend(NAMES))
    assert drawn.skipped == "damaged: its size is 1000000x1000000"


@pytest.mark.parametrize("value", [None, [], {}, {"images": [], "categories": []}])
def test_what_is_no_coco_is_refused(value):
    with pytest.raises(PoolError, match="is not COCO: it must hold the lists images, categories"):
        list(coco.read(value, "a.json", legend(NAMES)))


def coco_with(segmentation: object) -> dict[str, object]:
    return {
        "images": [{"id": 1, "file_name": "a", "width": 2, "height": 1}],
        "categories": [{"id": 7, "name": "road"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 7, "segmentation": segmentation}],
    }


@pytest.mark.parametrize(
    ("segmentation", "words"),
    [
        ([], "kind 'bbox'"),
        ({"counts": [0, 2], "size": [2, 1]}, "[2, 1] instead of [1, 2]"),
        ({"counts": [0, 2], "size": []}, "[] instead of [1, 2]"),
        ({"counts": [0, 3], "size": [1, 2]}, "add up to 3 pixels"),
        ({"counts": [0, 2.5], "size": [1, 2]}, "not a whole number"),
        ({"counts": "o", "size": [1, 2]}, "cut off"),
        ({"size": [1, 2]}, "left out"),
        ([[0, 0, 1]], "left out"),
        ([[0, 0, 1, 1]], "fewer than three"),
    ],
)
def test_annotations_of_coco_that_cannot_be_used_are_left_out(segmentation, words):
    (drawn,) = coco.read(coco_with(segmentation), "export", legend(NAMES))
    assert drawn.labels is None
    assert words in drawn.problems[0]


@pytest.mark.parametrize("value", [{}, "a", [1], [{"image": "a", "label": []}]])
def test_what_is_no_list_of_tasks_is_refused(value):
    with pytest.raises(PoolError, match='export from Label Studio as "JSON"'):
        list(label_studio.read(value, "a.json", legend(NAMES)))


def task(*annotations: dict[str, object]) -> list[dict[str, object]]:
    return [{"data": {"image": "/data/upload/3/0123abcd-a.jpg"}, "annotations": list(annotations)}]


def brushed(label: str, **changes: object) -> dict[str, object]:
    result = {
        "type": "brushlabels",
        "original_width": 2,
        "original_height": 1,
        "image_rotation": 0,
        "value": {"rle": brush_of(np.array([[True, False]])), "brushlabels": [label]},
    }
    return {"result": [result | changes]}


def test_of_several_annotations_the_latest_counts():
    old = brushed("road") | {"id": 9, "updated_at": "2026-01-01T00:00:00Z"}
    new = brushed(NAMES[2]) | {"id": 3, "updated_at": "2026-01-02T00:00:00Z"}
    cancelled = brushed("road") | {"was_cancelled": True, "updated_at": "2027-01-01T00:00:00Z"}
    (drawn,) = label_studio.read(task(new, old, cancelled), "export", legend(NAMES))
    assert drawn.labels.tolist() == [[3, 0]]
    assert drawn.name == "a.jpg"
    assert drawn.problems == ("the latest of 2 annotations is taken",)


@pytest.mark.parametrize(
    ("annotations", "skipped"),
    [
        ((), "nobody has labeled it"),
        (({"was_cancelled": True, "result": []},), "it was skipped"),
        (({"result": []},), "nothing is drawn in it"),
        ((brushed("road", original_width=3),), "nothing is drawn in it"),
        ((brushed("road", image_rotation=90),), "nothing is drawn in it"),
        ((brushed("road", type="rectanglelabels", value={"x": 1}),), "nothing is drawn in it"),
    ],
)
def test_tasks_without_usable_labels_say_why(annotations, skipped):
    (drawn,) = label_studio.read(task(*annotations), "export", legend(NAMES))
    assert (drawn.labels, drawn.skipped) == (None, skipped)


def test_a_brush_that_is_cut_off_or_of_another_size_is_left_out():
    for stream in (brush_of(np.zeros((9, 9), bool)), brush_of(np.ones((1, 2), bool))[:-2], [300]):
        broken = brushed("road", value={"rle": stream, "brushlabels": ["road"]})
        (drawn,) = label_studio.read(task(broken), "export", legend(NAMES))
        assert drawn.labels is None
        assert "its brush" in drawn.problems[0]


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("/data/local-files/?d=images/0001_a%20b.jpg", "0001_a b.jpg"),
        ("s3://bucket/frames/a.jpg", "a.jpg"),
        ("https://host/x/a%2Bb.jpg?token=1", "a+b.jpg"),
        ("/data/upload/3/0123abcd-a.jpg", "a.jpg"),
        ("https://host/0123abcd-a.jpg", "0123abcd-a.jpg"),
        (None, ""),
    ],
)
def test_the_name_of_a_tasks_image(address, name):
    (drawn,) = label_studio.read([{"data": {"image": address}}], "export", legend(NAMES))
    assert drawn.name == name


def test_exported_is_what_label_studio_exports():
    tasks = json.loads("".join(label_studio.tasks(golden_pictures()[:1], NAMES, count=1)))
    assert exported(tasks)[0]["annotations"][0]["result"] == tasks[0]["predictions"][0]["result"]


@pytest.mark.parametrize("line", ["road", "road:1,2:", "road:1,2,300::", "road:a,b,c::"])
def test_a_label_map_of_another_form_is_refused(line):
    with pytest.raises(PoolError, match="line 2: expected name:r,g,b:parts:actions"):
        voc.read_labels(f"# label:color_rgb:parts:actions\n{line}\n".encode(), "labelmap.txt")


def test_names_in_a_label_map_may_hold_colons():
    assert voc.read_labels(b"a:b:1,2,3::\n", "labelmap.txt") == [("a:b", (1, 2, 3))]
