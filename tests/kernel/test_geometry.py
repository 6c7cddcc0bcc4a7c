"""Areas of one predicted class, and outlines: against flood fill, counts of pixels, hand-made."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import deal
from deal import _native
from deal.errors import UsageError
from deal.kernel.geometry import box_outline, outlines, simplify
from tests.oracle import geometry as oracle_geometry

MAPS = arrays(
    np.int32,
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    elements=st.integers(-1, 2),
)


def logits_of(classes):
    """Logits [B, C, H, W] that predict these classes."""
    return (np.eye(int(classes.max()) + 1, dtype=np.float32)[classes] * 9).transpose(0, 3, 1, 2)


def rings(text):
    """The polygons of a text: lists of rings [n, 2], closed, the exterior first."""
    found = []
    for polygon in re.findall(r"\(\(.*?\)\)", text.removeprefix("MULTI").replace("(((", "((")):
        parts = re.findall(r"\(([^()]+)\)", polygon)
        found.append([np.array([p.split() for p in part.split(", ")], float) for part in parts])
    return found


def area(ring):
    x, y = ring.T
    return (x[:-1] @ y[1:] - x[1:] @ y[:-1]) / 2


def inside(polygons, size):
    """Pixels whose centre has an odd number of ring lines to its left."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    odd = np.zeros(size, dtype=bool)
    for ring in (ring for polygon in polygons for ring in polygon):
        for (x0, y0), (x1, y1) in pairwise(ring):
            if x0 == x1:
                odd ^= (min(y0, y1) < y) & (y < max(y0, y1)) & (x > x0)
    return odd


# ---- components -------------------------------------------------------------------------------


@settings(deadline=None, max_examples=200)
@given(ids=MAPS, min_pixels=st.integers(1, 4))
def test_areas_are_those_of_a_flood_fill(ids, min_pixels):
    found, count = _native.components(ids, min_pixels)
    assert (found == oracle_geometry.components(ids, min_pixels)).all()
    assert count == found.max() + 1


def test_winding_areas_are_one():
    """Areas that meet only late: a spiral, a comb from below, a comb from above."""
    comb = np.ones((7, 9), np.int32)
    comb[:-1, 1::2] = -1
    spiral = np.array(
        [[0, 0, 0, 0, 0], [1, 1, 1, 1, 0], [0, 0, 0, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]],
        np.int32,
    )
    for ids, count in ((comb, 1), (comb[::-1], 1), (spiral, 2)):
        found, areas = _native.components(np.ascontiguousarray(ids), 1)
        assert areas == count
        assert (found == oracle_geometry.components(ids, 1)).all()


def test_components_are_the_areas_of_the_predicted_classes():
    rng = np.random.default_rng(3)
    classes = rng.integers(0, 3, size=(2, 12, 17))
    mask = (rng.random((12, 17)) > 0.2).astype(np.uint8)
    segments = deal.components(logits_of(classes), size=(12, 17), mask=mask, min_pixels=2)
    expected = [
        oracle_geometry.components(np.where(mask != 0, image, -1).astype(np.int32), 2)
        for image in classes
    ]
    assert segments.map.dtype == np.int32
    assert (segments.map == np.stack(expected)).all()
    assert segments.count == max(e.max() for e in expected) + 1
    stats = deal.score_logits(logits_of(classes), size=(12, 17), mask=mask, regions=segments)
    assert (stats.regions["impurity"][stats.regions["n_pixels"] > 0] == 0).all()


def test_components_follow_the_raster_and_not_the_logits_grid():
    logits = np.random.default_rng(0).normal(size=(1, 4, 8, 10)).astype(np.float32)
    segments = deal.components(logits, size=(40, 50), align_corners=False, threads=2)
    stats = deal.score_logits(logits, size=(40, 50), align_corners=False, regions=segments)
    sizes = np.bincount(segments.map[segments.map >= 0], minlength=segments.count)
    assert (stats.regions["n_pixels"][0] == sizes).all()
    assert sizes.min() >= 64
    assert (stats.regions["impurity"] == 0).all()


def test_an_image_of_small_areas_has_no_region():
    classes = np.indices((4, 4)).sum(axis=0)[None] % 2
    segments = deal.components(logits_of(classes), size=(4, 4))
    assert (segments.map == -1).all()
    stats = deal.score_logits(logits_of(classes), size=(4, 4), regions=segments)
    assert stats.regions["n_pixels"].tolist() == [[0]]


def test_an_image_with_bad_logits_has_no_area_and_spares_the_others():
    logits = logits_of(np.zeros((2, 9, 9), dtype=int))
    logits[0, 0, 3, 3] = np.nan
    segments = deal.components(logits, size=(9, 9))
    assert (segments.map[0] == -1).all()
    assert (segments.map[1] == 0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_pixels": 0}, "at least 1"),
        ({"min_pixels": 1.5}, "not a whole number"),
        ({"mask": np.ones((3, 3), np.uint8)}, r"\[9, 9\] of the raster"),
        ({"size": 9}, "two integers"),
    ],
)
def test_components_refuse_what_does_not_fit(arguments, message):
    logits = logits_of(np.zeros((1, 9, 9), dtype=int))
    with pytest.raises(UsageError, match=message):
        deal.components(logits, **{"size": (9, 9), **arguments})


# ---- outlines ---------------------------------------------------------------------------------


def test_a_box_is_a_polygon():
    assert box_outline(2, 1, 5, 3.5) == "POLYGON ((2 1, 5 1, 5 3.5, 2 3.5, 2 1))"


