"""Committees in the native kernel against the oracle, and the identities they obey."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import deal
from deal import _native
from deal.kernel import statistics as regions
from tests.helpers.cases import (
    CASES,
    MEANS,
    Case,
    assert_columns,
    flatten,
    near_ties,
    oracle,
    wider_instruction_sets,
)
from tests.oracle import reference

COLUMNS = {"vote_entropy_mean", "mutual_information_mean", "consensus_entropy_mean"}
# Committees of CamVid's size keep the oracle busy for seconds each: here half of its sides.
SMALLER = [
    replace(case, shape=(1, 11, 45, 60), size=(180, 240), grid=(30, 40))
    if case.size == (360, 480)
    else case
    for case in CASES
]


def of_committee(case: Case, members: int):
    """Arguments of ``score_logits``: member 0 is the case's, the others are like it to a degree."""
    arguments = case.make()
    rng = np.random.default_rng(members)
    noise = rng.normal(size=(members, *case.shape)) * case.spread * 0.7
    noise[0] = 0.0
    return arguments | {"logits": (arguments["logits"] + noise).astype(np.float32)}


def ties_of(arguments):
    """Raster pixels where a member's vote is too close for float32."""
    members = np.nan_to_num(arguments["logits"], posinf=0.0)
    return sum(near_ties(arguments | {"logits": member}) for member in members)


def assert_agrees(arguments, found):
    ties = ties_of(arguments)
    expected = oracle(arguments)
    for got, wanted in ((found.images, expected.images), (found.regions, expected.regions)):
        assert (got is None) == (wanted is None)
        if got is None:
            continue
        if ties:  # one moved vote may be all of a region
            wanted = wanted | {"vote_entropy_mean": got["vote_entropy_mean"]}
        assert_columns(got, wanted, ties)


@pytest.mark.parametrize("case", SMALLER, ids=lambda case: case.name)
@pytest.mark.parametrize("members", [2, 5])
def test_committees_agree_with_the_oracle(case: Case, members):
    arguments = of_committee(case, members)
    found = deal.score_logits(**arguments, threads=2)
    assert set(found.images) >= COLUMNS
    assert_agrees(arguments, found)


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(*(st.integers(1, n) for n in (2, 7, 9, 11))),
    size=st.tuples(st.integers(1, 25), st.integers(1, 25)),
    members=st.integers(2, 7),
    align_corners=st.booleans(),
    masked=st.booleans(),
    kind=st.sampled_from(["none", "grid", "segments"]),
    threads=st.integers(1, 3),
)
def test_any_committee_agrees_with_the_oracle(
    shape, size, members, align_corners, masked, kind, threads
):
    case = Case("any", shape, size, None, align_corners, masked, kind)
    arguments = of_committee(case, members)
    assert_agrees(arguments, deal.score_logits(**arguments, threads=threads))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_other_column_is_that_of_member_0(case: Case):
    arguments = of_committee(case, 3)
    committee = deal.score_logits(**arguments)
    alone = deal.score_logits(**arguments | {"logits": arguments["logits"][0]})
    assert set(committee.images) - set(alone.images) == COLUMNS
    both = flatten(committee)
    assert {name: both[name] for name in flatten(alone)} == flatten(alone)


def test_a_committee_of_one_is_no_committee():
    arguments = CASES[3].make()
    one = deal.score_logits(**arguments | {"logits": arguments["logits"][None]})
    assert flatten(one) == flatten(deal.score_logits(**arguments))


def test_the_difficulty_is_that_of_member_0():
    arguments = of_committee(CASES[0], 2)
    head, logits, size = arguments["head"], arguments["logits"], arguments["size"]
    alone = head.difficulty_map(logits[0], size=size)
    assert head.difficulty_map(logits, size=size).tobytes() == alone.tobytes()


