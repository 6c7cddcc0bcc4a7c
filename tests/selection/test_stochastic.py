"""Drawing by scores: chances, reproducibility, and how it goes with everything else."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deal import acquisition_scores, select
from deal.errors import ResultsError, UsageError
from deal.selection import Selection
from deal.selection.order import name_hashes
from deal.selection.stochastic import Stochastic, parse_schedule, parse_stochastic

MASK = 2**64 - 1


def table(scores: list[float], ids: list[str] | None = None) -> pa.Table:
    n = len(scores)
    return pa.table(
        {
            "id": ids or [f"{i:03d}" for i in range(n)],
            "status": ["ok"] * n,
            "entropy_mean": pa.array(scores, pa.float64()),
            "n_pixels": np.arange(1, n + 1),
        }
    )


def drawn(scores: list[float], **options: Any) -> Selection:
    return select(table(scores), acquisition="entropy", **options)


def hashed(ids: list[str], regions: np.ndarray | None = None) -> np.ndarray:
    return name_hashes(pa.array(ids, pa.large_string()), regions)


def drawn_order(how: Stochastic, scores: np.ndarray, hashes: np.ndarray, seed: int) -> np.ndarray:
    return np.argsort(-how.draws(scores, hashes, seed, np.sort(scores)), kind="stable")


def shares(stochastic: str, scores: list[float], draws: int = 4000) -> np.ndarray:
    """How often each row is drawn first, and how often second."""
    how = parse_stochastic(stochastic)
    assert how is not None
    hashes = hashed([f"{i:03d}" for i in range(len(scores))])
    counts = np.zeros((2, len(scores)))
    for seed in range(draws):
        counts[[0, 1], drawn_order(how, np.array(scores), hashes, seed)[:2]] += 1
    return counts / draws


@pytest.mark.parametrize(
    ("stochastic", "chances"),
    [
        ("power", [4 / 7, 2 / 7, 1 / 7]),
        ("power:2", [16 / 21, 4 / 21, 1 / 21]),
        ("softrank:2", [36 / 49, 9 / 49, 4 / 49]),
    ],
)
def test_chances_are_as_the_scores_or_ranks_and_nothing_is_drawn_twice(
    stochastic: str, chances: list[float]
) -> None:
    found = shares(stochastic, [0.4, 0.2, 0.1])
    p = np.array(chances)
    second = [sum(p[i] * p[j] / (1 - p[i]) for i in range(3) if i != j) for j in range(3)]
    deviation = 4 * np.sqrt(0.25 / 4000)
    assert np.abs(found - [p, second]).max() < deviation


@given(
    scores=st.lists(st.floats(0, 10), min_size=1, max_size=30),
    seed=st.integers(-(2**70), 2**70),
    kind=st.sampled_from(["power", "power:3", "softrank:0.5"]),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_every_row_is_drawn_once_whatever_the_order_stored(
    scores: list[float], seed: int, kind: str, order: Any
) -> None:
    whole = drawn(scores, stochastic=kind, seed=seed)
    assert sorted(whole.ids) == [f"{i:03d}" for i in range(len(scores))]
    rows = list(range(len(scores)))
    order.shuffle(rows)
    moved = select(
        [table([scores[i]], [f"{i:03d}"]) for i in rows],
        acquisition="entropy",
        stochastic=kind,
        seed=seed,
    )
    assert moved.to_csv() == whole.to_csv()
    assert moved.metadata["scores_digest"] == whole.metadata["scores_digest"]
    if kind.startswith("power"):
        zeros = [score == 0 for score in whole.scores.tolist()]
        assert zeros == sorted(zeros)


def test_the_draw_is_the_gumbel_of_a_hash_of_seed_and_id() -> None:
    """SplitMix64 over seed, length and bytes, in Python's own integers."""

    def mix(value: int) -> int:
        value = (value + 0x9E3779B97F4A7C15) & MASK
        value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & MASK
        value = ((value ^ value >> 27) * 0x94D049BB133111EB) & MASK
        return value ^ value >> 31

    def noise(name: str, seed: int) -> float:
        data = name.encode()
        value = mix(len(data))
        for start in range(0, len(data), 8):
            value = mix(value ^ int.from_bytes(data[start : start + 8], "little"))
        bits = mix(value ^ mix(seed)) >> 12
        return -math.log(-math.log((bits + 0.5) / 2**52))

    ids = [f"drive-1/front/{i:06d}.jpg" for i in range(40)]
    scores = np.random.default_rng(3).random(40)
    found = select(table(scores.tolist(), ids), acquisition="entropy", stochastic="power:2", seed=9)
    score = dict(zip(ids, scores.tolist(), strict=True))
    assert list(found.ids) == sorted(
        ids, key=lambda name: -(2 * math.log(score[name]) + noise(name, 9))
    )
    assert found.scores.tolist() == [score[name] for name in found.ids]


