"""Random drives and rules, and what the desk takes of them in plain loops.

``python -m tests.helpers.drives COUNT`` selects from so many drives by `deal select`, by a stream
and by these loops, and says where they differ.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

import deal
from deal.selection.ranking import Ranking
from deal.selection.replay import Replay, StreamLimits, replay
from tests.helpers.streams import power_key
from tests.oracle.stream_frames import name_hash

__all__ = ["Drive", "compared", "expected", "random_drive", "replayed", "selected", "table"]

Row = dict[str, Any]
SECOND = 10**9


@dataclass(frozen=True)
class Drive:
    """Rows in the order in which they came, which is that of their ids, and rules in plain numbers.

    Rules are those of `expected`.
    """

    rows: list[Row]
    rules: dict[str, Any]


def random_drive(seed: int) -> Drive:
    """Two sequences of up to two cameras, with ties, equal times and rows that failed."""
    rng = np.random.default_rng(seed)

    def some(chance: float) -> bool:
        return bool(rng.random() < chance)

    rows: list[Row] = []
    clock = int(rng.integers(-20, 20))
    kinds = [rng.integers(0, 2, 192, np.uint8) + 3 * i for i in range(4)]
    for number in range(int(rng.integers(1, 60))):
        clock += int(rng.choice([0, 1, 1, 2, 7]))
        score = float(rng.choice([rng.random(), int(rng.integers(0, 4)) / 4]))
        rows.append(
            {
                "id": f"d{number * 2 // 60}/{number:04}.jpg",
                "status": "ok" if some(0.95) else "error",
                "uri": f"/d/{number}.jpg",
                "source_version": f"{int(rng.integers(1, 30))}-5",
                "entropy_mean": score,
                "sequence": "ab"[number * 2 // 60],
                "camera": ("front", "rear")[int(some(0.4))],
                "timestamp_ns": clock * SECOND,
                "thumbnail": kinds[int(rng.integers(0, 4))].astype(np.uint8).tobytes(),
            }
        )
    rules: dict[str, Any] = {"budget": int(rng.integers(1, 30))}
    kind = int(rng.integers(0, 4))
    if kind == 1:
        rules["max_bytes"] = int(rng.integers(1, 250))
    if kind == 2:
        rules |= {"window": int(rng.integers(1, 25)), "window_budget": int(rng.integers(1, 4))}
    if kind == 3:
        rules |= {"window": int(rng.integers(1, 25)), "window_bytes": int(rng.integers(30, 90))}
        rules["budget"] = 100  # a stream cannot take back what it evicts for a larger frame
    if some(0.6):
        rules["gap"] = int(rng.integers(1, 6))
    if some(0.3):
        rules["seed"] = int(rng.integers(0, 9))
    return Drive(rows, rules)


def table(rows: list[Row]) -> pa.Table:
    """The rows as a table of results."""
    return pa.table({name: [row[name] for row in rows] for name in rows[0]})


def options(rules: dict[str, Any]) -> dict[str, Any]:
    """The rules as options of `deal.select`, without what ``auto`` adds."""
    found: dict[str, Any] = {"acquisition": "entropy", "budget": rules.get("budget")}
    found |= {"spread": "off", "near_duplicates": rules.get("near", "off")}
    if "gap" in rules:
        found["min_gap"] = f"{rules['gap']}s"
    if "window" in rules:
        found["window"] = f"{rules['window']}s"
    if "seed" in rules:
        found |= {"stochastic": "power", "seed": rules["seed"]}
    names = ("max_bytes", "window_budget", "window_bytes")
    return {**found, **{name: rules[name] for name in names if name in rules}}


def selected(drive: Drive) -> list[str]:
    """What `deal.select` takes."""
    return list(deal.select(table(drive.rows), **options(drive.rules)).ids)


def replayed(drive: Drive, look_ahead: str | None = None) -> Replay:
    """What a stream keeps."""
    limits = StreamLimits(look_ahead=look_ahead)
    return replay(table(drive.rows), Ranking.of(**options(drive.rules)), limits)


def expected(drive: Drive) -> list[str]:
    """The ids that are taken, by the words of the documentation."""
    rules, rows = drive.rules, [row for row in drive.rows if row["status"] == "ok"]

    def place(row: Row) -> tuple[float, float, bytes]:
        score, name = row["entropy_mean"], row["id"].encode()
        drawn = power_key(score, name_hash(name), rules["seed"]) if "seed" in rules else score
        return -drawn, -score, name

    # First the gap.
    apart: list[Row] = []
    for row in sorted(rows, key=place):
        if not any(
            (other["sequence"], other["camera"]) == (row["sequence"], row["camera"])
            and abs(other["timestamp_ns"] - row["timestamp_ns"]) < rules.get("gap", 0) * SECOND
            for other in apart
        ):
            apart.append(row)
    # Then near-duplicates, windows and bytes.
    taken: list[Row] = []
    ended: set[int] = set()  # windows whose bytes are full
    for row in apart:
        size, window = _size(row), _window(row, rules)
        same = [other for other in taken if _window(other, rules) == window]
        if len(taken) == rules["budget"]:
            break
        if any(_alike(other, row, rules.get("near")) for other in taken):
            continue
        if window in ended or len(same) >= rules.get("window_budget", math.inf):
            continue
        if sum(map(_size, same)) + size > rules.get("window_bytes", math.inf):
            ended.add(window)
            continue
        if sum(map(_size, taken)) + size > rules.get("max_bytes", math.inf):
            break
        taken.append(row)
    return [row["id"] for row in taken]


def _size(row: Row) -> int:
    return int(row["source_version"].partition("-")[0])


def _window(row: Row, rules: dict[str, Any]) -> int:
    return math.floor(row["timestamp_ns"] / (rules["window"] * SECOND)) if "window" in rules else 0


def _alike(a: Row, b: Row, levels: float | None) -> bool:
    if levels is None:
        return False
    deltas = [x - y for x, y in zip(a["thumbnail"], b["thumbnail"], strict=True)]
    return sum(abs(192 * delta - sum(deltas)) for delta in deltas) <= levels * 192**2


def compared(seed: int, look_ahead: str | None = None) -> str:
    """``same``, ``forced`` where the look-ahead was too short, or how the three differ."""
    drive = random_drive(seed)
    if all(row["status"] != "ok" for row in drive.rows):
        return "same"
    wanted, desk = expected(drive), selected(drive)
    if desk != wanted:
        return f"seed {seed}, {drive.rules}: select takes {desk}, not {wanted}"
    found = replayed(drive, look_ahead)
    if list(found.selection.ids) == wanted:
        return "same"
    if found.counters.forced:
        return "forced"
    return f"seed {seed}, {drive.rules}: a stream keeps {found.selection.ids}, not {wanted}"


def main() -> None:
    """Compare in as many drives as the argument says, with the look-ahead of four gaps."""
    found = Counter(map(compared, range(int(sys.argv[1]))))
    for text, count in found.most_common():
        print(f"{count} {text}")
    raise SystemExit(bool(found.keys() - {"same", "forced"}))


if __name__ == "__main__":
    main()
