"""A choice from the best rows alone is the choice from all of them, byte for byte.

The choice from all rows is held against plain loops in the other tests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deal.errors import DealError, ResultsError
from deal.selection import Selection, best, greedy, reach, select, selector, sources
from deal.selection.best import NAMED, BestRows, First

SECOND = 10**9
RULES: dict[str, list[Any]] = {
    "acquisition": ["entropy", "entropy", "random"],
    "budget": [1, 2, 5, 9, "10%", "40%"],
    "stochastic": [None, None, "power", "softrank:2"],
    "quota": [(), (), "camera=50%", "weather:rain=2", "folder=3"],
    "min_gap": [None, None, "1s", "2f"],
    "spread": ["auto", "auto", "off", "3f", "2s"],
    "near_duplicates": ["auto", "off", 3],
    "diverse": [None, None, None, 2],
    "cost": ["count", "count", "pixels"],
    "seed": [0, 1],
}


def pool(seed: int, rows: int, *, timed: bool, regions: bool) -> pa.Table:
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (6, 192)).astype(np.uint8)
    pictures = np.concatenate([pictures, rng.integers(0, 256, (6, 192)).astype(np.uint8)])
    numbers = np.arange(rows) // (3 if regions else 1)
    folders = rng.integers(0, 3, rows)[numbers]
    columns: dict[str, Any] = {
        "id": [f"{'abc'[f]}/clip_{n:03d}.jpg" for f, n in zip(folders, numbers, strict=True)],
        "status": np.where(rng.random(rows) < 0.9, "ok", "error"),
        "entropy_mean": np.round(rng.random(rows) * rng.choice([4, 1000])) / 1000,
        "camera": rng.choice(["front", "rear"], rows),
        "sequence": [f"drive {n // 20}" for n in numbers],
        "timestamp_ns": pa.array(numbers * SECOND // 2 if timed else [None] * rows, pa.int64()),
        "attributes": pa.array(
            [[("weather", w)] for w in rng.choice(["rain", "sun"], rows)],
            pa.map_(pa.string(), pa.string()),
        ),
        "n_pixels": rng.integers(1, 9, rows),
        "thumbnail": pa.array(
            [pictures[k].tobytes() for k in rng.integers(0, 12, rows)], pa.binary(192)
        ),
        "embedding": pa.array(rng.random((rows, 3)).tolist(), pa.list_(pa.float32())),
    }
    if regions:
        columns["region"] = pa.array(np.arange(rows) % 3, pa.int32())
    return pa.table(columns)


def outcome(table: pa.Table, options: dict[str, Any]) -> Any:
    parts = [table.slice(start, 7) for start in range(0, len(table), 7)]
    try:
        found = select(parts, **options)
    except DealError as error:
        return type(error), str(error)
    return found.metadata, found.notes, found.to_csv()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.integers(0, 10**6),
    st.integers(1, 70),
    st.booleans(),
    st.fixed_dictionaries({name: st.sampled_from(values) for name, values in RULES.items()}),
    st.lists(st.sampled_from(["exclude", "include"]), unique=True),
    st.sampled_from(["images", "images", "regions"]),
)
def test_the_best_rows_are_enough(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    rows: int,
    timed: bool,
    options: dict[str, Any],
    lists: list[str],
    kind: str,
) -> None:
    table = pool(seed, rows, timed=timed, regions=kind == "regions")
    if kind == "regions":
        options = {**options, "table": kind, "diverse": None, "max_per_image": 1}
    folder = tmp_path_factory.mktemp("lists")
    for place, name in enumerate(lists):
        path = folder / name
        path.write_text("\n".join(table.column("id").to_pylist()[place : rows // 4 : 2]) + "\n")
        options[name] = path
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(greedy, "_BLOCK", 4)
        patch.setattr(sources, "_PIECE_ROWS", 3)
        whole = outcome(table, options)
        patch.setattr(best, "_AT_ONCE", 5)
        patch.setattr(best, "_SLACK", 2)
        patch.setattr(reach, "_LEAST", 1)
        patch.setattr(reach, "_LEAST_WITH_RULES", 2)
        assert outcome(table, options) == whole


def bounded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Make reaches small; the list fills with rows looked at, and rows of the pool, per try."""
    monkeypatch.setattr(best, "_AT_ONCE", 50)
    monkeypatch.setattr(best, "_SLACK", 10)
    monkeypatch.setattr(reach, "_LEAST", 1)
    monkeypatch.setattr(reach, "_LEAST_WITH_RULES", 1)
    monkeypatch.setattr(greedy, "_BLOCK", 4)
    monkeypatch.setattr(sources, "_PIECE_ROWS", 3)
    tries: list[tuple[int, int]] = []
    selected = selector._selected

    def noted(rows: Any, *arguments: Any) -> Selection:
        tries.append((len(rows), rows.pool.rows))
        return selected(rows, *arguments)

    monkeypatch.setattr(selector, "_selected", noted)
    return tries


