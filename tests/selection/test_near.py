"""Near-duplicates among picks, against comparing every pair."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from deal.pool.signature import limit_of
from deal.selection.greedy import Choice
from deal.selection.near import NearDuplicates

Signatures = NDArray[np.uint8]


def drawn(seed: int, count: int, groups: int, noise: int) -> Signatures:
    """Signatures around some pictures; ``noise`` grey levels apart at most."""
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (groups, 192))
    moved = pictures[rng.integers(0, groups, count)]
    moved = moved + rng.integers(-noise, noise + 1, (count, 192)) + rng.integers(-9, 10, (count, 1))
    return np.clip(moved, 0, 255).astype(np.uint8)


def unlike(signatures: Signatures, levels: Fraction, known: NDArray[np.bool_]) -> list[int]:
    """Rows that stay, in their order, by the definition and by comparing all pairs."""
    kept: list[int] = []
    for row in range(len(signatures)):
        a = [int(v) for v in signatures[row]]
        for other in kept:
            if not (known[row] and known[other]):
                continue
            deltas = [x - int(y) for x, y in zip(a, signatures[other], strict=True)]
            total = sum(deltas)
            if Fraction(sum(abs(192 * d - total) for d in deltas), 192 * 192) <= levels:
                break
        else:
            kept.append(row)
    return kept


def chosen(
    signatures: Signatures, levels: Fraction, known: NDArray[np.bool_], *, budget: int = 10**6
) -> tuple[list[int], NearDuplicates]:
    near = NearDuplicates(lambda rows: (signatures[rows], known[rows]), limit_of(levels))
    choice = Choice(np.ones(len(signatures)), budget, [], near)
    choice.choose(np.arange(len(signatures)))
    return list(choice.taken), near


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(0, 60),
    st.integers(1, 12),
    st.integers(0, 12),
    st.sampled_from(["0", "1.5", "3", "2.75", "40", "255"]),
)
def test_of_rows_that_look_alike_the_first_stays(
    seed: int, count: int, groups: int, noise: int, levels: str
) -> None:
    signatures = drawn(seed, count, groups, noise)
    known = np.random.default_rng(seed).random(count) < 0.9
    found, near = chosen(signatures, Fraction(levels), known)
    assert found == unlike(signatures, Fraction(levels), known)
    assert near.refused == set(range(count)) - set(found)
    assert near.unknown == set(np.flatnonzero(~known).tolist())


@pytest.mark.slow
@pytest.mark.parametrize("low_contrast", [False, True])
def test_thousands_of_rows_give_what_all_pairs_give(low_contrast: bool) -> None:
    """More rows than are compared at once, and more taken ones than are sorted each time."""
    rng = np.random.default_rng(3)
    if low_contrast:  # all in one cell: nothing but comparing tells them apart
        signatures = (100 + rng.integers(0, 6, (1500, 192))).astype(np.uint8)
        levels = Fraction(7, 5)
    else:
        signatures, levels = drawn(1, 6_000, 9_000, 4), Fraction(3)
    wide = signatures.astype(np.int32) * 192
    wide -= wide.sum(axis=1, keepdims=True) // 192
    rows: list[int] = []
    table, apart = np.empty_like(wide), np.empty_like(wide)
    for row, values in enumerate(wide):
        between = np.subtract(table[: len(rows)], values, out=apart[: len(rows)])
        distances = np.abs(between, out=between).sum(axis=1)
        if not rows or distances.min() > limit_of(levels):
            table[len(rows)] = values
            rows.append(row)
    found, _ = chosen(signatures, levels, np.ones(len(wide), bool))
    assert found == rows
    assert len(rows) > (100 if low_contrast else 4096)


def test_a_row_that_was_refused_refuses_no_other() -> None:
    steps = np.zeros((3, 192), np.uint8)
    steps[:, :96] = np.array([[0], [4], [8]])  # each 2 levels from the next
    found, near = chosen(steps, Fraction(2), np.ones(3, bool))
    assert found == [0, 2]
    assert near.refused == {1}


def test_rows_after_the_budget_is_filled_are_not_counted() -> None:
    same = np.zeros((50, 192), np.uint8)
    same[1::2, :96] = 9
    found, near = chosen(same, Fraction(1), np.ones(50, bool), budget=2)
    assert found == [0, 1]
    assert near.refused == set()


def test_rows_of_one_image_do_not_refuse_each_other() -> None:
    same = np.zeros((4, 192), np.uint8)
    near = NearDuplicates(
        lambda rows: (same[rows], np.ones(len(rows), bool)), 0, np.array([0, 0, 1, 1])
    )
    choice = Choice(np.ones(4), 4, [], near)
    choice.choose(np.arange(4))
    assert list(choice.taken) == [0, 1]
