from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from deal.selection import order
from deal.selection.order import Digest, rank, repeated

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


def digest(ids: list[str], scores: list[float]) -> str:
    found = Digest()
    found.add(order.name_hashes(large(ids)), np.array(scores))
    return str(found)


def test_the_digest_depends_on_every_name_and_score_and_not_on_their_order() -> None:
    whole = digest(["a", "cc", "b"], [0.5, 1.0, 0.25])
    assert digest(["b", "a", "cc"], [0.25, 0.5, 1.0]) == whole
    assert len(whole) == 32
    others = [
        (["a", "cc"], [0.5, 1.0]),
        (["a", "cc", "b"], [0.5, 1.0, 0.5]),
        (["a", "cc", "b"], [1.0, 0.5, 0.25]),  # scores change places
        (["a", "cd", "b"], [0.5, 1.0, 0.25]),
        ([], []),
    ]
    assert len({whole, *(digest(*rows) for rows in others)}) == 6
    assert digest(["a"], [0.0]) == digest(["a"], [-0.0])


def test_digests_of_parts_add_up() -> None:
    ids, scores = [str(n) for n in range(20_000)], np.arange(20_000) / 7
    found = Digest()
    for part in (slice(0, 9000), slice(9000, None)):
        found.add(order.name_hashes(large(ids[part])), scores[part])
    assert str(found) == digest(ids, scores.tolist())
