"""Core-sets by parts: what is picked, and how well it covers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from deal.acquisitions.k_center import k_center_greedy
from deal.acquisitions.partitioned import picks_of_parts
from deal.selection import diverse, select


def parts_of(x: np.ndarray, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    cut = np.array_split(np.arange(len(x)), count)
    return [(rows, x[rows]) for rows in cut]


def radius(x: np.ndarray, picks: np.ndarray) -> float:
    apart = np.linalg.norm(x[:, None] - x[picks][None], axis=2)
    return float(apart.min(axis=1).max())


def test_each_part_gives_what_greedy_picks_in_it() -> None:
    x = np.random.default_rng(0).random((40, 3)).astype(np.float32)
    centers = np.full((1, 3), 0.5, np.float32)
    found = picks_of_parts(parts_of(x, 3), 4, metric="euclidean", centers=centers)
    wanted = []
    for rows, values in parts_of(x, 3):
        order, _ = k_center_greedy(
            np.concatenate([centers, values]), 4, metric="euclidean", centers=[0]
        )
        wanted += rows[order - 1].tolist()
    assert found.tolist() == wanted


def test_rows_without_features_are_never_picked() -> None:
    x = np.random.default_rng(0).random((10, 2)).astype(np.float32)
    x[3] = np.nan
    found = picks_of_parts(parts_of(x, 2), 10, centers=x[:0])
    assert sorted(found.tolist()) == [0, 1, 2, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("seed", range(5))
def test_picks_of_parts_cover_within_four_times_the_best(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = (rng.random((6, 2))[rng.integers(0, 6, 300)] + 0.02 * rng.random((300, 2))).astype(
        np.float32
    )
    found = picks_of_parts(parts_of(x, 7), 6, metric="euclidean", centers=x[:0])
    picks = found[k_center_greedy(x[found], 6, metric="euclidean")[0]]
    assert radius(x, picks) <= 0.03  # each of the six groups has one: 0.02 · √2


def table(rows: int, *, embedding: bool) -> pa.Table:
    rng = np.random.default_rng(1)
    counts = rng.integers(1, 50, (rows, 3))
    columns = {
        "id": [f"{n:04d}" for n in rng.permutation(rows)],
        "status": ["ok"] * rows,
        "entropy_mean": rng.random(rows),
        "n_pixels": counts.sum(axis=1),
        "class_pixels": pa.array(counts.tolist()),
        "class_entropy_sum": pa.array(rng.random((rows, 3)).tolist()),
    }
    if embedding:
        columns["embedding"] = pa.array(rng.random((rows, 4)).tolist(), pa.list_(pa.float32()))
    return pa.table(columns)


@pytest.mark.parametrize("embedding", [True, False])
def test_a_pool_that_is_too_large_is_picked_from_in_parts_and_says_so(
    monkeypatch: pytest.MonkeyPatch, embedding: bool
) -> None:
    rows = table(300, embedding=embedding)
    whole = select(rows, acquisition="core-set", budget=8)
    monkeypatch.setattr(diverse, "_EXACT_ROWS", 100)
    monkeypatch.setattr(diverse, "_PART_ROWS", 64)
    found = select(rows, acquisition="core-set", budget=8)
    moved = select(rows.take(pa.array(range(299, -1, -1))), acquisition="core-set", budget=8)
    assert found.to_csv() == moved.to_csv()
    assert len(found) == 8
    assert found.metadata["parts"] == 5
    assert any("picks come from the picks of 5 parts (GreeDi)" in note for note in found.notes)
    assert "parts" not in whole.metadata
    assert not any("GreeDi" in note for note in whole.notes)


def test_the_best_row_stays_the_first_of_a_diverse_selection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(diverse, "_EXACT_ROWS", 100)
    monkeypatch.setattr(diverse, "_PART_ROWS", 64)
    rows = table(300, embedding=True)
    found = select(rows, acquisition="entropy", budget=4, diverse="100%")
    best = rows.column("id")[int(np.argmax(rows.column("entropy_mean").to_numpy()))].as_py()
    assert found.ids[0] == best
    assert found.metadata["parts"] == 5