# ---- identities -------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(*(st.integers(1, n) for n in (2, 19, 6, 9))),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    members=st.integers(2, 64),
    spread=st.sampled_from([0.01, 1.0, 5.0, 200.0]),
)
def test_equal_members_disagree_about_nothing(shape, size, members, spread):
    logits = Case("equal", shape, size, spread=spread).make()["logits"]
    equal = np.broadcast_to(logits, (members, *shape))  # strides of zero
    found = deal.score_logits(equal, size=size, regions=deal.Grid(4), threads=1)
    for table in (found.images, found.regions):
        assert (table["vote_entropy_mean"] == 0).all()
        assert (table["mutual_information_mean"] >= 0).all()
        assert (table["mutual_information_mean"] < 2e-6).all()
        np.testing.assert_allclose(
            table["consensus_entropy_mean"], table["entropy_mean"], rtol=0, atol=2e-6
        )


def test_mutual_information_is_the_mean_divergence_from_the_mean():
    """KL to the mean (McCallum & Nigam 1998) and BALD are one number."""
    arguments = of_committee(CASES[0], 4)
    found = deal.score_logits(arguments["logits"], size=(90, 120)).images
    p = np.stack([reference.softmax(member) for member in arguments["logits"].astype(np.float64)])
    mean = p.mean(axis=0)
    divergence = (p * (np.log(p) - np.log(mean))).sum(axis=2).mean()
    np.testing.assert_allclose(found["mutual_information_mean"], divergence, rtol=0, atol=MEANS)


def test_members_sure_of_different_classes_differ_by_the_logarithm_of_their_number():
    members, classes = 4, 6
    logits = np.zeros((members, 1, classes, 3, 5), np.float32)
    for m in range(members):
        logits[m, :, m] = 500.0
    found = deal.score_logits(logits, size=(12, 20)).images
    for name in COLUMNS:
        np.testing.assert_allclose(found[name], np.log(members), rtol=0, atol=1e-6, err_msg=name)


def test_votes_of_equal_logits_go_to_the_lowest_class():
    logits = np.zeros((3, 1, 4, 2, 2), np.float32)
    logits[2, 0, 1] = 1.0  # two for class 0, one for class 1
    expected = -(2 / 3) * np.log(2 / 3) - (1 / 3) * np.log(1 / 3)
    found = deal.score_logits(logits, size=(2, 2)).images["vote_entropy_mean"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)


def test_the_order_of_the_members_after_the_first_hardly_matters():
    arguments = of_committee(CASES[4], 5)
    turned = arguments | {"logits": arguments["logits"][[0, 3, 1, 4, 2]]}
    found, other = deal.score_logits(**arguments), deal.score_logits(**turned)
    for name in COLUMNS:
        np.testing.assert_allclose(found.images[name], other.images[name], rtol=0, atol=1e-7)
        np.testing.assert_allclose(found.regions[name], other.regions[name], rtol=0, atol=1e-7)


# ---- bits -------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bits_do_not_depend_on_threads(case: Case):
    arguments = of_committee(case, 3)
    one = flatten(deal.score_logits(**arguments, threads=1))
    for threads in (2, 5):
        assert flatten(deal.score_logits(**arguments, threads=threads)) == one


def test_bits_do_not_depend_on_the_batch_split():
    arguments = of_committee(CASES[4], 3)
    whole = deal.score_logits(**arguments, threads=2)
    for b in range(3):
        part = arguments | {
            "logits": arguments["logits"][:, b : b + 1],
            "mask": arguments["mask"][b : b + 1],
            "regions": deal.Segments(arguments["regions"].map[b : b + 1], count=12),
        }
        alone = deal.score_logits(**part, threads=2)
        for name in COLUMNS:
            assert alone.images[name].tobytes() == whole.images[name][b : b + 1].tobytes()
            assert alone.regions[name].tobytes() == whole.regions[name][b : b + 1].tobytes()


