"""Scores and signatures of the C library, against Python's formulas and the oracle, bit for bit."""

from __future__ import annotations

import decimal
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deal import _native
from deal.acquisitions import acquisition_names, bind
from deal.kernel.logarithm import log
from deal.pool.signature import distance
from tests.oracle import signature as oracle

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "de": [{"levels": n, "edges": e} for n in (2, 8, 10, 240) for e in ("image", "fixed")] + [{}],
    "tail:difficulty": [{}, {"tail": 1.0}, {"tail": 0.3}],
    "tail:entropy": [{}, {"tail": 0.001}],
    "random": [{}, {"seed": 7}, {"seed": -3}],
}
MEANS = [name for table, name, *_ in _native.columns() if table == "image" and "_mean" in name]
NAMES = sorted(set(acquisition_names()) - {"core-set", "typiclust"})


def statistics(images: int, classes: int, rng: np.random.Generator) -> dict[str, Any]:
    """Columns of random images, some of them without a pixel, as the kernel leaves them."""
    pixels = rng.integers(1, 5000, images) * (rng.random(images) > 0.2)
    columns: dict[str, Any] = {"n_pixels": pixels.astype(np.int64)}
    for name, size in (("difficulty", 240), ("difficulty_hist", 240), ("entropy", 240)):
        name = {"difficulty": "difficulty_hist_image", "entropy": "entropy_hist"}.get(name, name)
        share = rng.dirichlet(np.full(size, rng.choice([0.02, 1.0])))
        columns[name] = np.array([rng.multinomial(n, share) for n in pixels], np.int64)
    share = rng.dirichlet(np.full(classes, 0.5))
    columns["class_pixels"] = np.array([rng.multinomial(n, share) for n in pixels], np.int64)
    for name in ("difficulty", "entropy", "difficulty_weighted_entropy"):
        columns[f"class_{name}_sum"] = columns["class_pixels"] * rng.random((images, classes))
    empty = np.where(pixels > 0, 0.0, np.nan)
    for name in MEANS:
        columns[name] = rng.random(images) + empty
    return columns


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("images", "classes"), [(1, 1), (2, 3), (40, 11), (3, 150), (5, 256)])
def test_a_score_of_the_library_has_the_bits_of_pythons(name, images, classes):
    rng = np.random.default_rng([images, classes])
    columns = statistics(images, classes, rng)
    ids = [f"drive/{i}/{'é' * i}.jpg" for i in range(images)]
    named = [f"class {c}" for c in range(classes)]
    totals = rng.integers(0, 10**9, classes)
    for options in OPTIONS.get(name, [{}]):
        focus = rng.random(classes) < 0.5
        focus[0] = True
        given: dict[str, Any] = dict(options)
        seed = given.pop("seed", 0)
        if name.startswith("focus:"):
            given["focus"] = [named[c] for c in np.flatnonzero(focus)]
        bound = bind(name, classes=named, seed=seed, **given)
        expected = bound.scores({"id": ids, **columns}, totals if bound.needs_totals else None)
        found = _native.score(
            name,
            columns,
            images,
            classes=classes,
            focus=focus.astype(np.uint8).tolist(),
            totals=totals.tolist(),
            ids=ids,
            **options,
        )
        np.testing.assert_array_equal(found, expected)


def test_every_function_that_scores_images_has_a_score_in_the_library():
    for name in NAMES:
        with pytest.raises(ValueError, match=r"NULL|classes has to be"):
            _native.score(name, {}, 1)
    with pytest.raises(ValueError, match="no acquisition function 'core-set' scores one image"):
        _native.score("core-set", {}, 1)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("de", {"levels": 7}, "levels has to divide 240"),
        ("tail:difficulty", {"tail": 1.5}, "tail has to be above 0"),
        ("focus:pixels", {}, "classes has to be the number of classes"),
        ("balanced:entropy", {"classes": 3}, "totals is NULL"),
        ("ds:entropy", {}, "reads difficulty_weighted_entropy_mean, which is NULL"),
    ],
)
def test_a_score_that_cannot_be_computed_is_refused_with_the_reason(name, options, message):
    with pytest.raises(ValueError, match=message):
        _native.score(name, {}, 1, **options)


