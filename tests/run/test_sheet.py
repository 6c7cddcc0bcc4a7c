from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deal.model.palette import class_colours
from deal.run.overlays import magma
from deal.run.previews import MOST
from deal.run.sheet import Entry, Key, contact_sheet, heat_top, pictures_of, thumb_size

CLASSES = ("road", "sky", "car")
COLOURS = class_colours(3)


def key(**changes: Any) -> Key:
    values = {
        "title": "9 of 9 selected by difficulty (DS)",
        "shown": "the first 3",
        "measure": "difficulty",
        "unit": "",
        "top": 1.0,
        "classes": CLASSES,
        "colours": COLOURS,
        "outlined": "the tenth of the image with most difficulty",
    }
    return Key(**{**values, **changes})


def frame_colour(level: int) -> tuple[int, int, int]:
    """A green that no other part of a sheet has."""
    return level, 240, 10


def entry(level: int, size: tuple[int, int] = (264, 100), heat: float = 0.4, **more: Any) -> Entry:
    """An entry whose frame has one colour; ``size`` is (width, height)."""
    shape = size[::-1]
    frame = np.broadcast_to(np.uint8(frame_colour(level)), (*shape, 3)).copy()
    classes = np.full(shape, more.pop("number", 1), np.uint8)
    values = {
        "name": f"#{level}",
        "id": f"{level}.png",
        "score": 0.5,
        "standing": "highest of 9 images",
        "carried": 0.2,
        "why": "car 60 %",
    }
    plane = np.full(shape, heat, np.float32)
    rest = {"frame": frame, "heat": plane, "classes": classes, "outlines": []}
    given = {**values, **rest, **more}
    parts = (given[name] for name in ("frame", "outlines", "classes"))
    colours = class_colours(max(int(given["classes"].max()) + 1, len(CLASSES)))
    return Entry(**given, pictures=pictures_of(*parts, colours))


def shown(sheet: Image.Image, colour: object) -> np.ndarray:
    """Rows and columns [n, 2] of the pixels of a colour."""
    return np.argwhere((np.asarray(sheet) == colour).all(axis=2))


def ink(sheet: Image.Image) -> np.ndarray:
    return np.asarray(sheet).astype(int).max(axis=2) < 120


def test_three_pictures_stand_side_by_side() -> None:
    sheet = contact_sheet([entry(90)], [], key())
    pixels = shown(sheet, frame_colour(90))
    assert len(pixels) == 264 * 100
    (top, left), (bottom, right) = pixels.min(axis=0), pixels.max(axis=0)
    beside = np.asarray(sheet)[top : bottom + 1, right + 7 : right + 7 + 264].astype(int)
    assert np.ptp(beside, axis=(0, 1)).max() == 0  # a constant map
    # The scale ends at 0.40, so a map of 0.4 is as bright as its overlay gets.
    assert np.abs(beside[0, 0] - magma(np.array(1.0))).max() < 40
    classes = np.asarray(sheet)[top : bottom + 1, right + 7 + 270 : right + 7 + 270 + 264]
    assert (classes == COLOURS[1]).all(axis=2).sum() > 20  # the number of the class
    assert left == 28


def test_all_maps_share_one_scale() -> None:
    entries = [entry(90, heat=0.8), entry(120, heat=0.2)]
    assert heat_top(entries, 1.0) == pytest.approx(0.8)
    assert heat_top(entries, math.log(11)) == pytest.approx(math.log(11) * 0.35)
    assert heat_top([], 1.0) == 1.0
    assert heat_top([entry(90, heat=0.0)], 1.0) == 0.05


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (2, 1), (3, 2), (7, 2), (24, 2)])
def test_entries_stand_in_rows_best_first(count: int, columns: int) -> None:
    entries = [entry(100 + rank, (200, 20)) for rank in range(1, count + 1)]
    sheet = contact_sheet(entries, [], key())
    corners = [tuple(shown(sheet, frame_colour(100 + rank))[0]) for rank in range(1, count + 1)]
    assert corners == sorted(corners)
    tops = [top for top, _ in corners]
    full, rest = divmod(count, columns)
    in_rows = [tops.count(top) for top in sorted(set(tops))]
    assert in_rows == [columns] * full + [rest] * (rest > 0)


