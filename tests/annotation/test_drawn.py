"""Exports of labeling tools as people configure and edit them: what is drawn, and what is not."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

import deal
from deal.annotation import coco, label_studio, voc
from deal.annotation.brush import brush_of
from deal.annotation.labels import tool_colours
from deal.annotation.record import Legend
from deal.errors import PoolError
from tests.helpers.annotation import NAMES, legend, zipped
from tests.helpers.runs import SIZE, write_pool

LEFT = brush_of(np.array([[True, False]]))


def results(*pairs: tuple[str, dict[str, Any]], ids: tuple[str, ...] = ("r1",)) -> Any:
    """A task of 1 × 2 pixels with results of Label Studio: their types and values."""
    found = [
        {
            "id": ids[place % len(ids)],
            "type": kind,
            "original_width": 2,
            "original_height": 1,
            "image_rotation": 0,
            "value": value,
        }
        for place, (kind, value) in enumerate(pairs)
    ]
    return [{"data": {"image": "a.jpg"}, "annotations": [{"result": found}]}]


def growing() -> Legend:
    return Legend({}, (), growing=True)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("choices", {"choices": ["occluded"]}),
        ("rating", {"rating": 4}),
        ("number", {"number": 4}),
        ("textarea", {"text": ["a"]}),
        ("taxonomy", {"taxonomy": [["a"]]}),
    ],
)
@pytest.mark.parametrize("geometry", [{}, {"rle": LEFT}])
def test_remarks_on_a_region_are_no_labels_in_label_studio(kind, value, geometry):
    brush = ("brushlabels", {"rle": LEFT, "brushlabels": ["road"]})
    read = label_studio.read(results(brush, (kind, {**geometry, **value})), "a", known := growing())
    (drawn,) = read
    assert (drawn.labels.tolist(), known.classes) == ([[1, 0]], ["road"])
    assert drawn.problems == ()


@pytest.mark.parametrize("order", [1, -1])
def test_labels_may_be_a_tag_of_their_own_in_label_studio(order):
    """Of the tags Labels and Brush come two results of one id."""
    pair = [("brush", {"rle": LEFT}), ("labels", {"rle": LEFT, "labels": ["road"]})]
    (drawn,) = label_studio.read(results(*pair[::order]), "a", known := growing())
    assert (drawn.labels.tolist(), known.classes) == ([[1, 0]], ["road"])


@pytest.mark.parametrize("words", [None, [], [""], 5, "car", [["car"]]])
def test_a_region_without_a_label_is_left_out(words):
    value = {"rle": LEFT} if words is None else {"rle": LEFT, "brushlabels": words}
    (drawn,) = label_studio.read(results(("brushlabels", value)), "a", known := growing())
    assert (drawn.labels, known.classes) == (None, [])
    assert "without a label" in drawn.problems[0]


def test_paths_of_local_files_are_decoded_once():
    value = results(("brushlabels", {"rle": LEFT, "brushlabels": ["road"]}))
    for name in ("a%20b.png", "a b.png", "a+b.png", "ä#?.png"):
        value[0]["data"]["image"] = label_studio.local_address(f"im/{name}")
        (drawn,) = label_studio.read(value, "a", legend(NAMES))
        assert drawn.name == name


def document(images: Any, categories: Any, annotations: Any) -> dict[str, Any]:
    """COCO of images of 2 × 1 pixels: their ids, categories, and (image, category) per shape."""
    whole = {"counts": [0, 2], "size": [1, 2]}
    return {
        "images": [
            {"id": number, "file_name": name, "width": 2, "height": 1} for number, name in images
        ],
        "categories": [{"id": number, "name": name} for number, name in categories],
        "annotations": [
            {"image_id": image, "category_id": category, "segmentation": whole}
            for image, category in annotations
        ],
    }


@pytest.mark.parametrize(("kind", "other"), [(int, int), (float, float), (str, int), (int, float)])
def test_ids_of_coco_mean_the_same_as_numbers_and_text(kind, other):
    given = document(
        [(kind(1), "a"), (kind(2), "b")],
        [(kind(7), "road"), (kind(8), NAMES[2])],
        [(other(1), other(7)), (other(2), other(8))],
    )
    drawn = list(coco.read(given, "a.json", legend(NAMES)))
    assert [(d.name, d.labels.tolist()) for d in drawn] == [("a", [[1, 1]]), ("b", [[3, 3]])]


@pytest.mark.parametrize(
    ("images", "categories", "words"),
    [
        ([(1, "a"), (1, "b")], [(7, "road")], "'a' and 'b' of the images have one id, 1"),
        ([(1, "a")], [(7, "road"), (7, "sky")], "'road' and 'sky' of the categories have one id"),
        ([(None, "a")], [(7, "road")], "'a' of the images has the id None"),
        ([([1], "a")], [(7, "road")], "has the id \\[1\\]"),
        ([(1, "a")], [(1.5, "road")], "has the id 1.5"),
    ],
)
def test_ids_of_coco_that_do_not_tell_entries_apart_are_refused(images, categories, words):
    with pytest.raises(PoolError, match=words):
        list(coco.read(document(images, categories, [(1, 7)]), "a.json", legend(NAMES)))


def test_what_is_listed_twice_in_coco_counts_once():
    given = document([(1, "a"), (1, "a")], [(7, "road"), (7, "road")], [(1, 7)])
    assert len(list(coco.read(given, "a.json", legend(NAMES)))) == 1


@pytest.mark.parametrize("missing", [9, None, [1]])
def test_shapes_of_an_image_or_a_category_that_coco_does_not_list_are_told(missing):
    if not isinstance(missing, list):
        given = document([(1, "a")], [(7, "road")], [(1, 7), (missing, 7), (missing, 7)])
        drawn, other = coco.read(given, "a.json", legend(NAMES))
        assert (drawn.labels.tolist(), drawn.problems) == ([[1, 1]], ())
        assert other.name.endswith(f"such as image_id {missing!r}")
        assert other.problems == ("2 annotation(s) of them are left out",)
    given = document([(1, "a")], [(7, "road")], [(1, missing)])
    (drawn,) = coco.read(given, "a.json", known := growing())
    assert (drawn.labels, known.classes) == (None, ["road"])
    assert f"of the category {missing!r}, which the file does not list" in drawn.problems[0]


def test_a_color_that_two_classes_share_is_left_out_and_told(tmp_path):
    labels = [("background", (0, 0, 0)), ("road", (70,) * 3), ("car", (70,) * 3), ("b", (9, 9, 9))]
    labels.append(("hood", (0, 0, 0)))
    data = io.BytesIO()
    picture = np.zeros((4, 1, 3), np.uint8)
    picture[1], picture[2] = 70, 9
    Image.fromarray(picture).save(data, format="PNG")
    known = Legend({"road": 1, "car": 2, "b": 3, "hood": 4}, ("road", "car", "b", "hood"))
    (drawn,) = voc.read(labels, ["a.png"], lambda name: data.getvalue(), known)
    assert drawn.labels.ravel().tolist() == [0, 0, 3, 0]
    assert "2 pixel(s) of the color 0,0,0, which background and hood share" in drawn.problems[0]
    assert "1 pixel(s) of the color 70,70,70, which road and car share" in drawn.problems[1]
    merged = Legend({"road": 1, "car": 1, "b": 3, "hood": 0}, ("road", "car", "b", "hood"))
    (drawn,) = voc.read(labels, ["a.png"], lambda name: data.getvalue(), merged)
    assert (drawn.labels.ravel().tolist(), drawn.problems) == ([0, 1, 3, 0], ())


def test_colours_for_a_tool_tell_the_classes_apart():
    given = [(70, 70, 70), (0, 0, 0), (70, 70, 70), (128, 0, 0), (224, 224, 192)]
    found = tool_colours(given)
    assert (found[0], found[3]) == (given[0], given[3])
    assert len({(0, 0, 0), (224, 224, 192), *found}) == len(given) + 2
    assert len(set(tool_colours([(1, 1, 1)] * 1000))) == 1000


@pytest.mark.parametrize("beside", ["__MACOSX/._annotations.json", "x/._annotations.json"])
def test_files_that_macos_puts_beside_others_are_not_read(tmp_path, beside):
    write_pool(tmp_path / "images", 1)
    given = document([(1, "000.png")], [(7, "road")], [(1, 7)])
    given["images"][0] |= {"width": SIZE[1], "height": SIZE[0]}
    given["annotations"][0]["segmentation"] = [[0, 0, 9, 0, 9, 9, 0, 9]]
    files: dict[str, bytes | str] = {"annotations.json": json.dumps(given), beside: b"\0\5\x16\7"}
    folder = tmp_path / "unpacked"
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
    for number, export in enumerate((zipped(tmp_path / "a.zip", files), folder)):
        found = deal.collect(
            export, from_="coco", output=tmp_path / str(number), images=tmp_path / "images"
        )
        assert (found.count, found.problems) == (1, ())
