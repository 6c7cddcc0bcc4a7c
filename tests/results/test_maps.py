from __future__ import annotations

import math
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from deal.errors import OutputError, ResultsError, UsageError
from deal.results.maps import from_stored, map_path, map_stamp, read_map, to_stored, write_map

# Ids are any UTF-8; these are what makes names of files hard.
PARTS = st.text(st.sampled_from("ab.%_\\:\n~é字PNpng/ "), max_size=12)
IDS = st.lists(st.one_of(PARTS, st.sampled_from(["a.png", "..", "", "x" * 300])), min_size=1).map(
    "/".join
)


def test_an_ordinary_id_keeps_its_path() -> None:
    assert map_path("out", "classes", "drive/000_1.jpg") == Path(
        "out/maps/classes/drive/000_1.jpg.png"
    )


@given(IDS)
def test_a_map_stays_in_its_folder(item_id: str) -> None:
    path = map_path("/out", "entropy", item_id)
    assert os.path.normpath(path) == str(path)
    assert path.is_relative_to("/out/maps/entropy")
    assert path.suffix == ".png"
    assert all(len(part.encode()) < 250 and not part.startswith("_") for part in path.parts)


@given(st.lists(IDS, unique=True, min_size=2))
def test_two_ids_never_share_a_file_and_none_is_a_folder_of_another(ids: list[str]) -> None:
    paths = [map_path("out", "classes", item_id) for item_id in ids]
    assert len(set(paths)) == len(ids)
    for path in paths:
        assert not set(path.parents) & set(paths)


@pytest.mark.parametrize(
    "item_id",
    ["../../etc/passwd", "/etc/passwd", "a\0b", "%41", "", "字" * 200],
)
def test_odd_ids_are_written_and_read(tmp_path: Path, item_id: str) -> None:
    stored = np.arange(6, dtype=np.uint8).reshape(2, 3)
    path = write_map(tmp_path / "out", "classes", item_id, stored)
    assert path.is_relative_to(tmp_path / "out/maps/classes")
    found = read_map(tmp_path / "out", "classes", item_id)
    assert found is not None
    np.testing.assert_array_equal(found, stored)


def test_classes_are_stored_one_higher_and_void_is_0(tmp_path: Path) -> None:
    classes = np.array([[0, 254, 255]], np.uint8)
    path = write_map(tmp_path, "classes", "a", to_stored("classes", classes, 255))
    with Image.open(path) as image:  # another reader than ours
        assert image.mode == "L"
        assert [image.getpixel((x, 0)) for x in range(3)] == [1, 255, 0]
    np.testing.assert_array_equal(
        from_stored("classes", read_map(tmp_path, "classes", "a"), 255), classes
    )


def test_more_classes_than_a_byte_holds_take_two(tmp_path: Path) -> None:
    classes = np.array([[0, 255, 65_535]], np.uint16)
    path = write_map(tmp_path, "classes", "a", to_stored("classes", classes, 256))
    with Image.open(path) as image:
        assert [image.getpixel((x, 0)) for x in range(3)] == [1, 256, 0]
    found = read_map(tmp_path, "classes", "a")
    assert found is not None
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(from_stored("classes", found, 256), classes)


def test_difficulty_and_entropy_are_stored_to_half_a_level() -> None:
    values = np.linspace(0, 1, 1001, dtype=np.float32)[None]
    stored = to_stored("difficulty", values, 11)
    assert stored.dtype == np.uint8
    assert (stored.min(), stored.max()) == (0, 255)
    assert np.abs(from_stored("difficulty", stored, 11) - values).max() <= 0.5 / 255 + 1e-6
    nats = values * math.log(11)
    found = from_stored("entropy", to_stored("entropy", nats, 11), 11)
    assert np.abs(found - nats).max() <= math.log(11) * (0.5 / 255 + 1e-6)
    assert to_stored("entropy", np.float32([[9.9, -0.1]]), 11).tolist() == [[255, 0]]


def test_what_is_not_stored_is_none(tmp_path: Path) -> None:
    assert read_map(tmp_path, "entropy", "a/b") is None
    assert map_stamp(tmp_path, "entropy", "a/b") is None
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps/entropy").touch()  # a file where a folder should be
    assert read_map(tmp_path, "entropy", "a/b") is None


def test_a_stamp_is_read_back(tmp_path: Path) -> None:
    write_map(tmp_path, "difficulty", "a", np.zeros((2, 2), np.uint8), stamp="1-2 abc")
    assert map_stamp(tmp_path, "difficulty", "a") == "1-2 abc"


def test_a_damaged_map_is_one_line_that_names_the_remedy(tmp_path: Path) -> None:
    path = write_map(tmp_path, "classes", "a", np.zeros((9, 9), np.uint8))
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ResultsError, match="delete it") as error:
        read_map(tmp_path, "classes", "a")
    assert len(str(error.value).splitlines()) == 1
    assert map_stamp(tmp_path, "classes", "a") in (None, "")


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UsageError, match="classes, difficulty, entropy"):
        map_path("out", "depth", "a")


def test_a_folder_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(OutputError, match="--output"):
        write_map(tmp_path / "out", "classes", "a", np.zeros((1, 1), np.uint8))


def test_nothing_is_left_beside_maps_that_threads_write_at_once(tmp_path: Path) -> None:
    stored = np.zeros((4, 4), np.uint8)
    threads = [
        threading.Thread(target=write_map, args=(tmp_path, "classes", f"f/{n}", stored))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(tmp_path.rglob("*.png"))) == 8
    assert not list(tmp_path.rglob("_*"))
