"""`deal.Stream`: options as users write them, decisions with ids, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import deal
from deal.errors import UsageError
from deal.pool.signature import thumbnail
from deal.selection.amounts import parse_bytes, parse_duration
from deal.selection.stream_rules import StreamRules

SECOND = 10**9


def told(decisions: list[deal.Decision]) -> list[tuple[str, str, str]]:
    return [(d.action, d.id, d.why) for d in decisions]


def test_the_best_frames_stay_and_the_others_are_told_why():
    stream = deal.Stream(budget=2)
    assert told(stream.push("a", score=0.5)) == [("keep", "a", "ranked")]
    assert told(stream.push("b", score=0.1)) == [("keep", "b", "ranked")]
    assert told(stream.push("c", score=0.1)) == [("drop", "c", "frames")]  # it came later
    assert told(stream.push("d", score=0.7)) == [("evict", "b", "frames"), ("keep", "d", "ranked")]
    assert told(stream.push("e", score=float("nan"))) == [("drop", "e", "not-finite")]
    assert [d.id for d in stream.kept()] == ["d", "a"]
    assert stream.push("a", score=0.9) == []  # known already
    counters = stream.counters
    assert (counters.pushed, counters.not_finite, counters.repeated) == (5, 1, 1)


def test_a_gap_waits_per_sequence_and_camera():
    stream = deal.Stream(budget=10, min_gap="2s")
    for camera in ("front", "rear", None):
        for sequence in ("one", "two"):
            stream.push(f"{sequence}/{camera}", score=1.0, sequence=sequence, camera=camera)
    assert stream.counters.waiting == 6
    assert {d.action for d in stream.end()} == {"keep"}
    assert stream.counters.ranked == 6


def test_windows_and_bytes_hold_their_limits():
    stream = deal.Stream(budget=9, max_bytes="1kB", window="1h", window_budget=2)
    for i in range(12):
        stream.push(f"{i:02}", score=i, timestamp_ns=i * 1200 * SECOND, size=300)
    assert [d.id for d in stream.kept()] == ["11", "10", "08"]  # 2 per hour, and 3 fit 1 kB
    assert stream.counters.bytes == 900


def test_near_duplicates_are_found_by_image_and_by_signature():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 200, (2, 24, 32, 3), np.uint8)
    stream = deal.Stream(budget=9, near_duplicates=3)
    assert told(stream.push("a", score=0.1, image=one)) == [("keep", "a", "ranked")]
    assert told(stream.push("b", score=0.1, image=other)) == [("keep", "b", "ranked")]
    brighter = one + np.uint8(20)
    assert told(stream.push("c", score=0.9, image=brighter, camera="rear")) == [
        ("evict", "a", "near"),
        ("keep", "c", "ranked"),
    ]
    signature = thumbnail(one)
    assert told(stream.push("d", score=0.5, signature=signature)) == [("drop", "d", "near")]
    apart = deal.Stream(budget=9, near_duplicates=3, near_per="camera")
    apart.push("a", score=0.1, image=one)
    assert told(apart.push("c", score=0.9, image=one, camera="rear")) == [("keep", "c", "ranked")]


def test_context_shares_the_fate_of_its_pick():
    stream = deal.Stream(budget=1, context_before="1s", context_after="1s")
    for i, score in enumerate([0.1, 0.2, 0.9, 0.3, 0.1, 0.1]):
        stream.push(str(i), score=score, timestamp_ns=i * SECOND)
    stream.end()
    assert {d.id: d.why for d in stream.kept()} == {"2": "ranked", "1": "context", "3": "context"}


def test_a_link_takes_the_best_first_and_nothing_back():
    stream = deal.Stream(budget=2)
    assert stream.best() is None
    stream.push("a", score=0.5)
    stream.push("b", score=0.6)
    best = stream.best()
    assert best is not None
    assert (best.id, best.why) == ("b", "ranked")
    stream.sent("b")
    with pytest.raises(UsageError, match="no pick that is not sent has the id 'b'"):
        stream.sent("b")
    stream.push("c", score=0.9)
    stream.push("d", score=1.0)
    assert {d.id: d.sent for d in stream.kept()} == {"b": True, "d": False}


def test_a_stream_picks_what_deal_select_picks_with_the_same_words():
    rng = np.random.default_rng(5)
    count = 400
    ids = [f"drive/{i:04}.jpg" for i in range(count)]
    scores = rng.random(count).round(2)
    times = np.arange(count) * SECOND // 3
    table = pa.table(
        {
            "id": ids,
            "status": ["ok"] * count,
            "sequence": ["drive"] * count,
            "camera": ["front"] * count,
            "timestamp_ns": times,
            "margin_mean": scores,
        }
    )
    rules: dict[str, Any] = {"budget": 40, "min_gap": "2s", "stochastic": "power:3", "seed": 9}
    off: dict[str, Any] = {"spread": "off", "near_duplicates": "off"}
    picked = deal.select(table, acquisition="margin", **rules, **off)
    stream = deal.Stream(**rules, look_ahead="1min")
    for i in range(count):
        stream.push(
            ids[i],
            score=scores[i],
            timestamp_ns=int(times[i]),
            sequence="drive",
            camera="front",
        )
    stream.end()
    assert stream.counters.forced == 0
    assert [d.id for d in stream.kept()] == picked.table.column("id").to_pylist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 0}, "budget must be a whole number from 1"),
        ({"budget": 1.5}, "budget must be a whole number"),
        ({"budget": 1, "max_bytes": "2 apples"}, "max_bytes '2 apples': write an amount such as"),
        ({"budget": 1, "max_bytes": 0}, "max_bytes 0: write an amount"),
        ({"budget": 1, "min_gap": "30f"}, "min_gap '30f': write a time such as 2s"),
        ({"budget": 1, "window": "1h"}, "a window needs window_budget or window_bytes"),
        ({"budget": 1, "window_budget": 3}, "need a window, such as"),
        ({"budget": 1, "near_duplicates": 300}, "near_duplicates must be 0 to 255"),
        ({"budget": 1, "stochastic": "softrank"}, "softrank needs the ranks of the whole pool"),
        ({"budget": 1, "random_share": 2}, "random_share must be 0 to 1"),
        ({"budget": 1, "near_per": "moon"}, "near_per must be pool or camera"),
        ({"budget": 1, "min_gap": "9999999h"}, "min_gap '9999999h': .* at most 36 years"),
        ({"budget": 1, "context_after": 2**63}, "context_after .* at most 36 years"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        deal.Stream(**options)


def test_frames_that_do_not_fit_are_refused_and_change_nothing():
    stream = deal.Stream(budget=1, near_duplicates=1)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"timestamp_ns": 2**62}, "timestamp_ns must be within"),
        ({"size": -1}, "size must be"),
        ({"image": np.zeros((4, 4))}, "image must be uint8"),
        ({"signature": b"short"}, "signature must have 192 bytes, not 5"),
        ({"signature": [0] * 192}, "signature must be uint8"),
        ({"signature": np.zeros((12, 16))}, "signature must be uint8"),
        ({"timestamp_ns": 1.7e18}, r"timestamp_ns and size must be whole .* time\.time_ns\(\)"),
        ({"size": 12.5}, "timestamp_ns and size must be whole"),
        ({"score": None}, "and score a number, not 0, 0 and None"),
        ({"score": "high"}, "and score a number"),
        ({"score": 10**400}, "and score a number"),
        ({"sequence": 7}, r"sequence must be a text, not 7: give str\(sequence\)"),
    ]
    for given, message in wrong:
        with pytest.raises(UsageError, match=message):
            stream.push("a", **{"score": 0.5, **given})
    with pytest.raises(UsageError, match="frame_id must be a text, not 7"):
        stream.push(7, score=0.5)  # type: ignore[arg-type]
    assert stream.counters.pushed == 0
    assert told(stream.push("a", score=0.5)) == [("keep", "a", "ranked")]


def test_ids_of_frames_that_are_gone_are_forgotten():
    stream = deal.Stream(budget=3, min_gap="1s", pending=8)
    for i in range(500):
        stream.push(f"{i}", score=i % 7, timestamp_ns=i * SECOND // 4)
    assert len(stream._names) <= 3 + 8
    assert stream.memory < 20_000


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [("2s", 2 * SECOND), ("1.5ms", 1_500_000), ("1h", 3600 * SECOND), ("10 min", 600 * SECOND)],
)
def test_durations_are_read(text, nanoseconds):
    assert parse_duration(text, "gap") == nanoseconds


def test_amounts_of_memory_are_read():
    assert parse_bytes("2GB", "x") == 2 * 10**9
    assert parse_bytes("1.5GiB", "x") == 3 * 2**29
    assert parse_bytes(" 700 ", "x") == 700
    for wrong in ("0.3B", "2Gb", "-1MB", "0GB", "9999TiB", True):
        with pytest.raises(UsageError, match="write an amount"):
            parse_bytes(wrong, "x")


def test_rules_name_every_option_of_the_library():
    rules = StreamRules(
        budget=1, window_ns=1, window_budget=1, near_duplicates=2.5, near_per="camera"
    )
    assert rules.native()["near"] == 1
    assert deal.Stream.of(rules).memory > 0
