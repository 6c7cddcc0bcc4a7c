"""Label maps survive the way into every format and back, bit for bit."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deal.annotation import coco, cvat, label_studio
from deal.annotation.brush import brush_of, from_brush
from deal.annotation.polygons import fill, polygons_of
from deal.annotation.record import Drawn, Legend, Picture, Shape
from deal.annotation.runs import coco_counts, from_runs, runs_of
from tests.helpers.annotation import exported, label_maps, legend, pictures

MOST = 200  # classes


def through_cvat(given: list[Picture], names: list[str], shape: Shape) -> list[Drawn]:
    text = "".join(cvat.document(given, names, shape))
    return list(cvat.read(io.BytesIO(text.encode()), "export", legend(names)))


def through_coco(given: list[Picture], names: list[str], shape: Shape) -> list[Drawn]:
    text = "".join(coco.document(given, names, shape))
    return list(coco.read(json.loads(text), "export", legend(names)))


def through_label_studio(given: list[Picture], names: list[str], shape: Shape) -> list[Drawn]:
    text = "".join(label_studio.tasks(given, names, shape, count=len(given)))
    return list(label_studio.read(exported(json.loads(text)), "export", legend(names)))


WAYS = [through_cvat, through_coco, through_label_studio]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", [Shape(), Shape(polygon=True, tolerance=0.0)])
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_label_maps_come_back_bit_for_bit(way, shape, data):
    classes = data.draw(st.sampled_from([1, 2, 11, MOST]))
    names = [f'class {i} <&>"' for i in range(classes)]
    maps = data.draw(st.lists(label_maps(classes), min_size=1, max_size=3))
    found = way(pictures(maps), names, shape)
    assert len(found) == len(maps)
    for labels, drawn in zip(maps, found, strict=True):
        if labels.any():
            assert (drawn.labels == labels).all()
            assert drawn.problems == ()
        else:
            assert drawn.labels is None
            assert drawn.skipped == "nothing is drawn in it"


@given(label_maps(1))
@settings(max_examples=50, deadline=None)
def test_masks_come_back_from_run_lengths_and_brushes(labels):
    mask = labels > 0
    assert (from_runs(runs_of(mask, "rows"), mask.shape, "rows") == mask).all()
    assert (from_runs(runs_of(mask, "columns"), mask.shape, "columns") == mask).all()
    assert (from_brush(brush_of(mask), mask.shape) == mask).all()


def test_runs_longer_than_the_longest_record_of_a_brush_are_cut():
    mask = np.zeros((300, 700), bool)
    mask[20:250] = True
    assert (from_brush(brush_of(mask), mask.shape) == mask).all()


@given(label_maps(3), st.floats(0.5, 3))
@settings(max_examples=50, deadline=None)
def test_simplified_polygons_stay_near_their_areas(labels, tolerance):
    """Every pixel farther from all borders than the tolerance allows keeps its label."""
    found = np.zeros_like(labels)
    for label, ring in polygons_of(labels, tolerance):
        found[fill(ring, labels.shape)] = label
    reach = int(np.ceil(tolerance)) + 1
    padded = np.pad(labels, reach, constant_values=255)  # the edge of the image is a border
    height, width = labels.shape
    inner = np.ones(labels.shape, bool)
    for dy in range(2 * reach + 1):
        for dx in range(2 * reach + 1):
            inner &= padded[dy : dy + height, dx : dx + width] == labels
    assert (found[inner] == labels[inner]).all()


def inside(x: float, y: float, corners: list[tuple[float, float]]) -> bool:
    """The even-odd rule for one point, edge by edge."""
    odd = False
    for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
            odd = not odd
    return odd


@given(
    st.lists(st.tuples(st.floats(-3, 15), st.floats(-3, 15)), min_size=3, max_size=8),
)
@settings(max_examples=50, deadline=None)
def test_a_polygon_holds_the_pixels_whose_centres_are_inside(corners):
    points = [(round(x, 3), round(y, 3)) for x, y in corners]  # no edge through a centre
    points = [(x + 0.0001234, y + 0.0002345) for x, y in points]
    filled = fill(points, (12, 12))
    for y in range(12):
        for x in range(12):
            assert filled[y, x] == inside(x + 0.5, y + 0.5, points)


def test_later_shapes_lie_over_earlier_ones_and_z_order_comes_first():
    box = 'left="0" top="0" width="2" height="1" rle="0, 2"'
    text = f"""<annotations><image id="0" name="a" width="2" height="1">
      <mask label="b" z_order="1" {box}/><mask label="a" z_order="0" {box}/>
      <mask label="c" z_order="1" left="1" top="0" width="1" height="1" rle="0, 1"/>
    </image></annotations>"""
    (drawn,) = cvat.read(io.BytesIO(text.encode()), "export", legend("abc"))
    assert drawn.labels.tolist() == [[2, 3]]


def test_counts_of_compressed_coco_text():
    assert coco_counts("") == []
    with pytest.raises(ValueError, match="cut off"):
        coco_counts("o")  # says that more follows
    with pytest.raises(ValueError, match="damaged"):
        coco_counts("\x01")


def test_a_growing_legend_takes_names_as_they_come_and_merges_renamed_ones():
    found = Legend({}, [], growing=True, renamed={"truck": "car", "hood": None})
    labels = [found.label(name) for name in ("car", "truck", "hood", "road", "car")]
    assert labels == [1, 1, 0, 2, 1]
    assert found.classes == ["car", "road"]
