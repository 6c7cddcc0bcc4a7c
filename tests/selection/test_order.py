from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from deal.selection import order
from deal.selection.order import digest, rank, repeated

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def large(ids: list[str]) -> pa.Array:
    return pa.array(ids, pa.large_string())


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_rank_is_by_score_then_by_utf8_bytes(data: st.DataObject) -> None:
    ids = data.draw(st.lists(TEXT, unique=True, max_size=20))
    value = st.sampled_from([0.0, -0.0, 0.5, 1.0, math.inf, -math.inf, math.nan])
    scores = data.draw(st.lists(value, min_size=len(ids), max_size=len(ids)))
    budget = data.draw(st.none() | st.integers(1, 25))
    expected = sorted(
        (i for i in range(len(ids)) if not math.isnan(scores[i])),
        key=lambda i: (-scores[i], ids[i].encode()),
    )
    assert rank(ids, np.array(scores, dtype=float), budget).tolist() == expected[:budget]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9)), unique=True, max_size=12))
def test_ties_of_regions_go_by_id_and_region(names: list[tuple[str, int]]) -> None:
    regions = np.array([region for _, region in names], np.int32)
    ranked = rank([name for name, _ in names], np.zeros(len(names)), regions=regions)
    assert [names[i] for i in ranked.tolist()] == sorted(names)


@settings(deadline=None)
@given(st.lists(TEXT, max_size=30), st.integers(0, 3))
def test_a_name_that_stands_twice_is_found(ids: list[str], offset: int) -> None:
    twice = sorted({name for name in ids if ids.count(name) > 1})
    row = repeated(large(["x"] * offset + ids).slice(offset))
    assert (row is None) == (not twice)
    if row is not None:
        assert ids[row] == twice[0]


def test_regions_of_one_image_are_no_repetition() -> None:
    ids = large(["a", "a", "b", "a"])
    assert repeated(ids, np.array([0, 1, 0, 2], np.int32)) is None
    assert repeated(ids, np.array([0, 1, 0, 1], np.int32)) == 3


def test_names_that_share_a_hash_are_told_apart(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(order, "name_hashes", lambda ids, _: np.zeros(len(ids), np.uint64))
    assert repeated(large(["a", "b", "c"])) is None
    assert repeated(large(["a", "b", "a"])) == 2


def test_hashes_depend_on_every_byte_and_on_the_length() -> None:
    ids = [text for n in range(40) for text in ("a" * n, "a" * n + "b", "a" * n + "\0")]
    unique = set(ids)
    assert len(set(order.name_hashes(large(sorted(unique))).tolist())) == len(unique)


def test_the_digest_is_of_the_ranked_rows_alone() -> None:
    ids, scores = large(["a", "b", "cc"]), np.array([0.5, np.nan, 1.0])
    ranked = rank(ids, scores)
    whole = digest(ids, scores, ranked)
    moved = large(["cc", "a"])
    assert digest(moved, np.array([1.0, 0.5]), np.array([0, 1])) == whole
    assert digest(moved, np.array([1.0, 0.25]), np.array([0, 1])) != whole
    assert digest(large(["c", "ca"]), np.array([1.0, 0.5]), np.array([0, 1])) != whole
    zeros = [digest(large(["a"]), np.array([zero]), np.array([0])) for zero in (0.0, -0.0)]
    assert zeros[0] == zeros[1]
