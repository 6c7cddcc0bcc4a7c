"""Pictures by their properties: a JPEG's bytes say nothing."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from deal.model.palette import class_colours
from deal.run.lettering import drawable, fitted_end, fitted_start, length, wrapped
from deal.run.overlays import (
    class_overlay,
    draw_rings,
    heat_overlay,
    hot_cells,
    magma,
    rings_of_cells,
    rings_of_wkt,
)

GREY = np.full((60, 80, 3), 128, np.uint8)


def luminance(picture: np.ndarray) -> np.ndarray:
    return picture.astype(float) @ [0.2126, 0.7152, 0.0722]


def test_magma_runs_from_black_to_pale_yellow_growing_brighter() -> None:
    colours = magma(np.linspace(0, 1, 256)).astype(float)
    assert magma(np.array([-1.0, 0.0])).tolist() == [[0, 0, 4], [0, 0, 4]]
    assert magma(np.array([1.0, 2.0])).tolist() == [[252, 253, 191], [252, 253, 191]]
    assert (np.diff(luminance(colours)) >= 0).all()


def test_heat_grows_brighter_with_its_value_and_lets_the_frame_show() -> None:
    ramp = np.broadcast_to(np.linspace(0, 1, 80, dtype=np.float32), (60, 80))
    bright = luminance(heat_overlay(GREY, ramp)).mean(axis=0)
    assert (np.diff(bright) > -0.5).all()
    assert bright[-1] - bright[0] > 100
    frame = GREY.copy()
    frame[:, ::2] = 40
    for value in (0.0, 0.5, 1.0):
        lines = luminance(heat_overlay(frame, np.full((60, 80), value, np.float32)))
        assert lines[:, 1].mean() - lines[:, 0].mean() > 5


def test_classes_have_their_colours_a_border_and_a_number() -> None:
    classes = np.zeros((60, 80), np.uint8)
    classes[:, 40:] = 3
    colours = class_colours(5)
    picture = class_overlay(GREY, classes, colours)
    for number, column in ((0, 2), (3, 77)):
        expected = 0.3 * 128 + 0.7 * colours[number].astype(float)
        assert np.abs(picture[5, column] - expected).max() <= 1
        pill = (picture[20:40] == colours[number]).all(axis=2)  # the number stands on its colour
        assert pill.sum() > 40
    assert luminance(picture)[50, 40] < 0.5 * luminance(picture)[50, 30]


def test_numbers_are_left_out_where_a_class_is_too_small() -> None:
    classes = np.zeros((60, 80), np.uint8)
    classes[10:12, 10:12] = 1
    colours = class_colours(2)
    picture = class_overlay(GREY, classes, colours)
    assert not (picture == colours[1]).all(axis=2).any()


def test_void_is_hatched_and_has_no_colour() -> None:
    classes = np.full((60, 80), 255, np.uint8)
    picture = class_overlay(GREY, classes, class_colours(3)).astype(int)
    assert (picture.max(axis=2) == picture.min(axis=2)).all()
    assert len(np.unique(picture)) == 2


def test_the_number_of_a_ring_shaped_class_stands_on_the_class() -> None:
    classes = np.zeros((60, 80), np.uint8)
    classes[16:44, 20:60] = 1
    colours = class_colours(2)
    picture = class_overlay(GREY, classes, colours)
    y, x = np.argwhere((picture == colours[0]).all(axis=2)).mean(axis=0)
    assert classes[int(y), int(x)] == 0


def test_the_hot_tenth_is_found_with_its_share() -> None:
    values = np.ones((120, 160), np.float32)
    values[:30, :40] = 10  # a sixteenth of the image: 12 of 192 cells of 10 by 10 pixels
    hot, share = hot_cells(values)
    assert hot.shape == (12, 16)
    assert hot.sum() == 20
    assert hot[:3, :4].all()
    chosen = 12 * 10 + 8 * 1
    assert share == pytest.approx(chosen / (12 * 10 + 180), rel=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (3, 2)])
def test_images_of_any_shape_have_a_hot_cell(shape: tuple[int, int]) -> None:
    hot, share = hot_cells(np.ones(shape, np.float32))
    assert hot.any()
    assert 0 < share <= 1
    assert hot_cells(np.zeros(shape, np.float32))[1] == 0


def test_the_outline_of_cells_is_their_common_edge() -> None:
    cells = np.zeros((3, 4), bool)
    cells[1, 1:3] = True
    edges = {tuple(map(tuple, line)) for line in rings_of_cells(cells, (40, 30))}
    assert len(edges) == 6  # two cells beside each other have no line between them
    assert ((20.0, 10.0), (20.0, 20.0)) not in edges
    assert ((10.0, 10.0), (10.0, 20.0)) in edges


def test_outlines_are_read_from_wkt_and_scaled() -> None:
    rings = rings_of_wkt("MULTIPOLYGON (((0 0, 4 0, 4 2, 0 0)), ((10 10, 12.5 10, 10 10)))", (2, 3))
    assert rings == [
        [(0, 0), (8, 0), (8, 6), (0, 0)],
        [(20, 30), (25, 30), (20, 30)],
    ]
    assert rings_of_wkt("POLYGON EMPTY", (1, 1)) == []


@pytest.mark.parametrize("level", [0, 128, 255])
def test_outlines_show_on_any_picture(level: int) -> None:
    picture = np.full((60, 80, 3), level, np.uint8)
    box = [(10.0, 10.0), (60.0, 10.0), (60.0, 40.0), (10.0, 40.0), (10.0, 10.0)]
    drawn = draw_rings(picture, [([box], "")])
    assert (np.abs(drawn.astype(int) - level).max(axis=2) > 100)[9:12, 20:50].any(axis=0).all()
    np.testing.assert_array_equal(drawn[50:], picture[50:])


@pytest.mark.parametrize(("top", "side"), [(30, "above"), (2, "below")])
def test_the_number_of_a_small_region_stands_beside_it(top: int, side: str) -> None:
    box = [(30.0, top), (42.0, top), (42.0, top + 9.0), (30.0, top + 9.0), (30.0, top)]
    drawn = draw_rings(GREY, [([box], "7")]).astype(int)
    inside = drawn[top + 3 : top + 7, 33:40]
    assert (inside == 128).all()
    rows = drawn[: top - 4] if side == "above" else drawn[top + 13 :]
    assert (rows == 0).any()


def test_long_texts_are_cut_to_the_width() -> None:
    text = "folder/" * 60 + "frame_1234.png"
    for cut, kept in (
        (fitted_end(text, 13, 200), "1234.png"),
        (fitted_start(text, 13, 200), "fold"),
    ):
        assert length(cut, 13) <= 200
        assert kept in cut
        assert "…" in cut
    assert fitted_end("short", 13, 200) == fitted_start("short", 13, 200) == "short"
    lines = wrapped("a few words that take more than a line of the sheet, and more", 13, 150, 2)
    assert len(lines) == 2
    assert all(length(line, 13) <= 150 for line in lines)
    assert wrapped("", 13, 150, 2) == []


def test_what_no_font_can_draw_is_escaped_and_no_box_is_drawn() -> None:
    assert drawable("a\n\x1b.png") == r"a\n\x1b.png"
    assert drawable("\U0010fffd") == r"\U0010fffd"
    assert drawable("\u05d0") == r"\u05d0"  # would be drawn in the wrong order
    for text in ("字", "é", "п", "×"):
        assert drawable(text) in (text, text.encode("unicode_escape").decode(), "x")
    assert length(drawable("字 é п"), 13) > 0


def test_a_machine_without_fonts_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    from deal.run import lettering

    monkeypatch.setattr(lettering, "_OTHERS", ())
    lettering._font_of.cache_clear()
    try:
        assert drawable("字.png") == r"\u5b57.png"
        assert drawable("difficulty × entropy") == "difficulty x entropy"
    finally:
        lettering._font_of.cache_clear()


def test_the_frame_is_not_changed() -> None:
    frame = np.asarray(Image.fromarray(GREY))
    before = frame.copy()
    heat_overlay(frame, np.ones((60, 80), np.float32))
    class_overlay(frame, np.zeros((60, 80), np.uint8), class_colours(1))
    draw_rings(frame, [])
    np.testing.assert_array_equal(frame, before)