@pytest.mark.skipif(not wider_instruction_sets(), reason="this processor has none but portable")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bits_do_not_depend_on_the_instruction_set(case: Case):
    arguments = of_committee(case, 3)
    found = []
    for isa in (_native.ISA_PORTABLE, *wider_instruction_sets()):
        request = regions._input(
            arguments["logits"], arguments["size"], arguments["align_corners"], None
        )
        request.set_grid(7)
        if arguments["mask"] is not None:
            request.set_mask(arguments["mask"])
        images, table, bad = _native.statistics(_native.Context(2, isa), request)
        found.append(flatten(deal.Statistics(images, table, bad)))
    assert all(other == found[0] for other in found)


# ---- input ------------------------------------------------------------------------------------


def test_strides_and_half_precision_do_not_matter():
    arguments = of_committee(CASES[4], 3)
    half = arguments["logits"].astype(np.float16)
    found = flatten(deal.score_logits(**arguments | {"logits": half}))
    assert flatten(deal.score_logits(**arguments | {"logits": half.astype(np.float32)})) == found
    turned = np.ascontiguousarray(half[::-1, ..., ::-1])[::-1, ..., ::-1]
    assert turned.strides[0] < 0
    assert turned.strides[-1] < 0
    assert flatten(deal.score_logits(**arguments | {"logits": turned})) == found
    last = np.ascontiguousarray(half.transpose(1, 3, 4, 2, 0)).transpose(4, 0, 3, 1, 2)
    assert flatten(deal.score_logits(**arguments | {"logits": last})) == found


def test_dlpack_takes_committees():
    torch = pytest.importorskip("torch")
    arguments = of_committee(CASES[3], 2)
    found = deal.score_logits(**arguments)
    tensor = torch.from_numpy(arguments["logits"])
    assert flatten(deal.score_logits(**arguments | {"logits": tensor})) == flatten(found)


@pytest.mark.parametrize("member", [0, 2])
def test_a_bad_number_in_any_member_is_counted(member):
    arguments = of_committee(CASES[4], 3)
    arguments["logits"][member, 1, 3, 2, 2] = np.nan
    arguments["logits"][member, 1, 4, 2, 3] = np.inf
    found = deal.score_logits(**arguments)
    assert found.nonfinite.tolist() == [0, 2, 0]
    assert found.images["n_pixels"][1] == 0
    for name in COLUMNS:
        assert np.isnan(found.images[name]).tolist() == [False, True, False]
        assert np.isnan(found.regions[name][1]).all()
    assert_agrees(arguments | {"head": None}, deal.score_logits(**arguments | {"head": None}))


def test_a_mask_of_everything_leaves_no_mean():
    logits = np.zeros((2, 1, 3, 4, 4), np.float32)
    found = deal.score_logits(
        logits, size=(8, 8), mask=np.zeros((8, 8), np.uint8), regions=deal.Grid(4)
    )
    for name in COLUMNS:
        assert np.isnan(found.images[name]).all()
        assert np.isnan(found.regions[name]).all()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"logits": np.zeros((65, 1, 2, 1, 1), np.float32)}, "65 committee members; 1 to 64"),
        ({"logits": np.zeros((0, 1, 2, 1, 1), np.float32)}, "a committee without members"),
        ({"logits": np.zeros((2, 2, 1, 2, 1, 1), np.float32)}, "rank 6; .* of a committee"),
        (
            {
                "logits": np.zeros((2, 1, 2, 3, 3), np.float32),
                "difficulty": np.zeros((2, 1, 3, 3), np.float32),
            },
            "the difficulty has 2 images",
        ),
        (
            {
                "logits": np.zeros((2, 1, 2, 3, 3), np.float32),
                "difficulty": np.zeros((2, 1, 1, 3, 3), np.float32),
            },
            "difficulty: rank 5",
        ),
    ],
)
def test_committees_that_do_not_fit_are_refused(arguments, text):
    with pytest.raises(deal.errors.UsageError, match=text):
        deal.score_logits(**arguments, size=(6, 6))
