"""The selector of streams, against the oracle, against `deal select`, and against its promises."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import deal
from deal import _native
from deal.selection.order import name_hashes
from tests.helpers.streams import (
    Case,
    difference,
    hash_of,
    native,
    native_events,
    plain,
    push,
    random_case,
)
from tests.oracle import stream as oracle
from tests.oracle.stream_frames import Frame, name_hash


@pytest.mark.parametrize("first", range(0, 200, 25))
def test_every_decision_is_the_oracles_event_by_event(first):
    for seed in range(first, first + 25):
        assert difference(seed) is None


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 3000, 250))
def test_so_it_is_in_many_more_streams(first):
    for seed in range(first, first + 250):
        assert difference(seed) is None


def kept(events: list[list[oracle.Event]]) -> dict[int, str]:
    """What the decisions leave, by part."""
    found: dict[int, str] = {}
    for action, name, why, _ in (event for step in events for event in step):
        if action == "keep":
            found[name] = why
        else:
            found.pop(name, None)
    return found


@given(st.integers(0, 10**6), st.sampled_from(["frames", "bytes", "windows", "random"]))
@settings(max_examples=80, deadline=None)
def test_under_budgets_alone_any_order_of_arrival_keeps_the_same(seed, kind):
    rng = np.random.default_rng(seed)
    rules: dict[str, Any] = {"max_frames": int(rng.integers(1, 15))}
    if kind == "bytes":
        rules["max_bytes"] = int(rng.integers(1, 100))
    if kind == "windows":
        rules |= {"window": 10, "window_frames": int(rng.integers(1, 4))}
    if kind == "random":
        rules |= {"random_share": 0.4, "max_bytes": 60}
    # Equal scores go by arrival, so they are all different here.
    frames = [
        Frame(id=i, t=int(rng.integers(0, 60)), score=s, key=s, bytes=int(rng.integers(15)))
        for i, s in enumerate(rng.permutation(60) / 7)
    ]
    one = native_events(Case(rules, frames))
    other = native_events(Case(rules, [frames[i] for i in rng.permutation(60)]))
    assert kept(one) == kept(other)


def test_the_longest_prefix_that_fits_the_bytes_is_kept():
    rng = np.random.default_rng(0)
    scores = rng.permutation(400) / 3
    sizes = rng.integers(1, 40, 400)
    frames = [
        Frame(id=i, t=i, score=s, key=s, bytes=int(b))
        for i, (s, b) in enumerate(zip(scores, sizes, strict=True))
    ]
    found = kept(native_events(Case({"max_frames": 400, "max_bytes": 1000}, frames)))
    order = np.argsort(-scores)
    prefix = order[: int(np.searchsorted(np.cumsum(sizes[order]), 1000, "right"))]
    assert sorted(found) == sorted(prefix.tolist())


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("rules", ["budget", "gap", "power", "power and gap"])
def test_a_stream_keeps_what_deal_select_picks(seed, rules):
    rng = np.random.default_rng(seed)
    count = 700
    scores = np.round(np.abs(np.cumsum(rng.normal(size=count)) / 30), 2)  # drifts, with many ties
    scores[rng.random(count) < 0.02] = np.nan
    times = np.cumsum(rng.choice([1, 40, 500], count)) * 1_000_000
    sequence = np.arange(count) * 3 // count
    ids = [f"drive{s}/{i:05}.jpg" for i, s in enumerate(sequence)]
    table = pa.table(
        {
            "id": ids,
            "status": ["ok"] * count,
            "sequence": [f"drive{s}" for s in sequence],
            "camera": ["front"] * count,
            "timestamp_ns": times,
            "entropy_mean": scores,
        }
    )
    options: dict[str, Any] = {"max_frames": 35}
    desk: dict[str, Any] = {"spread": "off", "near_duplicates": "off"}
    if "gap" in rules:
        options["min_gap_ns"] = 2_000_000_000
        options["look_ahead_ns"] = 64 * 2_000_000_000
        desk["min_gap"] = "2s"
    if "power" in rules:
        options |= {"draw": 1, "beta": 2.0, "seed": seed}
        desk |= {"stochastic": "power:2", "seed": seed}
    picked = deal.select(table, acquisition="entropy", budget=35, **desk).table
    stream = _native.FrameStream(options)
    hashes = name_hashes(pa.array(ids, pa.large_string()))
    for i in range(count):
        stream.push(
            i, int(hashes[i]), int(times[i]), 0, float(scores[i]), int(sequence[i]), 0, None
        )
    stream.end()
    assert stream.counters()["forced"] == 0
    assert {ids[d[0]] for d in stream.kept()} == set(picked.column("id").to_pylist())


@given(st.text(max_size=40))
def test_names_are_hashed_as_deal_select_hashes_them(name):
    data = name.encode("utf-8", "surrogatepass")
    assert _native.name_hash(data) == name_hash(data)
    if not any("\ud800" <= letter <= "\udfff" for letter in name):
        assert _native.name_hash(data) == int(name_hashes(pa.array([name], pa.large_string()))[0])


@pytest.mark.parametrize("seed", range(40))
def test_a_restored_stream_goes_on_as_if_it_had_not_stopped(seed):
    case = random_case(seed)
    rules = {
        name: value
        for name, value in case.rules.items()
        if name in ("max_frames", "max_bytes", "window", "window_frames", "near", "near_everywhere")
    }
    case = replace(case, rules=rules)
    whole, first, second = native(case), native(case), native(case)
    half = len(case.frames) // 2
    frames = {frame.id: frame for frame in reversed(case.frames)}
    bars = []
    for frame in case.frames[:half]:
        push(whole, frame)
        bars += [d for d in push(first, frame) if d[5] != 1 and _native.why_name(d[6]) == "bytes"]
    for decision in sorted([*bars, *first.kept()], key=lambda d: d[1]):
        frame = frames[decision[0]]
        second.restore(
            frame.id,
            hash_of(frame),
            frame.t,
            frame.bytes,
            frame.score,
            frame.sequence,
            frame.camera,
            frame.signature,
            decision[1],
            decision[5],
            decision[6],
            decision[8],
        )
    for frame in case.frames[half:]:
        assert plain(push(second, frame)) == plain(push(whole, frame))
    assert sorted(d[0] for d in second.kept()) == sorted(d[0] for d in whole.kept())


def test_what_does_not_fit_is_not_restored():
    case = Case({"max_frames": 1}, [])
    stream = native(case)
    frame = (1, 0, 0, 0, 0.5, 0, 0, None)
    stream.restore(*frame, 0, 1, 1, False)
    with pytest.raises(ValueError, match="more picks than max_frames"):
        stream.restore(2, *frame[1:], 1, 1, 1, False)
    stream.push(3, *frame[1:])
    with pytest.raises(ValueError, match="frames were pushed already"):
        stream.restore(2, *frame[1:], 1, 1, 1, False)


def test_memory_follows_from_the_options():
    assert _native.FrameStream({"max_frames": 500}).memory < 300_000
    gap = {"max_frames": 500, "min_gap_ns": 2 * 10**9, "pending": 256}
    assert _native.FrameStream(gap).memory < 400_000
    assert _native.FrameStream({**gap, "near": 1, "near_threshold": 3.0}).memory < 550_000
