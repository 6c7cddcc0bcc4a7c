from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deal.errors import UsageError
from deal.pool.decode import MAX_PIXELS
from deal.pool.listing import Pool
from deal.scoring.masks import Masks, check_masks, load_mask, parse_masks

ONES = np.ones((4, 6), np.uint8)


def test_a_mask_is_any_image_where_zero_means_ignore(tmp_path: Path) -> None:
    levels = np.array([[0, 1], [128, 255]], np.uint8)
    Image.fromarray(levels).save(tmp_path / "grey.png")
    Image.fromarray(levels).convert("1").save(tmp_path / "bits.png")
    assert (load_mask(tmp_path / "grey.png") == levels).all()
    bits = load_mask(tmp_path / "bits.png")
    assert bits[0, 0] == 0
    assert bits[1, 1] == 255


@pytest.mark.parametrize("content", [None, b"", b"not an image"])
def test_a_mask_that_cannot_be_read_is_a_usage_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "mask.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"mask .*mask\.png.* grey image"):
        parse_masks(path)


def test_texts_name_the_camera_before_the_file(tmp_path: Path) -> None:
    for name, level in (("all=.png", 1), ("front.png", 2), ("rear.png", 3)):
        Image.fromarray(ONES * level).save(tmp_path / name)
    masks = parse_masks(
        (f"={tmp_path}/all=.png", f"front={tmp_path}/front.png", f"rear 2={tmp_path}/rear.png")
    )
    assert masks is not None
    found = {camera: masks.get(camera) for camera in ("front", "rear 2", "left", None)}
    assert {key: mask[0, 0] for key, mask in found.items() if mask is not None} == {
        "front": 2,
        "rear 2": 3,
        "left": 1,
        None: 1,
    }


def test_a_mapping_and_a_plain_array_are_masks_too() -> None:
    by_camera, plain = parse_masks({"front": ONES}), parse_masks(ONES)
    assert by_camera is not None
    assert plain is not None
    assert by_camera.get("front") is plain.get("front") is ONES
    assert by_camera.get("rear") is by_camera.get(None) is None
    assert parse_masks(None) is parse_masks(()) is None


def test_two_masks_for_one_camera_are_refused(tmp_path: Path) -> None:
    Image.fromarray(ONES).save(tmp_path / "m.png")
    for camera in ("front=", ""):
        with pytest.raises(UsageError, match="two masks for"):
            parse_masks([f"{camera}{tmp_path}/m.png"] * 2)


def test_settings_tell_masks_and_cameras_apart() -> None:
    other = ONES * 2
    found = [
        masks.settings()
        for masks in (
            Masks(),
            Masks(ONES),
            Masks(other),
            Masks(None, {"a": ONES}),
            Masks(None, {"b": ONES}),
            Masks(None, {"a": other}),
            Masks(ONES, {"a": ONES}),
        )
    ]
    assert all(found.count(settings) == 1 for settings in found)


def write_manifest(folder: Path, images: dict[str, tuple[str, tuple[int, int]]]) -> Path:
    lines = ["uri,camera"]
    for name, (camera, size) in images.items():
        Image.new("RGB", size[::-1]).save(folder / name)
        lines.append(f"{name},{camera}")
    manifest = folder / "pool.csv"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


def check(masks: Masks, pool: Path) -> list[str]:
    return check_masks(masks, Pool(pool), max_pixels=MAX_PIXELS)


def test_sizes_are_held_against_the_first_image_of_their_camera(tmp_path: Path) -> None:
    pool = write_manifest(
        tmp_path,
        {"a.png": ("front", (4, 6)), "b.png": ("rear", (8, 9)), "c.png": ("front", (1, 1))},
    )
    assert check(Masks(None, {"front": ONES, "rear": np.ones((8, 9), np.uint8)}), pool) == []
    with pytest.raises(UsageError, match=r"camera 'rear' has 4×6 .*'b\.png' 8×9"):
        check(Masks(None, {"rear": ONES}), pool)
    with pytest.raises(UsageError, match=r"the mask has 4×6 .*'b\.png' 8×9"):
        check(Masks(ONES, {"front": ONES}), pool)


def test_cameras_without_images_and_images_without_masks_are_noted_once(tmp_path: Path) -> None:
    pool = write_manifest(
        tmp_path,
        {"a.png": ("front", (4, 6)), "b.png": ("rear", (8, 9)), "c.png": ("", (1, 1))},
    )
    notes = check(Masks(None, {"front": ONES, "front2": ONES}), pool)
    assert len(notes) == 2
    assert "no image of this pool is from camera 'front2'" in notes[0]
    assert "2 images are from cameras without a mask" in notes[1]


@pytest.mark.parametrize("mask", [np.zeros((4, 4), np.uint8), np.ones((4, 4), bool), "m.png"])
def test_useless_masks_are_refused(mask: Any) -> None:
    for masks in (mask, {"front": mask}):
        with pytest.raises(UsageError, match="the mask must be a NumPy array of uint8"):
            Masks.of(masks)