def test_outlines_have_holes_and_parts():
    ids = np.array(
        [
            [0, 0, 0, 0, 1],
            [0, 1, 1, 0, -1],
            [0, 0, 0, 0, 2],
        ],
        np.int32,
    )
    assert outlines(ids, [0, 1, 2, 7]) == [
        "POLYGON ((0 0, 4 0, 4 3, 0 3, 0 0), (1 1, 1 2, 3 2, 3 1, 1 1))",
        "MULTIPOLYGON (((4 0, 5 0, 5 1, 4 1, 4 0)), ((1 1, 3 1, 3 2, 1 2, 1 1)))",
        "POLYGON ((4 2, 5 2, 5 3, 4 3, 4 2))",
        "POLYGON EMPTY",
    ]


def test_pixels_that_touch_at_a_corner_are_two_polygons_and_a_pinched_hole_stays_simple():
    corner = np.array([[0, -1], [-1, 0]], np.int32)
    assert outlines(corner, [0]) == [
        "MULTIPOLYGON (((0 0, 1 0, 1 1, 0 1, 0 0)), ((1 1, 2 1, 2 2, 1 2, 1 1)))"
    ]
    pinched = np.array([[0, 0, 0], [0, -1, 0], [0, 0, -1]], np.int32)
    assert outlines(pinched, [0]) == [
        "POLYGON ((0 0, 3 0, 3 2, 2 2, 2 3, 0 3, 0 0), (1 1, 1 2, 2 2, 2 1, 1 1))"
    ]


def test_scale_stretches_outlines_to_the_original():
    ids = np.array([[-1, 0]], np.int32)
    assert outlines(ids, [0], scale=(2.5, 1 / 3)) == [
        "POLYGON ((0.333 0, 0.667 0, 0.667 2.5, 0.333 2.5, 0.333 0))"
    ]


@settings(deadline=None, max_examples=200)
@given(ids=MAPS)
def test_outlines_hold_exactly_the_pixels_of_their_region(ids):
    for i, text in enumerate(outlines(ids, range(3))):
        polygons = rings(text)
        assert sum(area(ring) for polygon in polygons for ring in polygon) == (ids == i).sum()
        assert (inside(polygons, ids.shape) == (ids == i)).all()
        for polygon in polygons:
            assert [area(ring) > 0 for ring in polygon] == [True] + [False] * (len(polygon) - 1)
            for ring in polygon:
                assert (ring[0] == ring[-1]).all()
                assert len(np.unique(ring[:-1], axis=0)) == len(ring) - 1  # simple


@settings(deadline=None, max_examples=100)
@given(ids=MAPS, tolerance=st.sampled_from([0.5, 1.0, 1.5, 3.0]))
def test_simplified_outlines_keep_corners_of_the_exact_ones(ids, tolerance):
    for exact, thin in zip(
        outlines(ids, range(3)), outlines(ids, range(3), tolerance=tolerance), strict=True
    ):
        for whole, part in zip(rings(exact), rings(thin), strict=True):
            for ring, thinned in zip(whole, part, strict=True):
                assert len(thinned) >= 4
                assert area(thinned) * area(ring) > 0


def test_neighbours_share_their_simplified_line():
    """A slanting line between two regions: the outlines' areas still add up."""
    y, x = np.mgrid[:40, :60]
    ids = (x + y * 0.37 + 3 * np.sin(y / 5) > 30).astype(np.int32)
    exact, thin = outlines(ids, [0, 1]), outlines(ids, [0, 1], tolerance=1.5)
    sizes = [area(polygon[0]) for text in thin for polygon in rings(text)]
    assert sum(sizes) == pytest.approx(40 * 60)
    assert all(
        len(rings(t)[0][0]) < len(rings(e)[0][0]) / 2 for t, e in zip(thin, exact, strict=True)
    )
    island = np.pad(np.tri(9, dtype=np.int32), 5)
    inner, outer = (rings(t)[0] for t in outlines(island, [1, 0], tolerance=1.5))
    assert sorted(map(tuple, inner[0][1:])) == sorted(map(tuple, outer[1][1:]))


def test_simplify_keeps_what_is_farther_than_the_tolerance():
    stairs = [(i // 2, (i + 1) // 2) for i in range(12)]
    assert simplify(stairs, 1.0).tolist() == [[0, 0], [5, 6]]
    bend = [(0, 0), (3, 0), (6, 0), (6, 4)]
    assert simplify(bend, 1.0).tolist() == [[0, 0], [6, 0], [6, 4]]
    assert simplify(bend, 0.0).tolist() == [[0, 0], [6, 0], [6, 4]]


@pytest.mark.parametrize(
    ("segments", "ids", "options", "message"),
    [
        (np.zeros((2, 2)), [0], {}, "int32"),
        (np.zeros((1, 2, 2), np.int32), [0], {}, "int32"),
        (np.zeros((2, 2), np.int32), [-1], {}, "not a region"),
        (np.zeros((2, 2), np.int32), [0.5], {}, "not a whole number"),
        (np.zeros((2, 2), np.int32), [0], {"scale": (0.0, 1.0)}, "positive"),
        (np.zeros((2, 2), np.int32), [0], {"tolerance": -1.0}, "positive"),
    ],
)
def test_outlines_refuse_what_is_no_map_or_id(segments, ids, options, message):
    with pytest.raises(UsageError, match=message):
        outlines(segments, ids, **options)
