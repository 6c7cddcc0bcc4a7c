"""Length and corners of simplified boundaries: by hand, against the oracle, and their bits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import deal
from deal.kernel.statistics import class_map
from tests.helpers.cases import CASES, Case, flatten, segment_map
from tests.oracle import geometry as oracle_geometry

MAPS = arrays(
    np.int64,
    st.tuples(st.integers(1, 14), st.integers(1, 14)),
    elements=st.sampled_from([0, 0, 0, 1, 1, 2]),
)


def score(classes, **options):
    """Statistics of logits [1, C, H, W] that predict these classes."""
    logits = np.eye(int(classes.max()) + 1, dtype=np.float32)[classes].transpose(2, 0, 1)[None]
    return deal.score_logits(logits * 9, size=classes.shape, **options)


def lines(classes, **options):
    images = score(classes, **options).images
    return images["boundary_length"].item(), images["boundary_corners"].item()


def square():
    classes = np.zeros((20, 20), int)
    classes[5:12, 4:15] = 1
    return classes


# ---- by hand ----------------------------------------------------------------------------------


def test_a_rectangle_has_four_corners_and_its_perimeter():
    assert lines(square()) == (36.0, 4)


def test_contours_are_left_out_on_request_and_nothing_else_changes():
    whole, rest = score(square()).images, score(square(), contours=False).images
    assert set(whole) - set(rest) == {"boundary_length", "boundary_corners"}
    for name, values in rest.items():
        np.testing.assert_array_equal(values, whole[name], err_msg=name)


def test_one_class_has_no_boundary():
    assert lines(np.zeros((5, 7), int)) == (0.0, 0)


def test_a_slanting_line_is_its_two_ends_and_not_its_stairs():
    y, x = np.mgrid[:50, :60]
    length, corners = lines((y * 0.7 + 3 > x).astype(int))
    assert corners == 2
    assert length == pytest.approx(math.hypot(50, 35), abs=1)


def test_a_circle_is_a_ring_of_few_corners_and_about_its_circumference():
    y, x = np.mgrid[:50, :60]
    length, corners = lines(((y - 25) ** 2 + (x - 30) ** 2 < 18**2).astype(int))
    assert 6 <= corners <= 12
    assert length == pytest.approx(2 * math.pi * 18, rel=0.02)


def test_lines_that_meet_count_their_meeting_point_once():
    classes = np.zeros((20, 20), int)
    classes[:, 10:] = 1
    classes[9:, 10:] = 2
    assert lines(classes) == (30.0, 4)  # three ends on the border, one junction
    classes[9:, :10] = 3
    assert lines(classes) == (40.0, 5)


def test_a_loop_at_a_junction_is_not_lost():
    """Two squares that touch at a corner, one of them cut off by the image's border."""
    classes = np.zeros((12, 12), int)
    classes[3:6, 3:6] = classes[6:, 6:] = 1
    assert lines(classes) == (12.0 + 12.0, 4 + 2)


def test_masked_pixels_end_lines_and_have_none():
    mask = np.ones((20, 20), np.uint8)
    mask[:10] = 0
    length, corners = lines(square(), mask=mask)
    assert (length, corners) == (2 + 11 + 2, 4)
    assert lines(square(), mask=np.zeros((20, 20), np.uint8)) == (0.0, 0)


def test_regions_have_the_lines_and_corners_at_their_pixels():
    found = score(square(), regions=deal.Grid(10)).regions
    assert found["boundary_length"].tolist() == [[6 + 5, 5 + 5, 6 + 2, 5 + 2]]
    assert found["boundary_corners"].tolist() == [[1, 1, 1, 1]]


def test_a_line_between_regions_counts_for_both():
    ids = square().astype(np.int32) - 1  # the inside is region 0
    ids[:5] = 1
    found = score(square(), regions=deal.Segments(ids)).regions
    assert found["boundary_length"].tolist() == [[36.0, 11.0]]
    assert found["boundary_corners"].tolist() == [[4, 2]]


def test_an_image_with_bad_logits_has_no_lines():
    logits = np.zeros((1, 2, 4, 4), np.float32)
    logits[0, 0, :2] = 1.0
    logits[0, 1, 0, 0] = np.nan
    stats = deal.score_logits(logits, size=(8, 8), regions=deal.Grid(4))
    for table in (stats.images, stats.regions):
        assert not table["boundary_length"].any()
        assert not table["boundary_corners"].any()


# ---- against the oracle -----------------------------------------------------------------------


def assert_lines(found, b, expected):
    """The lengths are sums of numbers rounded to 2^-24."""
    assert found.images["boundary_corners"][b] == expected["boundary_corners"]
    near = {"rtol": 0, "atol": 1e-6 * (1 + expected["boundary_corners"])}
    length = found.images["boundary_length"][b]
    np.testing.assert_allclose(length, expected["boundary_length"], **near)
    if found.regions is not None:
        corners = found.regions["boundary_corners"][b]
        assert (corners == expected["region_boundary_corners"]).all()
        length = found.regions["boundary_length"][b]
        near["atol"] *= 10
        np.testing.assert_allclose(length, expected["region_boundary_length"], **near)


