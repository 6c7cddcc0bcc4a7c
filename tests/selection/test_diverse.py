"""Picking by distance, against k-center greedy on a table in the order of ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deal import select
from deal.acquisitions.k_center import k_center_greedy
from deal.errors import ResultsError

N = 24
RNG = np.random.default_rng(5)
VECTORS = RNG.normal(size=(N, 4)).astype(np.float32)
ENTROPY = RNG.permutation(N) / N
IDS = [f"{number:02d}" for number in range(N)]


def table(rows: Any = range(N)) -> pa.Table:
    rows = list(rows)
    return pa.table(
        {
            "id": [IDS[i] for i in rows],
            "status": pa.array(["ok"] * len(rows), pa.string()),
            "entropy_mean": ENTROPY[rows] if rows else pa.array([], pa.float64()),
            "camera": ["even" if i % 2 == 0 else "odd" for i in rows],
            "embedding": pa.array(VECTORS[rows].tolist() if rows else [], pa.list_(pa.float32())),
        }
    )


def test_core_set_is_k_center_greedy_from_the_labeled_rows(tmp_path: Path) -> None:
    (tmp_path / "labeled.txt").write_text("03\n17\n")
    selection = select(table(), acquisition="core-set", budget=6, exclude=tmp_path / "labeled.txt")
    order, distances = k_center_greedy(VECTORS, 6, centers=[3, 17])
    assert selection.ids == tuple(IDS[i] for i in order)
    assert selection.scores.tolist() == distances.tolist()
    assert selection.metadata["by"] == "distance"


def test_a_first_pick_without_a_center_has_no_score() -> None:
    selection = select(table(), acquisition="core-set", budget=3, metric="euclidean")
    order, distances = k_center_greedy(VECTORS, 3, metric="euclidean")
    assert selection.ids == tuple(IDS[i] for i in order)
    assert [row["score"] for row in selection.records()] == [None, *distances[1:].tolist()]
    assert selection.to_csv().splitlines()[1].startswith(f"1,{selection.ids[0]},,")


def test_diverse_picks_among_the_best_and_starts_with_the_best() -> None:
    selection = select(table(), acquisition="entropy", budget=4, diverse=2)
    best = np.argsort(-ENTROPY)[:8]
    among = np.zeros(N, bool)
    among[best] = True
    order, _ = k_center_greedy(VECTORS, 4, candidates=among, first=int(best[0]))
    assert selection.ids == tuple(IDS[i] for i in order)
    assert selection.scores.tolist() == ENTROPY[order].tolist()


@pytest.mark.parametrize(
    ("diverse", "budget", "excluded", "among"),
    [
        ("50%", 4, 0, 12),
        ("50%", 4, 5, 9),  # of the 19 that are left
        ("10%", 4, 0, 4),  # what the budget pays for at least
        ("100%", 4, 0, N),
        (" 3 ", 4, 0, 12),
    ],
)
def test_a_share_of_what_may_be_picked_is_the_same_for_every_budget(
    tmp_path: Path, diverse: str, budget: int, excluded: int, among: int
) -> None:
    best = np.argsort(-ENTROPY)
    labeled, best = best[:excluded], best[excluded:]
    (tmp_path / "labeled.txt").write_text("".join(f"{IDS[i]}\n" for i in labeled))
    selection = select(
        table(),
        acquisition="entropy",
        budget=budget,
        diverse=diverse,
        exclude=tmp_path / "labeled.txt",
    )
    candidates = np.isin(range(N), best[:among])
    first = None if excluded else int(best[0])
    order, _ = k_center_greedy(VECTORS, 4, candidates=candidates, centers=labeled, first=first)
    assert selection.ids == tuple(IDS[i] for i in order)
    assert selection.metadata["diverse"] == (3 if diverse == " 3 " else diverse)


def test_rules_hold_and_picking_goes_on_without_what_they_refuse() -> None:
    selection = select(table(), acquisition="core-set", budget=8, quota="camera:odd=2")
    odd = [name for name in selection.ids if int(name) % 2]
    assert len(selection) == 8
    assert len(odd) == 2


@settings(deadline=None, max_examples=25)
@given(
    st.permutations(range(N)),
    st.integers(0, N),
    st.sampled_from(
        [
            {"acquisition": "core-set", "budget": 7},
            {"acquisition": "core-set", "budget": 7, "quota": "camera=60%"},
            {"acquisition": "entropy", "budget": 5, "diverse": 3, "metric": "euclidean"},
            {"acquisition": "entropy", "budget": 5, "diverse": "62.5%"},
        ]
    ),
)
def test_order_of_storage_and_shards_change_no_byte(
    order: list[int], cut: int, options: dict[str, Any]
) -> None:
    split = select([table(order[:cut]), table(order[cut:])], **options)
    assert split.to_json() == select(table(), **options).to_json()


def test_an_empty_pool_gives_an_empty_selection() -> None:
    assert len(select(table([]), acquisition="core-set", budget=3)) == 0


def test_embeddings_that_are_not_there_are_asked_for() -> None:
    rows = table().drop_columns(["embedding"])
    with pytest.raises(ResultsError, match="features embedding: the results have no"):
        select(rows, acquisition="core-set", budget=3, features="embedding")


def test_rows_without_features_are_not_picked_and_counted() -> None:
    rows = table()
    vectors = rows.column("embedding").to_pylist()
    vectors[0][0] = float("inf")
    broken = rows.set_column(
        rows.column_names.index("embedding"), "embedding", pa.array(vectors, pa.list_(pa.float32()))
    )
    selection = select(broken, acquisition="core-set", budget=len(broken), features="embedding")
    assert rows.column("id")[0].as_py() not in selection.ids
    assert any(f"1 of {len(broken)} candidates have no embedding" in n for n in selection.notes)
