"""What is labeled, as a file and as a part of a label."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deal.errors import ResultsError
from deal.kernel.regions import Grid
from deal.loop.labeled import (
    Region,
    count_labels,
    described,
    images_of,
    only_regions,
    read_labeled,
    regions_of,
    write_labeled,
)
from deal.loop.rounds import RoundsConfig
from deal.selection.rules import read_id_lists


def rounds(**values):
    return RoundsConfig(labeled=(1, 2), **{"regions": "components", **values})


ITEMS = ["b, c.jpg", Region("a.jpg", 7, (20, 30)), Region("a.jpg", 0, (20, 30))]


def test_a_set_with_regions_is_read_as_it_was_written_and_can_be_excluded(tmp_path):
    path = tmp_path / "labeled.csv"
    write_labeled(path, ITEMS)
    assert path.read_text() == 'id,region,raster\n"b, c.jpg",,\na.jpg,7,20x30\na.jpg,0,20x30\n'
    assert read_labeled(path) == tuple(ITEMS)
    listed = read_id_lists([str(path)])
    assert listed.images == {"b, c.jpg"}
    assert listed.regions == {("a.jpg", 7), ("a.jpg", 0)}


def test_names_with_any_character_are_read_as_they_were_written(tmp_path):
    items = ('a b,c"d.png', "new\nline.png", "carriage\rreturn.png", "=1.png", " .png", "it's.png")
    write_labeled(tmp_path / "labeled.csv", items)
    assert read_labeled(tmp_path / "labeled.csv") == items


def test_a_set_of_images_has_no_columns_of_regions(tmp_path):
    path = tmp_path / "labeled.csv"
    write_labeled(path, ["b", "a"])
    assert path.read_text() == "id\nb\na\n"
    assert read_labeled(path) == ("b", "a")


def test_a_list_that_was_cut_off_or_is_of_other_images_is_damaged(tmp_path):
    path = tmp_path / "labeled.csv"
    write_labeled(path, ["b", "a"])
    assert read_labeled(path, {"a", "b", "c"}, 2) == ("b", "a")
    with pytest.raises(ResultsError, match="it has 2 rows instead of 3"):
        read_labeled(path, {"a", "b", "c"}, 3)
    with pytest.raises(ResultsError, match="b is no image of the training split"):
        read_labeled(path, {"a"}, 2)
    write_labeled(path, ["b", "b"])
    with pytest.raises(ResultsError, match="it has a row twice"):
        read_labeled(path)
    path.write_text("id,region,raster\na,1,0x4\n")
    with pytest.raises(ResultsError, match="it has the raster 0x4"):
        read_labeled(path)


@pytest.mark.parametrize(
    "text", ["name\na\n", "id,region,raster\na,1,\n", "id,region,raster\na,one,2x3\n", "", "id\n"]
)
def test_a_damaged_file_is_named(tmp_path, text):
    path = tmp_path / "labeled.csv"
    path.write_text(text)
    with pytest.raises(ResultsError, match=r"labeled.csv is damaged .*delete the folder"):
        read_labeled(path)
    with pytest.raises(ResultsError, match="cannot be read"):
        read_labeled(tmp_path / "none.csv")


def test_sets_are_told_in_words():
    assert described(["a", "b"]) == "2 images"
    assert described(ITEMS) == "1 image and 2 regions of 1 image"
    assert described(ITEMS[1:]) == "2 regions of 1 image"
    assert images_of(ITEMS) == ["b, c.jpg", "a.jpg"]
    assert regions_of(ITEMS) == {"a.jpg": ITEMS[1:]}


sides = st.integers(1, 40)


@given(st.tuples(sides, sides), st.tuples(sides, sides), st.integers(1, 17), st.data())
def test_a_label_of_any_size_shows_the_pixels_whose_centres_lie_in_the_cells(
    size, raster, cell, data
):
    label = np.arange(size[0] * size[1], dtype=np.uint8).reshape(size) % 7
    grid = Grid(cell)
    columns = grid.shape(raster)[1]
    number = data.draw(st.integers(0, grid.shape(raster)[0] * columns - 1))
    row, column = divmod(number, columns)
    shown = only_regions(label, [Region("a", number, raster)], rounds(regions=f"grid:{cell}"), 99)[
        0
    ]
    for y in range(size[0]):
        for x in range(size[1]):
            centre = (y + 0.5) * raster[0] / size[0], (x + 0.5) * raster[1] / size[1]
            inside = row * cell <= centre[0] < (row + 1) * cell
            inside &= column * cell <= centre[1] < (column + 1) * cell
            assert shown[y, x] == (label[y, x] if inside else 99)


@given(st.tuples(sides, sides), st.tuples(sides, sides), st.integers(1, 17))
def test_all_cells_together_are_the_label(size, raster, cell):
    label = np.arange(size[0] * size[1], dtype=np.uint8).reshape(size) % 7
    rows, columns = Grid(cell).shape(raster)
    regions = [Region("a", number, raster) for number in range(rows * columns)]
    shown = only_regions(label, regions, rounds(regions=f"grid:{cell}"), 99)
    assert (shown.label == label).all()
    assert shown.unlabeled == 0


SQUARE = "POLYGON ((2 0, 2 4, 6 4, 6 0, 2 0), (3 1, 5 1, 5 3, 3 3, 3 1))"
LEFT = "POLYGON ((0 0, 0 4, 4 4, 4 0, 0 0))"


def test_outlines_are_read_as_they_were_written_and_long_ones_too(tmp_path):
    items = ["b", Region("a", 3, (40, 60), SQUARE, 12), Region("a", 4, (40, 60), LEFT * 9000, 9)]
    write_labeled(tmp_path / "labeled.csv", items)
    assert read_labeled(tmp_path / "labeled.csv") == tuple(items)
    assert read_id_lists([str(tmp_path / "labeled.csv")]).regions == {("a", 3), ("a", 4)}


def test_a_click_gives_a_segment_the_class_that_most_of_its_pixels_have():
    label = np.array(
        [[0, 0, 1, 1, 1, 1], [0, 2, 1, 2, 2, 1], [0, 2, 1, 2, 2, 1], [0, 0, 9, 1, 1, 0]]
    )
    ring = Region("a", 0, (4, 6), SQUARE, 12)  # ten of 1, one of 9 (void), one of 0
    left = Region("a", 1, (4, 6), LEFT, 16)
    one = only_regions(label.astype(np.uint8), [ring], rounds(label="dominant"), 9)
    whole = np.full((4, 6), 9)
    whole[:, 2:] = 1
    whole[1:3, 3:5] = 9  # a hole
    assert one.label.tolist() == whole.tolist()
    # Six of 0, four of 1, four of 2, one of 9, and of those that the ring has, none is given again.
    both = only_regions(label.astype(np.uint8), [ring, left], rounds(label="dominant"), 9)
    whole[:, :2] = 0
    whole[1:3, 3] = 0
    assert both.label.tolist() == whole.tolist()
    sieved = only_regions(
        label.astype(np.uint8), [ring, left], rounds(label="dominant", sieve=0.5), 9
    )
    assert sieved.unlabeled == 1
    assert (sieved.label[:, :2] == 9).all()
    void = only_regions(np.full((4, 6), 9, np.uint8), [ring], rounds(label="dominant"), 9)
    assert void.unlabeled == 1
    true = only_regions(label.astype(np.uint8), [ring], rounds(), 9)
    assert true.label[:, 2:].tolist() == np.where(whole == 1, label, 9)[:, 2:].tolist()


def test_outlines_meet_labels_of_another_size_by_the_centres_of_pixels():
    fine = Region("a", 1, (40, 60), "POLYGON ((0 0, 0 40, 26 40, 26 0, 0 0))", 1)
    label = np.zeros((4, 6), np.uint8)
    shown = only_regions(label, [fine], rounds(label="dominant"), 9)
    assert (shown.label[:, :3] == 0).all()  # pixel 25 of 60 is the centre of pixel 2 of 6
    assert (shown.label[:, 3:] == 9).all()


def test_clicks_pixels_and_wrong_pixels_are_counted():
    truth = {"a": np.array([[0, 0, 1, 9]], np.uint8), "b": np.array([[1, 1, 1, 9]], np.uint8)}
    box = Region("a", 0, (1, 4), "POLYGON ((0 0, 0 1, 4 1, 4 0, 0 0))", 4)
    counted = count_labels(["b", box], truth.__getitem__, rounds(label="dominant"), 9)
    assert counted == {"images": 1, "clicks": 1, "unlabeled": 0, "pixels": 7, "wrong": 1 / 6}
    strict = rounds(label="dominant", sieve=0.6)
    counted = count_labels([box], truth.__getitem__, strict, 9)
    assert counted == {"images": 0, "clicks": 1, "unlabeled": 1, "pixels": 0, "wrong": None}
