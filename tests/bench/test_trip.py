"""The exact optimum of a trip is that of trying every set."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from deal.bench.trip import _optimum, _Pool, compared
from deal.results.output import Output
from tests.helpers.drives import random_drive

pytest.importorskip("scipy")


@pytest.mark.parametrize("seed", range(8))
def test_the_optimum_is_the_best_of_all_allowed_sets(seed):
    rng = np.random.default_rng(seed)
    count, budget, gap = 10, 4, 3
    places = np.sort(rng.integers(0, 2, count))
    times = np.sort(rng.integers(0, 15, count))
    order = np.lexsort((times, places))
    kinds = rng.integers(0, 2, (4, 192), np.uint8) * np.arange(1, 5, dtype=np.uint8)[:, None] * 9
    pool = _Pool(rng.random(count), times[order], places[order], kinds[rng.integers(0, 4, count)])

    def allowed(some: tuple[int, ...]) -> bool:
        return not any(
            (pool.places[a] == pool.places[b] and abs(pool.times[a] - pool.times[b]) < gap)
            or _differ(pool.thumbnails[a], pool.thumbnails[b]) <= 3.0
            for a, b in combinations(some, 2)
        )

    sets = (some for size in range(budget + 1) for some in combinations(range(count), size))
    best = max(float(pool.scores[list(some)].sum()) for some in sets if allowed(some))
    assert _optimum(pool, budget, gap, 3.0) == pytest.approx(best, rel=1e-12)


def _differ(a: np.ndarray, b: np.ndarray) -> float:
    delta = a.astype(float) - b
    return float(np.abs(delta - delta.mean()).mean())


def test_a_scored_trip_is_compared(tmp_path):
    rows = [{**row, "margin_mean": 1 - row["entropy_mean"]} for row in random_drive(5).rows]
    with Output.open(tmp_path / "out", settings={"m": 1}, classes=["road"]) as output:
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        output.write({**columns, "class_entropy_sum": np.ones((len(rows), 1))}, None)
    found = {row.name: row.value.median for row in compared(str(tmp_path / "out"))}
    assert [name.partition(",")[0] for name in found].count("frames that select takes too") == 5
    assert found["frames that select takes too, budget"] == 1.0
    assert 0.0 < found["of the optimum, gap 2 s and near-duplicates, least"] <= 1.0 + 1e-9
