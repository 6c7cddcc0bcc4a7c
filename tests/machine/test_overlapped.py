"""Slow entries are worked on ahead, within bounds, and come in their order."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deal.machine.threads import overlapped

SIZES = st.lists(st.integers(0, 9), max_size=60)


@given(SIZES, st.integers(1, 5), st.integers(1, 12))
def test_results_come_in_order_and_never_hold_more_than_there_is_room(
    sizes: list[int], threads: int, room: int
) -> None:
    lock = threading.Lock()
    ahead: list[tuple[int, int]] = []  # what was taken from the source and not yet given out

    def entries() -> object:
        for entry in enumerate(sizes):
            with lock:
                ahead.append(entry)
            yield entry

    def work(entry: tuple[int, int]) -> tuple[int, int]:
        assert entry[1] > 0
        return entry[0], -entry[1]

    found = []
    results = overlapped(entries(), work, lambda entry: entry[1], threads=threads, room=room)  # type: ignore[type-var,arg-type]
    for index, size in results:
        found.append((index, size))
        with lock:
            ahead.remove((index, abs(size)))
            held = [size for _, size in ahead]
        # beside these, one was taken that found no room
        assert len(held) <= threads + 1
        assert sum(held[:-1]) <= room or len(held) <= 2
    assert found == [(index, -size) for index, size in enumerate(sizes)]


def test_an_error_comes_where_its_entry_would() -> None:
    def work(entry: int) -> int:
        if entry == 3:
            raise ValueError("three")
        return entry

    results = overlapped(range(1, 9), work, lambda entry: 1, threads=4, room=100)
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)


def test_leaving_early_begins_nothing_more() -> None:
    begun: list[int] = []

    def work(entry: int) -> int:
        begun.append(entry)
        return entry

    results = overlapped(range(1, 99), work, lambda entry: 1, threads=2, room=2)
    assert next(results) == 1
    results.close()
    assert len(begun) <= 3
