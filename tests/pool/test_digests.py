"""The compact map against a dict."""

from __future__ import annotations

import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st

from deal.pool.digests import DigestMap, digest

# few distinct low bits: the probing has to work
keys = st.builds(lambda low, high: high << 32 | low, st.integers(1, 3), st.integers(0, 40))


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(keys, st.integers(0, 2**64 - 1)), max_size=200), keys)
def test_it_behaves_like_a_dict(entries: list[tuple[int, int]], other: int) -> None:
    compact, plain = DigestMap(), dict(entries)
    for key, value in entries:
        compact[key] = value
    assert len(compact) == len(plain)
    assert {key: compact.get(key) for key in plain} == plain
    assert compact.get(other) == plain.get(other)


def test_it_grows_and_stays_compact() -> None:
    tracemalloc.start()
    compact = DigestMap()
    for number in range(20_000):
        compact[digest(str(number))] = number
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert size < 48 * 20_000
    assert [compact.get(digest(str(number))) for number in range(20_000)] == list(range(20_000))
    assert len(compact) == 20_000
    assert compact.get(digest("other")) is None