def test_one_pass_keeps_what_the_budget_pays_for(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = bounded(monkeypatch)
    table = pool(0, 2000, timed=False, regions=False)
    select(table, acquisition="entropy", budget=20, spread="off")
    assert tries == [(20, 2000)]


def test_a_rule_that_refuses_most_rows_is_given_more(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = bounded(monkeypatch)
    table = pool(0, 2000, timed=False, regions=False)
    found = select(table, acquisition="entropy", budget=20, spread="off", quota="camera=5")
    looked = [rows for rows, _ in tries]
    assert looked == sorted(looked)
    assert looked[0] < 200
    assert looked[-1] == found.metadata["scored"]
    assert len(found) == 10


def test_a_name_that_stands_twice_is_found_among_rows_that_are_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bounded(monkeypatch)
    table = pool(0, 500, timed=False, regions=False)
    worst = table.take(pa.array([int(np.argmin(table.column("entropy_mean").to_numpy()))]))
    with pytest.raises(ResultsError, match="is in the sources more than once"):
        select([table, worst], acquisition="entropy", budget=5, spread="off")


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(1, 9), st.integers(1, 9))
@settings(deadline=None, max_examples=50)
def test_first_rows_are_those_of_a_sort(values: list[int], most: int, step: int) -> None:
    names = [f"{(7 * n) % 61:02d}" for n in range(len(values))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(best, "_AT_ONCE", 3)
        patch.setattr(best, "_SLACK", 2)
        order = First("key", lambda: most)
        rows = BestRows(order)
        for start in range(0, len(values), step):
            keys = np.array(values[start : start + step], float)
            ids = pa.array(names[start : start + step])
            rows.add({"key": keys, "id": ids, NAMED: np.zeros(len(keys), bool)})
        empty = pa.table({"key": pa.array([], pa.float64()), "id": pa.array([], pa.string())})
        table, (first,) = rows.close(empty)
    found = {name for name, ok in zip(table.column("id").to_pylist(), first, strict=True) if ok}
    ranked = sorted(zip(values, names, strict=True), key=lambda row: (-row[0], row[1]))
    # All rows stay as long as there is room for them: 3, and later twice the wanted ones.
    assert order.left_out or len(ranked) <= max(3, 2 * most, most + 2)
    wanted = ranked[:most] if order.left_out else ranked
    assert found == {name for _, name in wanted}


def test_only_rows_that_are_described_say_why(tmp_path: Path) -> None:
    table = pool(3, 40, timed=False, regions=False)
    options = {"acquisition": "entropy", "budget": 6}
    whole = select(table, **options)
    some = selector.select_by(table, selector.ranking_of(**options), described=2)
    assert some.metadata == whole.metadata
    kept = ["id", "score", "cost"]
    assert some.table.select(kept).equals(whole.table.select(kept))
    assert some.table.slice(0, 2).equals(whole.table.slice(0, 2))
    assert some.table.column("why").slice(2).null_count == 4