def test_fewer_entries_are_larger() -> None:
    sizes = [thumb_size(count) for count in (1, 2, 3, 7, 100)]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.slow
def test_the_largest_sheet_is_a_jpeg(tmp_path: Path) -> None:
    words = "many words of a reason that take two lines, " * 5
    tall = entry(90, (40, 264), why=words)  # as tall as entries get
    sheet = contact_sheet([tall] * MOST, [tall] * 2, key())
    assert sheet.height < 65_535
    sheet.crop((0, 0, 8, sheet.height)).save(tmp_path / "sheet.jpg")


def test_contrast_stands_below_the_picks() -> None:
    sheet = contact_sheet([entry(90)], [entry(200)], key())
    assert shown(sheet, frame_colour(200))[0][0] > shown(sheet, frame_colour(90))[-1][0] + 80


def test_an_empty_sheet_is_a_sheet() -> None:
    assert contact_sheet([], [], key()).height > 0


def test_the_legend_lists_the_classes_that_are_seen() -> None:
    sheet = contact_sheet([entry(90, number=2)], [], key())
    below = np.asarray(sheet)[shown(sheet, frame_colour(90))[-1][0] + 80 :]
    assert (below == COLOURS[2]).all(axis=2).sum() > 300
    for absent in (0, 1):
        assert not (below == COLOURS[absent]).all(axis=2).any()


def test_a_legend_of_many_classes_ends_and_says_so() -> None:
    classes = np.arange(264 * 100, dtype=np.int64).reshape(100, 264) % 150
    names = tuple(f"class {number} of a long list of names" for number in range(150))
    many = entry(90, classes=classes.astype(np.uint8))
    long = contact_sheet([many], [], key(classes=names, colours=class_colours(150)))
    short = contact_sheet([entry(90)], [], key())
    assert short.height < long.height < short.height + 600


def test_long_and_odd_texts_stay_in_their_cell() -> None:
    odd = {
        "id": "folder/" * 60 + "\n\x1b.png",
        "why": "class " * 200,
        "standing": "x" * 500,
    }
    entries = [entry(90 + n, **odd) for n in range(8)]
    sheet = contact_sheet(entries, [], key(title="t" * 900, outlined="o" * 900))
    cell = 3 * 264 + 12
    columns = np.flatnonzero(ink(sheet).any(axis=0))
    assert columns.max() <= sheet.width - 28
    gap = ink(sheet)[92:, 28 + cell + 1 : 28 + cell + 27]
    assert not gap.any()


@pytest.mark.parametrize("size", [(1, 264), (264, 1), (1, 1)])
def test_very_thin_pictures_keep_their_caption(size: tuple[int, int]) -> None:
    ring = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0)]
    sheet = contact_sheet([entry(90, size, outlines=[([ring], "7")])], [], key())
    below = ink(sheet)[92 + size[1] : 92 + size[1] + 80]
    assert np.ptp(np.flatnonzero(below.any(axis=0))) > 100


def test_a_pick_without_a_score_has_no_number() -> None:
    for score in (math.nan, 0.5):
        sheet = contact_sheet([entry(90, score=score, standing="", carried=None)], [], key())
        below = shown(sheet, frame_colour(90))[-1][0]
        width = np.ptp(np.flatnonzero(ink(sheet)[below + 5 : below + 27].any(axis=0)))
        assert (width < 60) == math.isnan(score)


def test_masked_parts_are_explained() -> None:
    hidden = np.full((100, 264), 255, np.uint8)
    hidden[:50] = 1
    bare = contact_sheet([entry(90)], [], key())
    masked = contact_sheet([entry(90, classes=hidden)], [], key())
    assert masked.height > bare.height
