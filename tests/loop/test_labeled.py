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
    described,
    images_of,
    only_regions,
    read_labeled,
    regions_of,
    write_labeled,
)
from deal.selection.rules import read_id_lists

ITEMS = ["b, c.jpg", Region("a.jpg", 7, (20, 30)), Region("a.jpg", 0, (20, 30))]


def test_a_set_with_regions_is_read_as_it_was_written_and_can_be_excluded(tmp_path):
    path = tmp_path / "labeled.csv"
    write_labeled(path, ITEMS)
    assert path.read_text() == 'id,region,raster\n"b, c.jpg",,\na.jpg,7,20x30\na.jpg,0,20x30\n'
    assert read_labeled(path) == tuple(ITEMS)
    listed = read_id_lists([str(path)])
    assert listed.images == {"b, c.jpg"}
    assert listed.regions == {("a.jpg", 7), ("a.jpg", 0)}


def test_a_set_of_images_has_no_columns_of_regions(tmp_path):
    path = tmp_path / "labeled.csv"
    write_labeled(path, ["b", "a"])
    assert path.read_text() == "id\nb\na\n"
    assert read_labeled(path) == ("b", "a")


@pytest.mark.parametrize(
    "text", ["name\na\n", "id,region,raster\na,1,\n", "id,region,raster\na,one,2x3\n"]
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
    shown = only_regions(label, [Region("a", number, raster)], grid, 99)
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
    assert (only_regions(label, regions, Grid(cell), 99) == label).all()