def test_regions_of_one_image_are_drawn_independently() -> None:
    hashes = hashed(["a"] * 50, np.arange(50, dtype=np.int32))
    assert len(set(hashes.tolist())) == 50
    order = drawn_order(Stochastic("power"), np.ones(50), hashes, 0)
    assert sorted(order.tolist()) == list(range(50))
    assert order.tolist() != list(range(50))


def test_excluded_rows_have_no_part_in_ranks_and_included_ones_come_first(tmp_path: Path) -> None:
    (tmp_path / "labeled.txt").write_text("000\n001\n")
    (tmp_path / "include.txt").write_text("004\n")
    options = {"exclude": tmp_path / "labeled.txt", "include": tmp_path / "include.txt"}
    found = drawn([9, 8, 3, 2, 0.5, 1], stochastic="softrank:40", budget=3, **options)
    assert found.ids == ("004", "002", "003")  # 2⁻⁴⁰ is no chance


def test_score_per_cost_is_drawn_where_the_budget_is_in_pixels() -> None:
    scores = np.full(12, 0.5)
    found = select(
        table(scores.tolist()), acquisition="entropy", stochastic="power:2", budget="pixels:1000"
    )
    ids = [f"{i:03d}" for i in range(12)]
    order = drawn_order(Stochastic("power", 2.0), scores / np.arange(1, 13), hashed(ids), 0)
    assert found.ids == tuple(ids[i] for i in order)
    assert found.metadata["by"] == "score-per-cost"


def test_diverse_spreads_over_the_rows_that_are_drawn() -> None:
    rows = table([0.5] * 12).append_column(
        "embedding", pa.array(np.eye(12).tolist(), pa.list_(pa.float32()))
    )
    options = {"acquisition": "entropy", "stochastic": "power", "budget": 3, "seed": 1}
    among = set(select(rows, **{**options, "budget": 6}).ids)
    picks = select(rows, **options, diverse=2)
    assert set(picks.ids) < among
    assert picks.ids[0] == select(rows, **options).ids[0]


def test_the_document_says_how_rows_were_drawn() -> None:
    found = drawn([0.1, 0.2, 0.3], stochastic=" power:0.50 ", seed=4, budget=2)
    assert found.metadata["stochastic"] == "power:0.5"
    assert found.metadata["seed"] == 4
    assert found.metadata["ties"] == "drawn by a hash of seed and id"
    assert str(parse_stochastic("power:1.23456789")) == "power:1.23456789"
    assert drawn([0.1, 0.2]).metadata["stochastic"] is None
    assert any("chance alone" in note for note in drawn([0.1, 0.1], stochastic="power").notes)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "top",
        "power:",
        "power:0",
        "power:-1",
        "power:inf",
        "power:nan",
        "softmax:1",
        "power:1e7",
    ],
)
def test_what_cannot_be_drawn_by_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=f"^stochastic '{text}': write power or softrank"):
        parse_stochastic(text)


@pytest.mark.parametrize("value", [True, 2, ["power"]])
def test_a_value_that_is_no_text_is_refused_as_well(value: Any) -> None:
    with pytest.raises(UsageError, match="write power or softrank"):
        parse_stochastic(value)


@pytest.mark.parametrize("stochastic", ["power", "softrank", "softrank:3"])
@pytest.mark.parametrize("better", [0, 3])
def test_rows_of_one_score_are_drawn_evenly(stochastic: str, better: int) -> None:
    how = parse_stochastic(stochastic)
    assert how is not None
    scores = np.array([1.0] * better + [0.0] * 6)
    hashes = hashed([f"{i:03d}" for i in range(len(scores))])
    counts = np.zeros(len(scores))
    for seed in range(3000):
        order = drawn_order(how, scores, hashes, seed)
        counts[order[order >= better][0]] += 1
    assert np.abs(counts[better:] / 3000 - 1 / 6).max() < 4 * np.sqrt(5 / 36 / 3000)