SMOOTH = [
    Case("smooth", (2, 6, 12, 16), (96, 128), regions="grid"),
    Case("smooth, masked, segments", (1, 4, 9, 9), (90, 110), masked=True, regions="segments"),
]


@pytest.mark.parametrize("case", [*CASES[1:], *SMOOTH], ids=lambda case: case.name)
def test_lines_of_the_predicted_classes_are_the_oracles(case: Case):
    """On the kernel's own map of classes, so that no near tie matters."""
    arguments = case.make()
    size, batch = arguments["size"], len(arguments["logits"])
    found = deal.score_logits(**arguments, threads=2)
    classes, _ = class_map(arguments["logits"], size=size, align_corners=case.align_corners)
    ids, count = segment_map(arguments["regions"], batch, size)
    for b in range(batch):
        kept = np.ones(size, bool) if arguments["mask"] is None else arguments["mask"][b] != 0
        expected = oracle_geometry.boundaries(
            classes[b], kept, None if ids is None else ids[b], count
        )
        assert_lines(found, b, expected)


@settings(deadline=None, max_examples=200)
@given(classes=MAPS, masked=st.booleans(), cell=st.integers(1, 9))
def test_any_map_has_the_oracles_lines(classes, masked, cell):
    rng = np.random.default_rng(classes.size)
    mask = (rng.random(classes.shape) > (0.2 if masked else -1)).astype(np.uint8)
    ids, count = segment_map(deal.Grid(cell), 1, classes.shape)
    expected = oracle_geometry.boundaries(classes, mask != 0, ids[0], count)
    assert_lines(score(classes, mask=mask, regions=deal.Grid(cell)), 0, expected)


@settings(deadline=None, max_examples=100)
@given(classes=MAPS)
def test_areas_as_regions_share_every_line_between_two(classes):
    """Each crack lies between two areas, so their lengths sum up to twice the image's."""
    stats = score(classes, regions=deal.Segments(_areas(classes)))
    length = stats.images["boundary_length"][0]
    np.testing.assert_allclose(stats.regions["boundary_length"].sum(), 2 * length, atol=1e-4)


def _areas(classes):
    return oracle_geometry.components(classes.astype(np.int32), 1)


def test_bits_do_not_depend_on_threads_or_batch():
    case = Case("bits", (5, 6, 12, 16), (96, 128), masked=True, regions="grid")
    arguments = case.make()
    whole = flatten(deal.score_logits(**arguments, threads=1))
    for threads in (2, 3, 8):
        assert flatten(deal.score_logits(**arguments, threads=threads)) == whole
    last = arguments | {"logits": arguments["logits"][4:], "mask": arguments["mask"][4:]}
    alone, all_of_them = (deal.score_logits(**a, threads=4) for a in (last, arguments))
    for name in ("boundary_length", "boundary_corners"):
        assert alone.images[name][0] == all_of_them.images[name][4]
        assert (alone.regions[name][0] == all_of_them.regions[name][4]).all()


@settings(deadline=None, max_examples=60)
@given(
    size=st.tuples(st.integers(15, 130), st.integers(1, 70)),
    classes=st.integers(2, 4),
    scale=st.sampled_from([1, 3, 40]),
    masked=st.booleans(),
    cell=st.integers(4, 40),
    seed=st.integers(0, 99),
)
def test_bands_of_rows_change_no_bit(size, classes, scale, masked, cell, seed):
    """Noise has thousands of short lines, large areas have few that cross all bands."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, classes, [-(-length // scale) for length in size])
    labels = np.kron(coarse, np.ones((scale, scale), int))[: size[0], : size[1]]
    mask = (rng.random(size) > 0.05).astype(np.uint8) if masked else None
    whole = flatten(score(labels, mask=mask, regions=deal.Grid(cell), threads=1))
    for threads in range(2, 9):
        found = flatten(score(labels, mask=mask, regions=deal.Grid(cell), threads=threads))
        assert found == whole, threads


def test_a_line_that_winds_through_all_bands_is_traced_once():
    """One chain crosses each border between bands often, and ends beside where it begins."""
    labels = np.zeros((200, 61), int)
    labels[:, ::4] = 1
    labels[::198, 4:57] = 1  # comb teeth, joined at both ends
    one, several = (score(labels, threads=threads).images for threads in (1, 8))
    expected = oracle_geometry.boundaries(labels, np.ones(labels.shape, bool), None, 0)
    assert several["boundary_corners"][0] == expected["boundary_corners"]
    assert several["boundary_length"][0] == one["boundary_length"][0]
