"""Cityscapes' folders and ids, on a small tree in its layout."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deal.errors import PoolError
from deal.labeled.cityscapes import CITYSCAPES, is_cityscapes, list_cityscapes
from deal.labeled.labels import read_label
from tests.helpers.cityscapes import ALL_IDS, write_cityscapes

# Ids and train ids as cityscapesScripts' labels.py lists them, −1 (license plate) as 255.
TRAIN_IDS = {
    7: 0,
    8: 1,
    11: 2,
    12: 3,
    13: 4,
    17: 5,
    19: 6,
    20: 7,
    21: 8,
    22: 9,
    23: 10,
    24: 11,
    25: 12,
    26: 13,
    27: 14,
    28: 15,
    31: 16,
    32: 17,
    33: 18,
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_cityscapes(
        tmp_path, train={"aachen": 4, "bochum": 3, "ulm": 5}, val={"frankfurt": 2, "lindau": 1}
    )
    return tmp_path


def names(root: Path, split: str) -> list[str]:
    return [
        pair.image.name.removesuffix("_leftImg8bit.png") for pair in list_cityscapes(root, split)
    ]


def read(root: Path, split: str, void: int = 255) -> np.ndarray:
    return read_label(list_cityscapes(root, split)[0], (32, 64), 19, void)


def test_val_is_taken_from_train_and_the_official_val_is_test(root):
    train, val, test = (names(root, split) for split in ("train", "val", "test"))
    assert test == ["frankfurt_000000_000019", "frankfurt_000001_000019", "lindau_000000_000019"]
    assert len(val) == 2  # 12·300/2975, rounded up
    assert not set(train) & set(val)
    assert sorted([*train, *val]) == sorted(
        f"{city}_{index:06}_000019"
        for city, count in {"aachen": 4, "bochum": 3, "ulm": 5}.items()
        for index in range(count)
    )
    assert train == sorted(train)


@pytest.mark.slow
def test_of_the_2975_training_images_300_are_held_out_the_same_everywhere(tmp_path):
    for kind, suffix in (("leftImg8bit", "leftImg8bit"), ("gtFine", "gtFine_labelIds")):
        folder = tmp_path / kind / "train" / "city"
        folder.mkdir(parents=True)
        for index in range(2975):
            (folder / f"city_{index:06}_000019_{suffix}.png").touch()
    val = names(tmp_path, "val")
    assert len(val) == 300
    assert len(names(tmp_path, "train")) == 2675
    assert [name[5:11] for name in val[:3]] == ["000013", "000015", "000016"]


def test_who_is_held_out_hangs_on_names_alone(root, tmp_path):
    before = names(root, "val")
    moved = tmp_path / "moved"
    for kind in ("leftImg8bit", "gtFine"):
        shutil.copytree(root / kind, moved / kind)
    assert names(moved, "val") == before


def test_ids_become_train_ids_and_the_rest_void(root):
    label = read(root, "train")
    expected = np.array([TRAIN_IDS.get(i, 255) for i in ALL_IDS])[np.arange(64) * 35 // 64]
    assert (label == expected).all()
    assert set(np.unique(label)) == {*range(19), 255}
    assert set(np.unique(read(root, "train", void=99))) == {*range(19), 99}


def test_train_ids_are_read_where_there_are_no_ids(tmp_path):
    write_cityscapes(tmp_path, train={"ulm": 2}, val={"lindau": 1}, kind="labelTrainIds")
    expected = np.array([*range(19), 255])[np.arange(64) * 20 // 64]
    assert (read(tmp_path, "train") == expected).all()
    write_cityscapes(tmp_path, train={"ulm": 2}, val={"lindau": 1})
    assert list_cityscapes(tmp_path, "train")[0].label.name.endswith("_gtFine_labelIds.png")


def test_classes_and_colours_are_the_official_ones():
    assert len(CITYSCAPES.names) == len(CITYSCAPES.palette) == len(set(CITYSCAPES.palette)) == 19
    colour = dict(zip(CITYSCAPES.names, CITYSCAPES.palette, strict=True))
    assert CITYSCAPES.names[:3] == ("road", "sidewalk", "building")
    assert colour["road"] == (128, 64, 128)
    assert colour["traffic sign"] == (220, 220, 0)
    assert colour["bicycle"] == (119, 11, 32)


@pytest.mark.parametrize("missing", ["gtFine", "leftImg8bit", "gtFine/train"])
def test_a_missing_folder_says_what_to_unpack(root, missing):
    shutil.rmtree(root / missing)
    assert is_cityscapes(root)
    with pytest.raises(PoolError, match=r"is missing: unpack leftImg8bit_trainvaltest\.zip and gt"):
        list_cityscapes(root, "val")


def test_an_image_without_label_and_a_label_without_image_are_named(root):
    label = root / "gtFine/train/ulm/ulm_000001_000019_gtFine_labelIds.png"
    kept = label.read_bytes()
    label.unlink()
    with pytest.raises(PoolError, match=r"image .*ulm_000001.* has no label .*labelIds\.png"):
        list_cityscapes(root, "train")
    label.write_bytes(kept)
    (root / "leftImg8bit/train/ulm/ulm_000001_000019_leftImg8bit.png").unlink()
    with pytest.raises(
        PoolError, match=r"label .*ulm_000001.* has no image in .*leftImg8bit/train"
    ):
        list_cityscapes(root, "train")


def test_a_split_needs_images_and_train_two(tmp_path):
    for kind in ("leftImg8bit", "gtFine"):
        (tmp_path / kind / "val" / "lindau").mkdir(parents=True)
    with pytest.raises(PoolError, match=r"val has no CITY/\*_leftImg8bit\.png"):
        list_cityscapes(tmp_path, "test")
    write_cityscapes(tmp_path, train={"ulm": 1}, val={})
    with pytest.raises(PoolError, match="only one image, but val is also taken from it"):
        list_cityscapes(tmp_path, "train")
    with pytest.raises(PoolError, match="splits train, val, test, not 'demoVideo'"):
        list_cityscapes(tmp_path, "demoVideo")


def test_unknown_ids_and_other_sizes_are_refused(root):
    files = list_cityscapes(root, "train")[0]
    with pytest.raises(PoolError, match="is 64x32, but its image is 64x33"):
        read_label(files, (33, 64), 19, 255)
    Image.new("L", (64, 32), 34).save(files.label)
    with pytest.raises(PoolError, match=r"has index 34; allowed are 0…33 and 255 \(void\)"):
        read_label(files, (32, 64), 19, 255)
