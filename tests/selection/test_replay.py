"""Stored results as a stream: the same picks as `deal select`, and what the other rules keep."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import deal
from deal import cli
from deal.errors import ResultsError, UsageError
from deal.results.output import Output
from deal.selection.ranking import Ranking
from deal.selection.replay import Replay, StreamLimits, replay

COUNT = 300
SECOND = 10**9


def drives(seed: int = 0) -> dict[str, Any]:
    """Two drives of two cameras at 3 images per second; the later one sorts first by its ids."""
    rng = np.random.default_rng(seed)
    drive = np.arange(COUNT) * 2 // COUNT
    frame = np.arange(COUNT) // 2
    return {
        "id": [
            f"{'za'[d]}/{f:04}-{i % 2}.png"
            for i, (d, f) in enumerate(zip(drive, frame, strict=True))
        ],
        "status": ["ok"] * COUNT,
        "uri": ["/p"] * COUNT,
        "source_version": [f"{1000 + i}-7" for i in range(COUNT)],
        "sequence": ["za"[d] for d in drive],
        "camera": [("left", "right")[i % 2] for i in range(COUNT)],
        "timestamp_ns": frame * SECOND // 3,
        "entropy_mean": np.abs(np.cumsum(rng.normal(size=COUNT))) + rng.random(COUNT) / 100,
    }


def ranked(**options: Any) -> Ranking:
    return Ranking.of(acquisition="entropy", **options)


def of_drives(limits: StreamLimits | None = None, **options: Any) -> Replay:
    return replay(pa.table(drives()), ranked(**options), limits)


@pytest.mark.parametrize(
    "options",
    [
        {"budget": 20},
        {"budget": "10%"},
        {"budget": 20, "min_gap": "2s"},
        {"budget": 20, "min_gap": "2s", "gap_per": "sequence"},
        {"budget": 20, "stochastic": "power:2", "seed": 4},
        {"budget": 20, "stochastic": "power", "min_gap": "500ms"},
    ],
    ids=str,
)
def test_a_stream_takes_what_select_takes(options):
    found = of_drives(StreamLimits(look_ahead="10min"), **options)
    off: dict[str, Any] = {"spread": "off", "near_duplicates": "off"}
    table = pa.table(drives())
    expected = deal.select(table, acquisition="entropy", **{**options, **off})
    assert found.selection.ids == expected.ids == found.offline.ids
    np.testing.assert_array_equal(found.selection.scores, expected.scores)
    assert found.ratio == 1.0
    assert found.counters.forced == 0


def test_every_frame_has_a_last_decision_and_the_writes_are_counted():
    found = of_drives(budget=20, min_gap="2s")
    assert len({d.id for d in found.decisions}) == COUNT
    kept = [d for d in found.decisions if d.action == "keep"]
    assert {d.id for d in kept} == set(found.selection.ids)
    assert [d.arrival for d in found.decisions] == list(range(COUNT))
    assert found.decisions[0].id.startswith("z/")  # time wins over names
    assert found.writes >= len(kept)
    assert 0 < found.waiting < 200
    assert found.memory > 0


def test_limits_of_a_stream_hold():
    limits: dict[str, Any] = {"max_bytes": 12_000, "window": "10s", "window_budget": 3}
    found = of_drives(budget=40, min_gap="1s", **limits)
    data = drives()
    time = dict(zip(data["id"], data["timestamp_ns"].tolist(), strict=True))
    size = dict(zip(data["id"], range(1000, 1000 + COUNT), strict=True))
    assert sum(size[name] for name in found.selection.ids) <= 12_000
    windows = [time[name] // (10 * SECOND) for name in found.selection.ids]
    assert max(map(windows.count, windows)) == 3
    assert {"window-frames", "bytes", "gap"} <= {d.why for d in found.decisions}


def test_context_is_kept_but_not_selected():
    found = of_drives(StreamLimits(context_before="1s", context_after="1s"), budget=2, min_gap="9s")
    parts = [d.why for d in found.decisions if d.action == "keep"]
    assert parts.count("ranked") == 2 == len(found.selection)
    assert parts.count("context") >= 6
    sample = of_drives(StreamLimits(random_share=0.5), budget=20)
    parts = [d.why for d in sample.decisions if d.action == "keep"]
    assert parts.count("ranked") == 10
    assert len(sample.selection) == len(parts)


@pytest.mark.parametrize(
    ("options", "limits", "message"),
    [
        ({}, {}, "a stream needs a budget"),
        ({"budget": 5, "quota": "camera=20%"}, {}, "cannot follow --quota"),
        ({"budget": 5, "diverse": 2}, {}, "cannot follow --diverse"),
        ({"budget": 5, "min_gap": "3f"}, {}, "cannot follow a gap in frames"),
        ({"budget": 5, "spread": "2s"}, {}, "give --min-gap"),
        ({"budget": 5, "stochastic": "softrank"}, {}, "softrank needs the ranks"),
        ({"budget": "pixels:5"}, {}, "cannot follow a cost"),
        ({"budget": 5, "window": "1h"}, {}, "a window needs window_budget"),
    ],
)
def test_what_a_stream_cannot_do_is_refused(options, limits, message):
    with pytest.raises(UsageError, match=message):
        of_drives(StreamLimits(**limits), **options)


def test_what_is_not_stored_is_named():
    lacking = {name: column for name, column in drives().items() if name != "timestamp_ns"}
    with pytest.raises(ResultsError, match="timestamp_ns"):
        replay(pa.table(lacking), ranked(budget=5, min_gap="2s"))
    with pytest.raises(ResultsError, match="timestamp_ns"):
        replay(pa.table(lacking), ranked(budget=5, window="1h", window_budget=2))
    with pytest.raises(ResultsError, match="timestamp_ns"):
        replay(pa.table(lacking), ranked(budget=5), StreamLimits(context_after="1s"))
    unsized = {**drives(), "source_version": ["etag"] * COUNT}
    with pytest.raises(ResultsError, match="needs the sizes of the files"):
        replay(pa.table(unsized), ranked(budget=5, max_bytes="1GB"))
    with pytest.raises(ResultsError, match="none of the rows has a score"):
        replay(pa.table({**drives(), "status": ["error"] * COUNT}), ranked(budget=5))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    with Output.open(tmp_path / "out", settings={"m": 1}, classes=["road"]) as output:
        output.write(drives(), None)
    return tmp_path / "out"


def test_the_command_writes_the_selection_and_a_reason_per_frame(out, tmp_path, capsys):
    rules = ["--acquisition", "entropy", "--budget", "12", "--min-gap", "2s"]
    rules += ["--near-duplicates", "off"]
    streamed, plain = str(tmp_path / "rig"), str(tmp_path / "desk")
    arguments = ["select", str(out), *rules, "--as-stream", "--look-ahead", "5min", "-o", streamed]
    assert cli.run(cli.deal, arguments, "deal") == 0
    assert "12 of the 12 that select takes" in capsys.readouterr().err
    arguments = ["select", str(out), *rules, "--spread", "off", "-o", plain]
    assert cli.run(cli.deal, arguments, "deal") == 0
    assert Path(streamed, "selection.csv").read_bytes() == Path(plain, "selection.csv").read_bytes()
    document = json.loads(Path(streamed, "selection.json").read_text())
    assert document["stream"]["look_ahead"] == "5min"
    with Path(streamed, "decisions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == COUNT
    assert sum(row["action"] == "keep" for row in rows) == 12
    capsys.readouterr()
    assert cli.run(cli.deal, ["select", str(out), *rules, "--pending", "9"], "deal") == 2
    assert "--pending is a rule of streams: give --as-stream too" in capsys.readouterr().err
