"""The native kernel against the oracle, and the bits it promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import deal
from deal import _native
from deal.errors import UsageError
from deal.kernel import statistics as regions
from tests.helpers.cases import (
    CASES,
    Case,
    assert_columns,
    flatten,
    near_ties,
    oracle,
    oracle_of,
    wider_instruction_sets,
)
from tests.oracle import reference

EDGE = 1e-6


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("threads", [1, 3])
def test_statistics_agree_with_the_oracle(case: Case, threads):
    arguments = case.make()
    expected = oracle_of(case)
    found = deal.score_logits(**arguments, threads=threads)
    ties = near_ties(arguments)
    assert_columns(found.images, expected.images, ties)
    assert (found.regions is None) == (expected.regions is None)
    if found.regions is not None:
        assert_columns(found.regions, expected.regions, ties)


@pytest.mark.parametrize("case", [c for c in CASES if c.difficulty], ids=lambda case: case.name)
def test_histograms_differ_only_by_pixels_at_an_edge(case: Case):
    arguments = case.make()
    size, aligned = arguments["size"], arguments["align_corners"]
    found = deal.score_logits(**arguments).images
    expected = oracle_of(case).images
    d = reference.difficulty_map(arguments["difficulty"][:, 0], size, aligned)
    h = reference.entropy(reference.softmax(reference.resize(arguments["logits"], size, aligned)))
    kept = np.ones(d.shape, bool) if arguments["mask"] is None else arguments["mask"] != 0
    for b in range(len(d)):
        low, high = d[b][kept[b]].min(), d[b][kept[b]].max()
        for name, values, (start, stop) in (
            ("difficulty_hist", d[b], (0.0, 1.0)),
            ("difficulty_hist_image", d[b], (low, high)),
            ("entropy_hist", h[b], (0.0, np.log(arguments["logits"].shape[1]))),
        ):
            position = (values[kept[b]] - start) * (240 / (stop - start))
            distance = np.abs(position - np.round(position)) * (stop - start) / 240
            moved = np.abs(found[name][b] - expected[name][b]).sum() / 2
            assert moved <= (distance < EDGE).sum(), name


def cells(kind, classes, count, rng):
    if kind == "soft":
        return rng.normal(size=(classes, count))
    if kind == "sure":
        return rng.normal(size=(classes, count)) * 30
    labels = np.where(np.arange(count) < count // 2, 0, classes - 1)  # two sure halves
    return np.eye(classes)[labels].T * 50


@pytest.mark.parametrize("kind", ["soft", "sure", "halves"])
@pytest.mark.parametrize("attention", ["DIRECT", "POLYNOMIAL"])
@pytest.mark.parametrize("classes", [1, 2, 3, 11, 19])
@pytest.mark.parametrize("uncertainty", [False, True], ids=["paper", "uncertainty"])
def test_attention_is_within_1e_5_of_its_scale(kind, attention, classes, uncertainty):
    rng = np.random.default_rng(classes)
    grid = (23, 31)
    logits = cells(kind, classes, grid[0] * grid[1], rng).reshape(1, classes, *grid)
    weight = rng.normal(size=classes) * 3 + 5
    # b cancels the direct term's offset, so the comparison is about the average alone.
    extra = 9 * rng.normal(size=classes) if uncertainty else np.zeros(classes)
    head = deal.DifficultyHead(1.3, weight, -5.0, None, extra)
    found = regions.difficulty_grid(
        logits.astype(np.float32), head, attention=getattr(_native, f"ATTENTION_{attention}")
    )
    expected = reference.difficulty_grid(logits.astype(np.float32), head, True)
    spread = np.ptp(weight) + (1 - 1 / classes) * np.ptp([*extra, 0])
    scale = max(head.gamma * spread, 1.0)
    assert np.abs(found - expected).max() <= 1e-5 * scale


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ((16, 0, 0), 3),  # of 1/4 the variance is 3/16
        ((0, 16, 0), 4),  # and of 1/2 4/16
        ((0, 0, 16), 3),
        ((-16, 16, 32), 7),
    ],
)
@pytest.mark.parametrize("gamma", [0.0, 3.0])
def test_variances_of_a_quarter_and_a_half(extra, expected, gamma):
    logits = np.log([0.25, 0.5, 0.25]).reshape(1, 3, 1, 1)
    head = deal.DifficultyHead(gamma, [4.0, 8.0, -4.0], -1.0, None, extra)
    found = regions.difficulty_grid(logits.astype(np.float32), head)
    np.testing.assert_allclose(found, (1 + gamma) * (4 + expected) - 1, atol=1e-4)


def test_weights_of_uncertainty_that_are_zero_change_no_bit():
    logits = np.random.default_rng(3).normal(size=(2, 3, 9, 11)).astype(np.float32)
    head = deal.DifficultyHead(0.7, [1.0, -2.0, 0.5], 0.1)
    found = []
    for zeros in (None, np.zeros(3, np.float32)):
        request = regions._input(logits, (20, 30), True, head)
        weight = np.asarray(head.weight, np.float32)
        request.set_head(weight, head.gamma, head.bias, None, _native.ATTENTION_AUTO, zeros)
        found.append(_native.difficulty_grid(_native.Context(1), request, None)[0].tobytes())
    assert found[0] == found[1]


def test_equal_weights_of_uncertainty_order_pixels_by_the_gini_impurity():
    rng = np.random.default_rng(4)
    logits = (2 * rng.normal(size=(1, 6, 25, 31))).astype(np.float32)
    head = deal.DifficultyHead(0.0, np.zeros(6), -1.0, None, np.full(6, 3.0))
    found = head.difficulty_map(logits, size=(25, 31))[0]
    impurity = 1 - (reference.softmax(logits.astype(np.float64))[0] ** 2).sum(axis=0)
    assert (np.diff(found.ravel()[np.argsort(impurity.ravel())]) >= -1e-6).all()


def test_a_head_of_half_the_weights_is_refused():
    request = regions._input(np.zeros((1, 2, 3, 3), np.float32), (3, 3), True, None)
    with pytest.raises(ValueError, match="as many numbers as weight"):
        request.set_head(np.ones(2, np.float32), 1.0, 0.0, None, 0, np.ones(1, np.float32))


def test_the_polynomial_is_taken_for_large_grids_and_few_classes():
    """AUTO gives the bits of the cheaper way."""
    rng = np.random.default_rng(0)
    for classes, grid, way in ((3, (40, 50), "POLYNOMIAL"), (60, (6, 7), "DIRECT")):
        logits = rng.normal(size=(1, classes, *grid)).astype(np.float32)
        head = deal.DifficultyHead(1.0, rng.normal(size=classes), 0.0)
        auto = regions.difficulty_grid(logits, head)
        chosen = regions.difficulty_grid(
            logits, head, attention=getattr(_native, f"ATTENTION_{way}")
        )
        assert auto.tobytes() == chosen.tobytes()


@pytest.mark.parametrize("sure", [0.5, 8.0])
@pytest.mark.parametrize("classes", [2, 11, 45])
def test_the_polynomial_errs_by_a_hundred_thousandth_of_its_scale(classes, sure):
    rng = np.random.default_rng(classes)
    logits = (sure * rng.normal(size=(1, classes, 24, 25))).astype(np.float32)
    head = deal.DifficultyHead(1.0, rng.normal(size=classes), 0.0)
    way = _native.ATTENTION_POLYNOMIAL
    found = regions.difficulty_grid(logits, head, attention=way)
    error = np.abs(found - reference.difficulty_grid(logits, head, True)).max()
    assert error <= 1e-5 * np.ptp(head.weight)


def test_the_polynomial_is_refused_beyond_45_classes():
    logits = np.zeros((1, 46, 5, 5), np.float32)
    head = deal.DifficultyHead(1.0, np.zeros(46), 0.0)
    with pytest.raises(UsageError, match="at most 45 classes, not 46"):
        regions.difficulty_grid(logits, head, attention=_native.ATTENTION_POLYNOMIAL)


def test_difficulty_map_is_the_sigmoid_of_the_resized_grid():
    case = CASES[0].make()
    found = case["head"].difficulty_map(case["logits"], size=case["size"])
    grid = reference.difficulty_grid(case["logits"], case["head"], True)
    expected = reference.difficulty_map(grid, case["size"], True)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


# ---- bits -------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bits_do_not_depend_on_threads(case: Case):
    arguments = case.make()
    one = flatten(deal.score_logits(**arguments, threads=1))
    for threads in (2, 3, 8):
        assert flatten(deal.score_logits(**arguments, threads=threads)) == one


def test_bits_do_not_depend_on_the_batch_split():
    arguments = CASES[4].make()
    whole = deal.score_logits(**arguments, threads=2)
    for b in range(3):
        part = dict(arguments)
        part["logits"] = arguments["logits"][b : b + 1]
        part["mask"] = arguments["mask"][b : b + 1]
        part["regions"] = deal.Segments(arguments["regions"].map[b : b + 1], count=12)
        alone = deal.score_logits(**part, threads=2)
        for name, value in alone.images.items():
            assert value.tobytes() == whole.images[name][b : b + 1].tobytes(), name
        for name, value in alone.regions.items():
            assert value.tobytes() == whole.regions[name][b : b + 1].tobytes(), name


@pytest.mark.skipif(not wider_instruction_sets(), reason="this processor has none but portable")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bits_do_not_depend_on_the_instruction_set(case: Case):
    arguments = case.make()
    found = []
    for isa in (_native.ISA_PORTABLE, *wider_instruction_sets()):
        request = regions._input(
            arguments["logits"],
            arguments["size"],
            arguments["align_corners"],
            arguments["head"],
            arguments["difficulty"],
        )
        request.set_grid(7)
        if arguments["mask"] is not None:
            request.set_mask(arguments["mask"])
        images, table, bad = _native.statistics(_native.Context(2, isa), request)
        found.append(flatten(deal.Statistics(images, table, bad)))
    assert all(other == found[0] for other in found)


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(*(st.integers(1, n) for n in (3, 9, 12, 14))),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    grid=st.none() | st.tuples(st.integers(1, 9), st.integers(1, 9)),
    align_corners=st.booleans(),
    masked=st.booleans(),
    kind=st.sampled_from(["none", "grid", "segments"]),
    threads=st.integers(1, 4),
)
def test_any_shape_agrees_with_the_oracle(shape, size, grid, align_corners, masked, kind, threads):
    case = Case("any", shape, size, grid, align_corners, masked, kind)
    arguments = case.make()
    ties = near_ties(arguments)
    expected = oracle(arguments)
    found = deal.score_logits(**arguments, threads=threads)
    assert_columns(found.images, expected.images, ties)
    if found.regions is not None:
        assert_columns(found.regions, expected.regions, ties)


@pytest.mark.skipif(not wider_instruction_sets(), reason="this processor has none but portable")
@pytest.mark.parametrize("classes", [1, 2, 5, 7, 11, 19])
def test_bits_of_the_polynomial_do_not_depend_on_the_instruction_set(classes):
    rng = np.random.default_rng(classes)
    logits = rng.normal(size=(1, classes, 25, 43)).astype(np.float32)
    head = deal.DifficultyHead(1.0, rng.normal(size=classes), 0.0)
    request = regions._input(logits, (1, 1), True, head, attention=_native.ATTENTION_POLYNOMIAL)
    found = [
        _native.difficulty_grid(_native.Context(2, isa), request, None)[0].tobytes()
        for isa in (_native.ISA_PORTABLE, *wider_instruction_sets())
    ]
    assert all(other == found[0] for other in found)
