"""TypiClust: typical rows of clusters that no label covers, against the words of its docstring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from deal import select
from deal.acquisitions.typiclust import NEIGHBOURS, typical_clusters
from deal.errors import ResultsError

RNG = np.random.default_rng(8)
SIZES = (40, 25, 12, 3)
# Directions far apart, and noise; the first row of each group lies in its middle.
MIDDLES = np.eye(6)[: len(SIZES)]
GROUP = np.repeat(np.arange(len(SIZES)), SIZES)
VECTORS = MIDDLES[GROUP] + 0.05 * RNG.normal(size=(sum(SIZES), 6))
FIRST = np.cumsum((0, *SIZES[:-1]))
VECTORS[FIRST] = MIDDLES
IDS = [f"{number:03d}" for number in range(len(VECTORS))]


def table(rows: Any = None, **columns: Any) -> pa.Table:
    rows = list(range(len(VECTORS)) if rows is None else rows)
    vectors = pa.array(VECTORS[rows].tolist(), pa.list_(pa.float32()))
    named = {name: [values[i] for i in rows] for name, values in columns.items()}
    return pa.table({"id": [IDS[i] for i in rows], "embedding": vectors, **named})


def groups(selection: Any) -> list[int]:
    return [int(GROUP[int(name)]) for name in selection.ids]


def test_the_middle_of_the_largest_group_comes_first_and_small_groups_last() -> None:
    found = select(table(), acquisition="typiclust", budget=4)
    assert groups(found) == [0, 1, 2, 0]
    assert set(found.ids[:3]) == {IDS[i] for i in FIRST[:3]}
    assert found.metadata["clusters"] == 4
    assert found.table.column("why").to_pylist() == ["typical of its cluster"] * 4
    assert all(0 < score < 1 for score in found.scores)


def test_labeled_rows_cover_their_cluster(tmp_path: Path) -> None:
    (tmp_path / "labeled.txt").write_text(f"{IDS[FIRST[0]]}\n{IDS[FIRST[1] + 1]}\n")
    found = select(
        table(), acquisition="typiclust", budget=2, exclude=tmp_path / "labeled.txt", seed=3
    )
    assert groups(found)[0] == 2
    assert IDS[FIRST[0]] not in found.ids


def test_the_order_of_storage_changes_nothing_and_the_seed_the_start_alone() -> None:
    whole = select(table(), acquisition="typiclust", budget=9)
    moved = RNG.permutation(len(VECTORS))
    shards = [table(moved[:30]), table(moved[30:])]
    assert select(shards, acquisition="typiclust", budget=9).to_json() == whole.to_json()
    assert len(set(whole.ids)) == 9


def test_what_rules_refuse_leaves_the_turn_to_the_next_of_the_cluster() -> None:
    camera = ["odd" if place in FIRST else "even" for place in range(len(VECTORS))]
    found = select(table(camera=camera), acquisition="typiclust", budget=4, quota="camera:odd=1")
    assert groups(found) == [0, 1, 2, 0]
    assert [camera[int(name)] for name in found.ids].count("odd") == 1


def test_clusters_are_those_of_k_means_and_distances_those_to_the_nearest() -> None:
    rows = np.rint(VECTORS * 2**14)
    clusters, distances = typical_clusters(rows, 4, seed=0)
    assert [len(set(clusters[group == GROUP])) for group in range(4)] == [1, 1, 1, 1]
    assert len(set(clusters.tolist())) == 4
    for row in range(len(rows)):
        others = [i for i in range(len(rows)) if clusters[i] == clusters[row] and i != row]
        apart = sorted(float(np.linalg.norm(rows[row] - rows[i])) for i in others)[:NEIGHBOURS]
        assert distances[row] == pytest.approx(np.mean(apart), abs=1 / 64)
    # Each row belongs to the nearest mean.
    means = np.stack([rows[clusters == c].mean(axis=0) for c in range(4)])
    apart = np.linalg.norm(rows[:, None] - means, axis=2)
    assert (apart.argmin(axis=1) == clusters).all()


def test_equal_rows_are_one_cluster_and_a_lone_row_has_no_neighbours() -> None:
    clusters, distances = typical_clusters(np.array([[1.0, 2]] * 5 + [[9.0, 9]]), 4)
    assert len(set(clusters[:5].tolist())) == 1
    assert distances[:5].tolist() == [0.0] * 5
    assert np.isnan(distances[5])


def test_without_an_embedding_statistics_by_class_do(tmp_path: Path) -> None:
    pixels = [[8, 2, 0]] * 6 + [[0, 1, 9]] * 6
    stats = pa.table(
        {
            "id": IDS[:12],
            "n_pixels": [10] * 12,
            "class_pixels": pixels,
            "class_entropy_sum": [[0.5 * n for n in row] for row in pixels],
        }
    )
    found = select(stats, acquisition="typiclust", budget=2)
    assert sorted(int(name) >= 6 for name in found.ids) == [False, True]
    with pytest.raises(ResultsError, match="the results have no embedding"):
        select(stats, acquisition="typiclust", budget=2, features="embedding")


@pytest.mark.parametrize("acquisition", ["typiclust", "core-set"])
@pytest.mark.parametrize("counts", [[0, 0], [4, 2]], ids=["consistent", "odd"])
def test_a_pool_whose_pixels_are_all_masked_gives_no_picks(
    acquisition: str, counts: list[int]
) -> None:
    masked = pa.table(
        {
            "id": IDS[:5],
            "n_pixels": [0] * 5,
            "class_pixels": [counts] * 5,
            "class_entropy_sum": [[float(count) for count in counts]] * 5,
        }
    )
    found = select(masked, acquisition=acquisition, budget=2)
    assert found.ids == ()
    assert "5 of 5" in found.notes[0]
    assert found.metadata.get("clusters", 0) == 0
