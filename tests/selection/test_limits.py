"""Limits of bytes and windows, against plain loops; a stream keeps what `deal.select` takes."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deal import cli, select
from deal.errors import ResultsError, UsageError
from deal.results.output import Output
from deal.selection import greedy
from deal.selection.ranking import Ranking
from deal.selection.replay import replay
from tests.helpers.drives import Drive, compared, expected, random_drive, replayed, selected, table

SECOND = 10**9
BLOCKS = st.sampled_from([1, 3, 8, greedy._BLOCK])  # rows that are looked at together


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), BLOCKS)
def test_desk_stream_and_plain_loops_take_the_same(seed, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(greedy, "_BLOCK", block)
        assert compared(seed) in ("same", "forced")
        assert compared(seed, look_ahead="1h") == "same"


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), BLOCKS, st.data())
def test_all_limits_at_once_follow_the_words(seed, block, data):
    drive = random_drive(seed)
    rules = {
        **drive.rules,
        "max_bytes": data.draw(st.integers(20, 300)),
        "window": data.draw(st.integers(1, 30)),
        "window_budget": data.draw(st.integers(1, 5)),
        "window_bytes": data.draw(st.integers(1, 80)),
        "near": data.draw(st.sampled_from([0.25, 1.0])),
    }
    drive = Drive(drive.rows, rules)
    if any(row["status"] == "ok" for row in drive.rows):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(greedy, "_BLOCK", block)
            assert selected(drive) == expected(drive)


@pytest.mark.parametrize("limit", ["window_budget", "window_bytes"])
def test_windows_hold_where_rows_are_read_in_several_parts(
    monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(greedy, "_BLOCK", 16)
    rng = np.random.default_rng(1)
    for _ in range(25):
        count, length, most = 400, int(rng.integers(3, 40)), int(rng.integers(1, 12))
        # The best rows lie together, so windows become full one after the other.
        scores = rng.random(count) + np.sin(np.arange(count) / 60) + 1
        pool = pa.table(
            {
                "id": [f"{number:04}.jpg" for number in range(count)],
                "entropy_mean": scores,
                "source_version": ["2-0"] * count,
                "sequence": ["s"] * count,
                "timestamp_ns": np.arange(count) * SECOND,
            }
        )
        budget = int(rng.integers(5, 150))
        allowed = {limit: most if limit == "window_budget" else 2 * most}
        used: Counter[int] = Counter()
        wanted = []
        for number in np.argsort(-scores).tolist():
            if len(wanted) < budget and used[number // length] < most:
                used[number // length] += 1
                wanted.append(f"{number:04}.jpg")
        ranking = Ranking.of(
            acquisition="entropy", budget=budget, window=f"{length}s", **allowed, spread="off"
        )
        found = replay(pool, ranking)
        assert list(found.offline.ids) == list(found.selection.ids) == wanted


def rows(**columns: Any) -> pa.Table:
    count = len(columns["entropy_mean"])
    return pa.table({"id": list("abcdefgh"[:count]), **columns})


def test_the_first_image_that_does_not_fit_ends_the_list() -> None:
    sizes = pa.array(["30-1", "50-1", "10-1"])
    pool = rows(entropy_mean=[0.9, 0.8, 0.7], source_version=sizes)
    found = select(pool, acquisition="entropy", budget="60B")
    assert found.ids == ("a",)
    assert found.metadata["budget"] == "bytes:60"
    assert found.metadata["bytes"] == 30
    assert found.notes == ()
    assert select(pool, acquisition="entropy", budget=2, max_bytes="1kB").ids == ("a", "b")
    assert select(pool, acquisition="entropy", budget="bytes:80").ids == ("a", "b")
    assert select(pool, acquisition="entropy", budget="29B").notes == (
        "the limit of bytes is below the size of the best image: give a larger one",
    )


def test_an_image_that_its_window_refuses_still_keeps_others_away() -> None:
    pool = rows(
        entropy_mean=[0.9, 0.8, 0.7],
        timestamp_ns=[0, 9 * SECOND, 10 * SECOND],
        sequence=["s"] * 3,
    )
    options: dict[str, Any] = {"acquisition": "entropy", "window": "10s", "window_budget": 1}
    assert select(pool, **options).ids == ("a", "c")
    assert select(pool, min_gap="2s", **options).ids == ("a",)


def test_included_images_count_for_windows_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("c\n")
    pool = rows(
        entropy_mean=[0.9, 0.8, 0.7],
        timestamp_ns=[0, SECOND, 2 * SECOND],
        source_version=["10-0", "10-0", "30-0"],
    )
    options: dict[str, Any] = {"acquisition": "entropy", "include": tmp_path / "in.txt"}
    assert select(pool, window="10s", window_budget=2, **options).ids == ("c", "a")
    assert select(pool, max_bytes=45, **options).ids == ("c", "a")
    with pytest.raises(ResultsError, match="the 1 included images take 30 bytes, more than the"):
        select(pool, max_bytes=29, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": "1h"}, "a window needs window_budget or window_bytes"),
        ({"window_budget": 3}, "need a window, such as window='1h'"),
        ({"window": "0s", "window_budget": 3}, "a window must last longer than 0"),
        ({"window": "1h", "window_budget": 0}, "window_budget must be a whole number"),
        ({"max_bytes": "many"}, "max_bytes 'many': write an amount"),
        ({"budget": "2GB", "max_bytes": "1GB"}, "is in bytes already: leave max_bytes out"),
        ({"budget": "bytes:5%"}, "budget '5%': write an amount such as 2GB"),
        ({"budget": "regions:5", "max_bytes": 9}, "do not go with regions"),
        ({"budget": 5, "max_bytes": 9, "diverse": 2}, "do not go with diverse"),
        ({"budget": 5, "max_bytes": 9, "spread": "2s"}, "do not go with spread 2s"),
        ({"acquisition": "core-set", "budget": "5MB"}, "which picks by distance"),
        ({"window": "9999999h", "window_budget": 2}, "window '9999999h': .* at most 36 years"),
        ({"window": "9" * 5000 + "h", "window_budget": 2}, "write a time such as 2s"),
        ({"max_bytes": "9" * 5000 + "GB"}, "write an amount such as 2GB"),
        ({"min_gap": "9999999999999s"}, "min_gap '9999999999999s': .* at most 36 years"),
    ],
)
def test_limits_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Ranking.of(**options)


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({}, {"max_bytes": 9}, "needs the sizes of the files, which are not stored"),
        ({"source_version": ["9-1", "etag"]}, {"max_bytes": 9}, "needs the sizes of the files"),
        (
            {"source_version": ["9-1-512"] * 2, "uri": ["/a.tar/x.jpg"] * 2},
            {"budget": "9B"},
            "images inside another file have none",
        ),
        (
            {"source_version": ["9-1-512"] * 2, "uri": ["/a.mp4#t=1.000"] * 2},
            {"budget": "9B"},
            "images inside another file have none",
        ),
        ({}, {"window": "1h", "window_budget": 2}, "a window needs a timestamp_ns of every row"),
        (
            {"timestamp_ns": [5, None]},
            {"window": "1h", "window_budget": 2},
            "a window needs a timestamp_ns of every row",
        ),
    ],
)
def test_what_limits_need_is_asked_for(columns, options, message) -> None:
    with pytest.raises(ResultsError, match=message):
        select(rows(entropy_mean=[0.9, 0.8], **columns), acquisition="entropy", **options)


def test_limits_alone_do_not_spread() -> None:
    pool = pa.table(
        {
            "id": [f"d/{i:03}.jpg" for i in range(90)],
            "entropy_mean": np.arange(90) / 90,
            "timestamp_ns": np.arange(90) * SECOND,
            "source_version": ["10-1"] * 90,
        }
    )
    spread = select(pool, acquisition="entropy", budget=9)
    limited = select(pool, acquisition="entropy", budget=9, max_bytes="1kB")
    assert limited.ids == select(pool, acquisition="entropy", budget=9, spread="off").ids
    assert limited.ids != spread.ids
    assert limited.metadata["spreading"] is None


def test_the_command_and_its_stream_take_the_same_limits(tmp_path: Path) -> None:
    drive = random_drive(7)
    with Output.open(tmp_path / "out", settings={"m": 1}, classes=["road"]) as output:
        output.write({name: [row[name] for row in drive.rows] for name in drive.rows[0]}, None)
    limits = ["--budget", "300B", "--window", "10s", "--window-budget", "2", "--min-gap", "2s"]
    picks = []
    for more in ([], ["--as-stream"]):
        folder = tmp_path / f"to{len(more)}"
        command = ["select", str(tmp_path / "out"), "--acquisition", "entropy", *limits, *more]
        assert cli.run(cli.deal, [*command, "-o", str(folder)], "deal") == 0
        with (folder / "selection.csv").open(newline="") as file:
            picks.append([row["id"] for row in csv.DictReader(file)])
    rules = {"budget": 99, "max_bytes": 300, "window": 10, "window_budget": 2, "gap": 2}
    assert picks[0] == picks[1] == expected(Drive(drive.rows, rules)) != []


def test_a_window_needs_no_sequence_in_a_stream_either() -> None:
    drive = random_drive(3)
    plain = [{k: v for k, v in row.items() if k != "sequence"} for row in drive.rows]
    rules = {"budget": 20, "window": 9, "window_budget": 2}
    found = replayed(Drive(plain, rules))
    assert list(found.selection.ids) == selected(Drive(plain, rules)) != []
    assert len(table(plain)) == len(found.decisions) + sum(r["status"] != "ok" for r in plain)
