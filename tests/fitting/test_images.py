"""Which labeled images are fitted on and which held out, and what is refused."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deal.errors import PoolError, UsageError
from deal.fitting.images import find_images, find_split, find_void, read
from deal.labeled.cityscapes import CITYSCAPES
from deal.model.spec import read_spec
from tests.helpers.cityscapes import write_cityscapes
from tests.helpers.labeled import write_labeled
from tests.helpers.models import CLASSES, metadata, save_model

DRIVE = r"images/(\w+)_\d+"


def pairs(count: int):
    label = np.tile(np.arange(5), (4, 1))
    return [(np.zeros((4, 5, 3), np.uint8), label)] * count


def names(images):
    return [image.id for image in images]


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "m.onnx"
    return read_spec(save_model(path, props=metadata(ignore_index=250)))


def test_split_val_is_held_out_where_there_is_one(tmp_path):
    write_labeled(tmp_path, "train", pairs(3))
    write_labeled(tmp_path, "val", pairs(2))
    write_labeled(tmp_path, "test", pairs(1))
    found = find_images(tmp_path)
    assert names(found.fit) == [f"train/images/frame_00{i}.png" for i in range(3)]
    assert names(found.held_out) == ["val/images/frame_000.png", "val/images/frame_001.png"]
    assert found.rule == "split val"
    assert names(find_images(tmp_path, "test").held_out) == ["test/images/frame_000.png"]


def test_a_name_that_is_not_utf8_gets_the_id_of_a_scored_image(tmp_path):
    write_labeled(tmp_path, "", pairs(1))
    for path in tmp_path.glob("*/frame_000.png"):
        path.rename(os.fsdecode(os.fsencode(path.parent) + b"/caf\xe9.png"))
    (image,) = find_split(tmp_path)[0]
    assert image.id == "images/caf%E9.png"
    assert read(image, 5, 255)[1].shape == (4, 5)


@pytest.mark.parametrize("split", ["", "train"])
def test_every_fifth_image_is_held_out_without_val_and_the_leak_is_named(tmp_path, split):
    write_labeled(tmp_path, split, pairs(12))
    found = find_images(tmp_path)
    assert [name[-7:-4] for name in names(found.held_out)] == ["004", "009"]
    assert len(found.fit) == 10
    assert "--sequence-from keeps drives apart" in found.notes[0]
    assert len(find_images(tmp_path, "every:2").held_out) == 6


def test_an_empty_test_split_is_none(tmp_path):
    write_labeled(tmp_path, "val", pairs(2))
    for kind in ("images", "labels"):
        (tmp_path / "test" / kind).mkdir(parents=True)
    assert find_split(tmp_path)[1] == "val"
    write_labeled(tmp_path, "test", pairs(1))
    (tmp_path / "test/labels/frame_000.png").unlink()
    with pytest.raises(PoolError, match=r"frame_000\.png has no label"):
        find_split(tmp_path)


def test_two_images_are_enough(tmp_path):
    write_labeled(tmp_path, "", pairs(2))
    found = find_images(tmp_path)
    assert (len(found.fit), len(found.held_out)) == (1, 1)


def test_whole_sequences_are_held_out(tmp_path):
    for drive in ("a", "b", "c"):
        write_labeled(tmp_path, "", pairs(3), prefix=drive)
    found = find_images(tmp_path, "every:2", DRIVE)
    assert {image.sequence for image in found.held_out} == {"b"}
    assert {image.sequence for image in found.fit} == {"a", "c"}
    assert (found.rule, found.notes) == ("1 of 3 sequences", ())


def test_a_sequence_of_val_is_not_fitted_on(tmp_path):
    write_labeled(tmp_path, "train", pairs(3), prefix="a")
    write_labeled(tmp_path, "train", pairs(2), prefix="b")
    write_labeled(tmp_path, "val", pairs(2), prefix="b")
    found = find_images(tmp_path, sequence_from=DRIVE)
    assert {image.sequence for image in found.fit} == {"a"}
    assert found.notes == ("2 images of train are left out: their sequences are in val",)
    with pytest.raises(PoolError, match=r"every sequence of .*train is in val too"):
        find_images(tmp_path, sequence_from="(images)")


@pytest.mark.parametrize("rule", ["every:1", "every:x", "every", "train", "val:2", "", "../val"])
def test_a_rule_that_makes_no_sense_is_a_usage_error(tmp_path, rule):
    write_labeled(tmp_path, "train", pairs(3))
    with pytest.raises(UsageError, match="every:"):
        find_images(tmp_path, rule)


def test_a_split_needs_splits(tmp_path):
    write_labeled(tmp_path, "", pairs(3))
    with pytest.raises(UsageError, match="has no splits"):
        find_images(tmp_path, "val")


@pytest.mark.parametrize(
    ("text", "message"), [("(", "not a regular expression"), ("frame", "has no group")]
)
def test_sequences_need_an_expression_with_a_group(tmp_path, text, message):
    write_labeled(tmp_path, "", pairs(3))
    with pytest.raises(UsageError, match=message):
        find_images(tmp_path, sequence_from=text)


def test_an_image_without_sequence_is_named(tmp_path):
    write_labeled(tmp_path, "", pairs(3))
    with pytest.raises(PoolError, match=r"finds no sequence in images/frame_000\.png"):
        find_images(tmp_path, sequence_from="drive(.)")


def test_one_image_alone_is_refused(tmp_path):
    write_labeled(tmp_path, "", pairs(1))
    with pytest.raises(PoolError, match="one image alone cannot be"):
        find_images(tmp_path)


def test_one_sequence_alone_is_refused(tmp_path):
    write_labeled(tmp_path, "", pairs(4))
    with pytest.raises(PoolError, match="one sequence alone"):
        find_images(tmp_path, sequence_from=DRIVE)


def test_no_labels_and_empty_splits_are_named(tmp_path):
    with pytest.raises(PoolError, match="is not a folder: expected ROOT"):
        find_images(tmp_path / "nowhere")
    with pytest.raises(PoolError, match="neither train/ nor images/: expected ROOT"):
        find_images(tmp_path)
    write_labeled(tmp_path, "train", pairs(2))
    (tmp_path / "val/images").mkdir(parents=True)
    (tmp_path / "val/labels").mkdir()
    with pytest.raises(PoolError, match="val/images has no images"):
        find_images(tmp_path)
    (tmp_path / "train/labels/frame_001.png").unlink()
    with pytest.raises(PoolError, match=r"frame_001\.png has no label"):
        find_images(tmp_path)


def test_images_in_subfolders_are_told_from_none(tmp_path):
    write_labeled(tmp_path, "val", pairs(1))
    for kind in ("images", "labels"):
        inner = tmp_path / "val" / kind / "town"
        inner.mkdir()
        (tmp_path / "val" / kind / "frame_000.png").rename(inner / "frame_000.png")
    with pytest.raises(PoolError, match="val/images lie in subfolders: move them to"):
        find_split(tmp_path)


def test_void_is_the_option_else_that_of_the_classes_else_of_the_model(tmp_path, spec):
    assert find_void(tmp_path, spec, None) == 250
    (tmp_path / "classes.json").write_text(json.dumps({"classes": list(CLASSES)}))
    assert find_void(tmp_path, spec, None) == 255
    assert find_void(tmp_path, spec, 7) == 7


@pytest.mark.parametrize("void", [4, 256, -1])
def test_a_class_cannot_be_void(tmp_path, spec, void):
    with pytest.raises(UsageError, match="--ignore-index"):
        find_void(tmp_path, spec, void)


def test_classes_must_be_those_of_the_model(tmp_path, spec):
    path = tmp_path / "classes.json"
    path.write_text(json.dumps({"classes": ["road", "sky"]}))
    with pytest.raises(PoolError, match=r"2 classes, model .* 5"):
        find_void(tmp_path, spec, None)
    path.write_text(json.dumps({"classes": sorted(CLASSES)}))
    with pytest.raises(PoolError, match="in another order"):
        find_void(tmp_path, spec, None)


def one(root: Path):
    write_labeled(root, "", pairs(2))
    return find_images(root).fit[0]


def test_an_image_and_its_label_are_read(tmp_path):
    rgb, label = read(one(tmp_path), 5, 255)
    assert rgb.shape == (4, 5, 3)
    assert label.tolist() == [[0, 1, 2, 3, 4]] * 4


def test_coloured_labels_other_sizes_and_indices_are_refused(tmp_path):
    image = one(tmp_path)
    with pytest.raises(PoolError, match=r"has index 4; allowed are 0…3 and 255 \(void\)"):
        read(image, 4, 255)
    Image.new("L", (7, 3)).save(image.files.label)
    with pytest.raises(PoolError, match="is 7x3, but its image is 5x4"):
        read(image, 5, 255)
    Image.new("RGB", (5, 4), (128, 64, 128)).save(image.files.label)
    with pytest.raises(PoolError, match="one class index per pixel"):
        read(image, 5, 255)
    image.files.image.write_bytes(b"no image")
    with pytest.raises(PoolError, match=r"frame_000\.png cannot be read: not a JPEG"):
        read(image, 5, 255)
    image.files.image.unlink()
    with pytest.raises(PoolError, match="cannot be read: No such file"):
        read(image, 5, 255)


def test_cityscapes_is_measured_on_test(tmp_path):
    write_cityscapes(tmp_path, train={"ulm": 11}, val={"lindau": 2})
    found, split = find_split(tmp_path)
    assert (len(found), split) == (2, "test")
    assert len(find_split(tmp_path, "val")[0]) == 2


def test_cityscapes_is_known_by_its_folders(tmp_path, spec):
    write_cityscapes(tmp_path, train={"ulm": 11}, val={"lindau": 2})
    found = find_images(tmp_path)
    assert (len(found.fit), len(found.held_out)) == (9, 2)
    assert found.rule == "split val"
    assert all(name.startswith("leftImg8bit/train/ulm/ulm_") for name in names(found.held_out))
    others = find_images(tmp_path, "test", r"/(\w+?_\d+)_").held_out
    assert [image.sequence for image in others] == ["lindau_000000", "lindau_000001"]
    rgb, label = read(found.fit[0], 19, 255)
    assert rgb.shape == (32, 64, 3)
    assert sorted(set(label.flat)) == [*range(19), 255]
    with pytest.raises(PoolError, match=r"has 19 classes, model .* 5"):
        find_void(tmp_path, spec, None)
    assert find_void(tmp_path, replace(spec, classes=CITYSCAPES.names), None) == 255
    other = replace(spec, classes=CITYSCAPES.names[::-1])
    with pytest.raises(PoolError, match="in another order"):
        find_void(tmp_path, other, None)
