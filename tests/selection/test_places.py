"""Sequences and times of rows, from manifests and from names."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deal import select
from deal.errors import ResultsError
from deal.selection.order import name_hashes
from deal.selection.places import Place, Places, frame_names

names = st.lists(
    st.text("ab1290./_-éA", max_size=30)
    | st.from_regex(r"\A[a-c/]{0,4}[_.]?[0-9]{0,22}(\.[a-zA-Z][a-z0-9]{0,9})?\Z"),
    max_size=12,
)


def read(name: str) -> tuple[str, int]:
    """Stem and number of a name, by a regular expression; the last 19 digits count."""
    stem = re.sub(r"\.[A-Za-z][A-Za-z0-9]{0,7}$", "", name)
    digits = re.search(r"[0-9]{0,19}\Z", stem)[0]  # type: ignore[index]
    number = int(digits) if digits and int(digits) < 2**63 else -1
    return stem[: len(stem) - len(digits)], number


@given(names, st.integers(0, 3))
@settings(deadline=None)
def test_names_that_end_in_a_number_are_frames(ids: list[str], offset: int) -> None:
    column = pa.array(["x1.png"] * offset + ids, pa.large_string()).slice(offset)
    numbers, stems = frame_names(column)
    expected = [read(name) for name in ids]
    assert numbers.tolist() == [number for _, number in expected]
    for a, (stem_a, _) in zip(stems, expected, strict=True):
        for b, (stem_b, _) in zip(stems, expected, strict=True):
            assert (a == b) == (stem_a == stem_b)


@pytest.mark.parametrize(
    ("name", "stem", "number"),
    [
        ("0001TP_006690.jpg", "0001TP_", 6690),
        ("drives/a/000123.jpeg", "drives/a/", 123),
        ("frame.000123", "frame.", 123),
        ("trip.mcap#/front@1700000000000000000", "trip.mcap#/front@", 1700000000000000000),
        ("aachen_000000_000019_leftImg8bit.png", "aachen_000000_000019_leftImg8bit", -1),
        ("9.tar/img.jpg", "9.tar/img", -1),
        ("7", "", 7),
        ("", "", -1),
    ],
)
def test_names_of_real_pools(name: str, stem: str, number: int) -> None:
    assert read(name) == (stem, number)
    numbers, stems = frame_names(pa.array([name, f"{stem}."], pa.large_string()))
    assert numbers[0] == number
    assert stems[0] == frame_names(pa.array([f"{stem}5"], pa.large_string()))[1][0]


def found(
    ids: list[str], looks: Any = None, *, frames: bool | None = None, by_camera: bool = True,
    **columns: Any,
) -> Place | None:  # fmt: skip
    places = Places(by_camera)
    kinds = {"sequence": pa.string(), "camera": pa.string(), "timestamp_ns": pa.int64()}
    given = [
        None if columns.get(name) is None else pa.chunked_array([pa.array(columns[name], kind)])
        for name, kind in kinds.items()
    ]
    column = pa.array(ids, pa.large_string())
    places.add(column, np.ones(len(ids), bool), *given)

    def compare(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.array([] if looks is None else [looks(x, y) for x, y in zip(a, b, strict=True)])

    return places.find(name_hashes(column), compare, frames)


def test_the_time_of_a_frame_of_a_video_is_no_number_of_a_frame() -> None:
    ids = [f"drive.mp4#t={number}.{part}" for number in range(6) for part in ("000", "500")]
    numbers, _ = frame_names(pa.array([*ids, "a#t=1.000_7.png"], pa.large_string()))
    assert numbers.tolist() == [-1] * 12 + [7]
    table = pa.table({"id": ids, "sequence": ["drive"] * 12, "entropy_mean": [1.0] * 12})
    logs = pa.table({**table.to_pydict(), "id": [f"a.mcap#/front@{10**18 + n}" for n in range(12)]})
    with pytest.raises(ResultsError, match=r"spread 2f: .* give the gap in seconds"):
        select(table, acquisition="entropy", budget=6, spread="2f")
    for rows in (table, logs):
        with pytest.raises(ResultsError, match=r"12 of 12 rows have no number .* gap in seconds"):
            select(rows, acquisition="entropy", budget=6, min_gap="2f")


def drive(name: str, count: int, step: int = 1) -> list[str]:
    return [f"{name}_{step * number:05d}.jpg" for number in range(count)]


def near(a: int, b: int) -> int:
    """Images look the more alike, the nearer they are."""
    return abs(int(a) - int(b))


def test_frames_of_drives_have_their_place() -> None:
    place = found([*drive("a", 10, 30), *drive("b", 5, 30)], near)
    assert place is not None
    assert (place.frames, place.count, place.step, place.length) == (True, 2, 30, 15 * 30)
    assert len(set(place.sequences[:10])) == len(set(place.sequences[10:])) == 1
    assert place.sequences[0] != place.sequences[10]
    assert place.times.tolist()[:3] == [0, 30, 60]


def test_numbers_of_images_that_have_nothing_to_do_with_each_other_are_no_frames() -> None:
    ids = drive("photo", 40)
    assert found(ids, lambda a, b: 10) is None
    assert found(ids, near) is not None
    assert found(ids, lambda a, b: 10, frames=True) is not None  # if the user says so


def test_without_thumbnails_regular_steps_make_frames() -> None:
    assert found(drive("a", 20)) is not None
    coco = sorted(np.random.default_rng(0).choice(10**6, 50, replace=False).tolist())
    assert found([f"val/{number:012d}.jpg" for number in coco]) is None


def test_names_that_are_hashes_or_single_have_no_place() -> None:
    assert found([f"{number}_{number * 7}.jpg" for number in range(30)], near) is None
    assert found([*"abcdefgh", *drive("x", 3)], near) is None  # fewer than half of the rows


def test_timestamps_win_over_names_and_count_within_folders_or_sequences() -> None:
    times = [10**9 * number for number in (0, 2, 4, 0, 2, 4)]
    ids = ["x/b9.jpg", "x/a8.jpg", "x/c7.jpg", "y/c.jpg", "y/d.jpg", "y/e.jpg"]
    place = found(ids, timestamp_ns=times)
    assert place is not None
    assert (place.frames, place.count, place.step) == (False, 2, 2 * 10**9)
    whole = found(ids, timestamp_ns=times, sequence=["s"] * 6)
    assert whole is not None
    assert whole.count == 1


def test_a_name_that_ends_in_its_time_tells_no_frame() -> None:
    times = [10**18 + 5 * 10**8 * number for number in range(12)]
    ids = [f"drive.mcap#/front@{time}" for time in times]
    stored = {"timestamp_ns": times, "sequence": ["drive"] * 12}
    place = found(ids, **stored)
    assert place is not None
    assert (place.frames, place.step) == (False, 5 * 10**8)
    assert found(ids, frames=True, **stored) is None
    table = pa.table({"id": ids, "entropy_mean": [1.0] * 12, **stored})
    with pytest.raises(ResultsError, match=r"spread 2f: .* give the gap in seconds"):
        select(table, acquisition="entropy", budget=6, spread="2f")


def test_the_folder_of_a_name_is_what_stands_before_its_last_slash() -> None:
    folders = ["", "a", "a/b", "a/b", "ab", ""]
    ids = [f"{folder}/{name}" if folder else name for folder in folders for name in "xyz"]
    place = found(ids, timestamp_ns=list(range(len(ids))))
    assert place is not None
    assert place.count == 4
    groups = place.sequences.reshape(6, 3)
    assert (groups == groups[:, :1]).all()
    assert groups[0, 0] == groups[5, 0]
    assert groups[2, 0] == groups[3, 0]


@pytest.mark.parametrize(("by_camera", "count"), [(True, 2), (False, 1)])
def test_cameras_are_sequences_of_their_own_if_they_count(by_camera: bool, count: int) -> None:
    columns = {"sequence": ["s"] * 8, "camera": ["left", "right"] * 4}
    place = found(drive("a", 8), near, by_camera=by_camera, **columns)
    assert place is not None
    assert place.count == count


def test_a_pause_counts_as_ten_intervals_at_most() -> None:
    times = [10**9 * number for number in (0, 1, 2, 1000, 1001)]
    place = found([f"{number}.jpg" for number in "abcde"], timestamp_ns=times)
    assert place is not None
    assert place.length == (1 + 1 + 10 + 1 + 1) * 10**9


@given(st.permutations(range(24)))
@settings(deadline=None, max_examples=20)
def test_the_order_of_storage_changes_no_place(order: list[int]) -> None:
    ids = [*drive("a", 12, 2), *drive("b", 8, 2), "odd.jpg", "a_00000.png", "c_1.jpg", "d"]
    whole, mixed = found(ids, near), found([ids[row] for row in order], lambda a, b: 0)
    assert whole is not None
    assert mixed is not None
    assert [whole.sequences[row] for row in order] == mixed.sequences.tolist()
    assert (whole.step, whole.length, whole.count) == (mixed.step, mixed.length, mixed.count)