def test_a_score_of_infinity_per_cost_comes_first_and_evenly() -> None:
    rows = table([0.5] * 6).set_column(3, "n_pixels", pa.array([5, 0, 5, 0, 5, 0]))
    options = {"acquisition": "entropy", "stochastic": "power", "budget": "pixels:20"}
    first = [select(rows, **options, seed=seed).ids[:3] for seed in range(12)]
    assert {frozenset(ids) for ids in first} == {frozenset({"001", "003", "005"})}
    assert len(set(first)) > 3


def test_budget_quota_and_gap_are_kept_along_the_draw() -> None:
    rng = np.random.default_rng(2)
    n = 30
    rows = table(rng.random(n).tolist())
    camera, times = rng.integers(0, 2, n), rng.integers(0, 20, n)
    rows = rows.append_column("camera", pa.array(camera.astype(str)))
    rows = rows.append_column("sequence", pa.array(["s"] * n))
    rows = rows.append_column("timestamp_ns", pa.array(times * 10**9))
    options = {"acquisition": "entropy", "stochastic": "power", "seed": 6, "by": "score"}
    order = [int(name) for name in select(rows, **options).ids]
    taken: list[int] = []
    for row in order:
        both = [*taken, row]
        if sum(i + 1 for i in both) > 150:
            continue
        if sum(i + 1 for i in both if camera[i] == camera[row]) > 90:
            continue
        if any(abs(times[i] - times[row]) < 2 for i in taken if camera[i] == camera[row]):
            continue
        taken.append(row)
    rules = {"budget": "pixels:150", "quota": "camera=60%", "min_gap": "2s"}
    found = select(rows, **options, **rules)
    assert [int(name) for name in found.ids] == taken
    assert 2 < len(taken) < n


def test_a_schedule_goes_from_one_beta_to_another_by_one_factor() -> None:
    schedule = parse_schedule("power:1..100")
    assert schedule is not None
    assert [str(schedule.at(k, 4)) for k in (1, 2, 3, 4)] == [
        "power:1",
        "power:4.64158883",
        "power:21.5443469",
        "power:100",
    ]
    assert str(schedule.at(1, 1)) == "power:1"
    falling = parse_schedule("softrank:4..1")
    assert falling is not None
    assert [str(falling.at(k, 3)) for k in (1, 2, 3)] == ["softrank:4", "softrank:2", "softrank:1"]
    assert parse_schedule("power:2") is parse_schedule(None) is None
    for text in ("power..2", "power:1..", "power:0..2", "power:1..2..3", "top:1..2"):
        with pytest.raises(UsageError, match="write power or softrank"):
            parse_schedule(text)
    with pytest.raises(UsageError, match="which only deal loop counts: give the beta"):
        parse_stochastic("power:1..100")


def test_clasp_is_entropy_drawn_with_two_thirds_by_class() -> None:
    rows = table([0.9, 0.8, 0.7, 0.1, 0.1, 0.1]).append_column(
        "class_entropy_sum", pa.array([[1.0, 0.0]] * 3 + [[0.0, 1.0]] * 3)
    )
    spelt = {"acquisition": "entropy", "stratify": "class:66%", "stochastic": "power"}
    found = select(rows, acquisition="clasp", budget=4, seed=3)
    assert found.to_json() == select(rows, **spelt, budget=4, seed=3).to_json()
    assert found.metadata["acquisition"] == "entropy"
    own = select(rows, acquisition="clasp", stratify="class", stochastic="power:40", budget=2)
    assert (own.metadata["stratify"], own.metadata["stochastic"]) == ("class", "power:40")
    assert own.ids[0] == "000"  # 1.1 ** 40 to 1
    with pytest.raises(UsageError, match=r"clasp is a way to select.* score by entropy"):
        acquisition_scores(rows, "clasp")


def test_scores_below_zero_have_no_power() -> None:
    with pytest.raises(ResultsError, match="some are below: give softrank"):
        drawn([1, -0.5, 0.2], stochastic="power")
    assert len(drawn([1, -0.5, 0.2], stochastic="softrank")) == 3


def test_functions_that_pick_by_distance_are_not_drawn_by() -> None:
    with pytest.raises(UsageError, match="'core-set' has no score to draw by: drop stochastic"):
        select(table([1.0]), acquisition="core-set", stochastic="power", budget=1)