def test_an_id_with_a_nul_is_refused_and_not_cut():
    with pytest.raises(ValueError, match=r"ids\[1\] holds a NUL"):
        _native.score("random", {}, 2, ids=["a.jpg", "a\0b.jpg"])


def test_counts_whose_sum_is_beyond_64_bits_are_shares_of_it():
    most = 2**63 - 1
    bins = {name: np.full((1, 240), most) for name in ("difficulty_hist", "difficulty_hist_image")}
    assert _native.score("de", bins, 1, levels=2)[0] == pytest.approx(math.log(2))
    tail = _native.score("tail:difficulty", bins, 1, tail=1.0)[0]
    assert tail == pytest.approx(0.5)
    columns = {"class_entropy_sum": np.array([[3.0, 4.0]]), "n_pixels": np.array([7])}
    found = _native.score("balanced:entropy", columns, 1, classes=2, totals=[most, most])
    assert found[0] == pytest.approx(1 / math.log(1.52))
    with pytest.raises(ValueError, match="totals holds a negative"):
        _native.score("balanced:entropy", columns, 1, classes=2, totals=[5, -1])


positive = st.floats(5e-324, 1.7976931348623157e308, allow_subnormal=True)


@given(st.lists(positive | st.floats(0.9, 1.1) | st.floats(1e-9, 1), min_size=1, max_size=40))
def test_the_logarithm_is_within_one_unit_in_the_last_place(values):
    with decimal.localcontext(decimal.Context(prec=40)):
        for value, found in zip(values, log(values).tolist(), strict=True):
            exact = decimal.Decimal(value).ln()
            error = abs(decimal.Decimal(found) - exact)
            assert error <= decimal.Decimal(math.ulp(float(exact)))


def test_the_logarithm_of_what_has_none_is_that_of_numpy():
    values = np.array([[0.0, -0.0, -1.0], [np.nan, np.inf, -np.inf]])
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(log(values), np.log(values))
    assert float(log(1.0)) == 0.0
    assert log(np.ones((2, 0))).shape == (2, 0)
    same = np.array([math.e, 1.0])
    assert log(same, out=same) is same
    assert same.tolist() == [1.0, 0.0]


@given(
    st.integers(1, 900), st.integers(1, 60), st.integers(0, 2**32 - 1), st.sampled_from(range(6))
)
@settings(max_examples=60, deadline=None)
def test_a_signature_has_the_bytes_of_the_oracle_whatever_the_strides(height, width, seed, layout):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    views = (
        image,
        image[:, :, ::-1],
        image[::-1, ::-1],
        np.asfortranarray(image),
        rng.integers(0, 256, (height, width, 4), np.uint8)[:, :, :3],
        rng.integers(0, 256, (height, 2 * width, 3), np.uint8)[:, ::2],
    )
    view = views[layout]
    assert (_native.thumbnail(view) == oracle.thumbnail(view)).all()


def test_a_signature_needs_an_image_of_bytes():
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match=r"\[H, W, 3\]"):
            _native.thumbnail(wrong)
    with pytest.raises(TypeError):
        _native.thumbnail(np.zeros((4, 4, 3)))


@given(st.binary(min_size=192, max_size=192), st.binary(min_size=192, max_size=192))
def test_signatures_are_as_far_apart_as_pythons_whole_numbers_say(one, other):
    a, b = (np.frombuffer(s, np.uint8) for s in (one, other))
    d = a.astype(int) - b
    expected = int(abs(192 * d - d.sum()).sum())
    assert _native.thumbnail_difference(a, b) == expected == distance(a, b)
    assert _native.thumbnail_difference(a, a) == 0


def test_the_difference_of_black_and_white_halves_does_not_overflow():
    a, b = np.zeros(192, np.uint8), np.full(192, 255, np.uint8)
    a[:96], b[:96] = 255, 0
    assert _native.thumbnail_difference(a, b) == 192 * 192 * 255
