"""Data sets on disk: what is read, and what is refused before training starts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deal.errors import PoolError, UsageError
from deal.pool.decode import decode_bytes
from deal.training.data import held_out, load_dataset
from tests.helpers.cityscapes import write_cityscapes

CAMVID = Path("../shared/camvid")


def write_pair(root: Path, split: str, name: str, label: np.ndarray, size=None) -> None:
    height, width = size or label.shape
    for kind in ("images", "labels"):
        (root / split / kind).mkdir(parents=True, exist_ok=True)
    rgb = np.random.default_rng(len(name)).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(rgb).save(root / split / "images" / f"{name}.png")
    Image.fromarray(label.astype(np.uint8)).save(root / split / "labels" / f"{name}.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split in ("train", "val"):
        for name in ("b", "a"):
            write_pair(tmp_path, split, name, np.array([[0, 1, 255], [1, 1, 0]]))
    (tmp_path / "classes.json").write_text(json.dumps({"classes": ["road", "sky"]}))
    return tmp_path


def load(root, name="folder", size=None):
    return load_dataset(name, root, size=size, scenes=5)


def test_folder_is_read_sorted_with_its_classes(root):
    data = load(root)
    assert [sample.name for sample in data.train] == ["a", "b"]
    assert data.classes == ("road", "sky")
    assert data.palette == ((128, 0, 0), (0, 128, 0))
    assert data.ignore_index == 255
    assert data.size == (2, 3)
    assert data.test == ()
    assert data.train[0].label.tolist() == [[0, 1, 255], [1, 1, 0]]


def test_images_are_resized_and_labels_kept(root):
    data = load(root, size=(4, 6))
    assert data.size == (4, 6)
    assert data.val[0].image.shape == (4, 6, 3)
    assert data.val[0].label.shape == (2, 3)


def test_images_are_decoded_as_scoring_decodes_them(root):
    grey = np.array([[0, 257, 30000], [40000, 65278, 65535]], np.uint16)
    Image.fromarray(grey).save(root / "train/images/a.png")
    turned = Image.fromarray(np.arange(18, dtype=np.uint8).reshape(3, 2, 3))
    exif = Image.Exif()
    exif[0x0112] = 6  # lying on its side: the label is of the upright image
    turned.save(root / "train/images/b.png", exif=exif)
    data = load(root)
    assert data.train[0].image[..., 0].tolist() == [[0, 1, 117], [156, 254, 255]]
    assert data.train[1].image.tolist() == np.rot90(np.asarray(turned), -1).tolist()
    for sample in data.train:
        assert np.array_equal(sample.image, decode_bytes(sample.path.read_bytes()).image)


def test_files_that_share_a_name_are_refused(root):
    (root / "train/images/a.bmp").write_bytes((root / "train/images/a.png").read_bytes())
    with pytest.raises(PoolError, match=r"images/a\.bmp and a\.png have one name.*rename"):
        load(root)


def test_hidden_files_are_passed_over_as_scoring_passes_them_over(root):
    for kind in ("images", "labels"):
        (root / "train" / kind / "._a.png").write_bytes(b"what macOS leaves on foreign disks")
    assert [sample.name for sample in load(root).train] == ["a", "b"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"classes": ["road", "road"]}, "'classes' names 'road' twice"),
        ({"ignore_index": 1}, "must not be a class index, but an 8-bit value: 2 to 255"),
        ({"ignore_index": -1}, "8-bit value"),
        ({"ignore_index": True}, "8-bit value"),
        ({"palette": [[0, 0, 256], [0, 0, 0]]}, "triples of 0 to 255"),
        ({"palette": [[0, 0, 0.5], [1.0, 1.0, 1.0]]}, "whole numbers"),
        ({"palette": [[0, 0, float("inf")], [0, 0, 0]]}, "triples of 0 to 255"),
        ({"palette": 5}, "must be a list of colours"),
    ],
)
def test_classes_that_labels_cannot_have_are_refused(root, values, message):
    (root / "classes.json").write_text(json.dumps({"classes": ["road", "sky"], **values}))
    with pytest.raises(PoolError, match=message):
        load(root)


def test_classes_are_read_with_a_byte_order_mark(root):
    text = (root / "classes.json").read_text()
    (root / "classes.json").write_text(text, encoding="utf-8-sig")
    assert load(root).classes == ("road", "sky")


def test_an_image_without_label_is_named(root):
    (root / "train/labels/b.png").unlink()
    with pytest.raises(PoolError, match=r"image .*train/images/b\.png has no label in"):
        load(root)


def test_a_label_without_image_is_named(root):
    (root / "val/images/a.png").unlink()
    with pytest.raises(PoolError, match=r"label .*val/labels/a\.png has no image in"):
        load(root)


def test_a_label_of_another_size_is_refused(root):
    write_pair(root, "train", "c", np.zeros((4, 5)), size=(4, 4))
    with pytest.raises(PoolError, match=r"labels/c\.png is 5x4, but its image is 4x4"):
        load(root)


def test_held_out_images_replace_val_and_test(root):
    write_pair(root, "train", "b-2", np.array([[0, 1, 255], [1, 1, 0]]))
    data = load(root)
    held = held_out(data, "b*")
    assert [sample.name for sample in held.train] == ["a"]
    assert held.val == data.train[1:]
    assert held.test == ()
    assert (held.classes, held.size) == (data.classes, data.size)


@pytest.mark.parametrize(("names", "which"), [("c*", "no"), ("*", "every"), ("A", "no")])
def test_a_pattern_that_splits_nothing_is_refused(root, names, which):
    with pytest.raises(UsageError, match=f"matches {which} training image.*such as 'a"):
        held_out(load(root), names)


def test_held_out_images_need_labeled_pixels(root):
    write_pair(root, "train", "void", np.full((2, 3), 255))
    with pytest.raises(PoolError, match="no labeled pixel"):
        held_out(load(root), "void")


def test_an_index_outside_the_classes_is_refused(root):
    write_pair(root, "val", "c", np.array([[0, 2, 255], [1, 1, 0]]))
    with pytest.raises(PoolError, match=r"c\.png has index 2; allowed are 0…1 and 255"):
        load(root)


def test_colour_labels_are_refused(root):
    Image.new("RGB", (3, 2)).save(root / "train/labels/a.png")
    with pytest.raises(PoolError, match="mode RGB; labels are 8-bit PNG"):
        load(root)


def test_palette_labels_are_read_as_indices(root):
    label = Image.frombytes("P", (3, 2), bytes([1, 0, 1, 0, 0, 0]))
    label.putpalette([9, 9, 9, 200, 200, 200])
    label.save(root / "train/labels/a.png")
    assert load(root).train[0].label.tolist() == [[1, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize("kind", ["images", "labels"])
def test_an_unreadable_file_is_refused(root, kind):
    (root / "train" / kind / "a.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(PoolError, match="cannot be read"):
        load(root)


def test_a_label_above_the_limit_of_pillow_is_refused(root, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2)
    with pytest.raises(PoolError, match=r"label .* cannot be read: Image size \(6 pixels\)"):
        load(root)


def test_an_empty_split_is_refused(root):
    for path in (root / "val/images").iterdir():
        path.unlink()
    with pytest.raises(PoolError, match="every split needs at least one"):
        load(root)


def test_an_empty_test_split_is_none(root):
    for kind in ("images", "labels"):
        (root / "test" / kind).mkdir(parents=True)
    assert load(root).test == ()
    write_pair(root, "test", "a", np.zeros((2, 3)))
    assert len(load(root).test) == 1


def test_a_split_of_void_alone_is_refused(root):
    for name in ("a", "b"):
        write_pair(root, "val", name, np.full((2, 3), 255))
    with pytest.raises(PoolError, match=r"split val of .* has no labeled pixel"):
        load(root)


def test_a_missing_split_says_what_is_expected(root):
    (root / "val").rename(root / "valid")
    with pytest.raises(PoolError, match="expected ROOT/SPLIT/images"):
        load(root)


def test_images_of_several_sizes_need_a_size(root):
    write_pair(root, "train", "c", np.zeros((4, 5)))
    with pytest.raises(PoolError, match="give --size HxW"):
        load(root)
    assert load(root, size=(2, 3)).size == (2, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "it must hold"),
        ("{", "is not JSON"),
        ('{"classes": ["road"]}', "two or more names"),
        ('["road", "sky"]', "two or more names"),
        ('{"classes": ["road", "sky"], "palette": [[1, 2, 3]]}', "1 colours"),
        ('{"classes": ["road", "sky"], "palette": [[1, 2], [3, 4]]}', "triples"),
        ('{"classes": ["road", "sky"], "ignore_index": 1}', "must not be a class"),
    ],
)
def test_classes_must_be_stated(root, content, message):
    (root / "classes.json").unlink()
    if content is not None:
        (root / "classes.json").write_text(content)
    with pytest.raises(PoolError, match=message):
        load(root)


def test_roots_and_names_must_fit(root):
    with pytest.raises(UsageError, match="needs a folder: --data ROOT"):
        load(None)
    with pytest.raises(UsageError, match="leave out --data"):
        load(root, "synthetic")
    with pytest.raises(UsageError, match="camvid, cityscapes, folder, synthetic"):
        load(root, "kitti")
    with pytest.raises(PoolError, match="is not a folder"):
        load(root / "nowhere")


@pytest.fixture
def cityscapes(tmp_path: Path) -> Path:
    write_cityscapes(tmp_path, train={"aachen": 8, "ulm": 4}, val={"lindau": 3})
    return tmp_path


def test_cityscapes_labels_are_reduced_for_training_and_whole_for_evaluation(cityscapes):
    data = load(cityscapes, "cityscapes", size=(8, 16))
    assert [len(data.train), len(data.val), len(data.test)] == [10, 2, 3]
    assert data.classes[0] == "road"
    assert len(data.classes) == 19
    assert data.ignore_index == 255
    assert data.size == (8, 16)
    assert {sample.label.shape for sample in data.train} == {(8, 16)}
    assert {sample.label.shape for sample in (*data.val, *data.test)} == {(32, 64)}
    assert all(sample.path.name == f"{sample.name}.png" for sample in data.train)
    # Nearest: the pixel under the centre, and no number that is no class.
    same = {sample.name: sample for sample in load(cityscapes, "cityscapes", size=(32, 64)).train}
    for sample in data.train:
        assert (sample.label == same[sample.name].label[2::4, 2::4]).all()


def test_cityscapes_needs_a_size(cityscapes):
    with pytest.raises(UsageError, match="needs a size HxW, such as 512x1024"):
        load(cityscapes, "cityscapes")


def test_cityscapes_labels_are_checked_before_they_are_reduced(cityscapes):
    label = next((cityscapes / "gtFine/val").rglob("*_labelIds.png"))
    Image.new("L", (64, 33)).save(label)
    with pytest.raises(PoolError, match="is 64x33, but its image is 64x32"):
        load(cityscapes, "cityscapes", size=(8, 16))


def test_synthetic_splits_share_no_scene():
    data = load_dataset("synthetic", None, size=(32, 40), scenes=10)
    names = [sample.name for split in (data.train, data.val, data.test) for sample in split]
    assert [len(data.train), len(data.val), len(data.test)] == [10, 2, 2]
    assert len(set(names)) == 14
    assert data.size == (32, 40)


@pytest.mark.skipif(not CAMVID.is_dir(), reason="CamVid is not at ../shared/camvid")
def test_camvid_is_read_from_its_folder(tmp_path):
    for split in ("train", "val", "test"):
        for kind, suffix in (("images", ".jpg"), ("labels", ".png")):
            (tmp_path / split / kind).mkdir(parents=True)
            first = min((CAMVID / split / kind).iterdir())
            assert first.suffix == suffix
            (tmp_path / split / kind / first.name).write_bytes(first.read_bytes())
    data = load(tmp_path, "camvid")
    assert data.size == (360, 480)
    assert data.classes[:4] == ("sky", "building", "pole", "road")
    assert data.ignore_index == 11
    assert data.palette[3] == (128, 64, 128)
