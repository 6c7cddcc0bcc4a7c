"""A made-up trip for a recorder, by several sets of rules, and what lies in its folder."""

from __future__ import annotations

import random
from pathlib import Path

from deal.rig.recorder import Recorder
from deal.selection.stream_rules import StreamOptions

__all__ = ["COUNT", "RULES", "check_limits", "files", "push", "record"]

SECOND = 10**9
COUNT = 120
RULES: dict[str, StreamOptions] = {
    "budget": {"budget": 7},
    "gap": {"budget": 9, "min_gap": "2s"},
    "bytes and windows": {
        "budget": 20,
        "max_bytes": 400,
        "window": "10s",
        "window_budget": 4,
        "min_gap": "1s",
    },
    "context": {"budget": 3, "min_gap": "1s", "context_before": "1s", "context_after": "1s"},
    "near": {"budget": 9, "near_duplicates": 1.5, "random_share": 0.3},
}


def push(recorder: Recorder, index: int) -> None:
    """Push a frame of the trip."""
    rng = random.Random(index)
    data = bytes(rng.randrange(256) for _ in range(rng.randrange(5, 40)))
    scene = random.Random(index // 5)
    recorder.push(
        f"drive/{index:03}.jpg",
        data,
        score=rng.random(),
        timestamp_ns=index * SECOND // 3,
        camera=("front", "rear")[index % 7 == 0],
        signature=bytes(scene.randrange(200) + rng.randrange(3) for _ in range(192)),
    )


def record(folder: Path, rules: StreamOptions, count: int = COUNT) -> dict[str, bytes]:
    """Push frames from the first on, end the trip, and return the files that are kept."""
    with Recorder(folder, again=True, **rules) as recorder:
        for index in range(count):
            push(recorder, index)
        if count == COUNT:
            recorder.end()
        assert {d.id for d in recorder.kept()} == set(files(folder))
    return files(folder)


def files(folder: Path) -> dict[str, bytes]:
    """What lies below ``frames``."""
    frames = folder / "frames"
    return {
        str(path.relative_to(frames)): path.read_bytes()
        for path in frames.rglob("*")
        if path.is_file()
    }


def check_limits(folder: Path, rules: StreamOptions) -> None:
    """Files that have their names are within the limits of frames and bytes; context is free."""
    named = {name: data for name, data in files(folder).items() if not name.endswith(".new")}
    if "context_before" not in rules:
        assert len(named) <= rules["budget"]
    limit = rules.get("max_bytes")
    assert limit is None or sum(map(len, named.values())) <= int(limit)
