"""Core-set picks against a brute-force oracle, and the features they are made on."""

from __future__ import annotations

import signal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deal import _native
from deal.acquisitions.k_center import features, k_center_greedy
from deal.errors import ResultsError, UsageError
from tests.helpers.cases import wider_instruction_sets
from tests.oracle import reference

LINE = np.array([[0.0], [1.0], [5.0], [9.0], [10.0]], np.float32)
# Vectors whose unit vectors, and so all their cosines, are exact: norms are powers of two.
EXACT = [
    *(np.eye(4, dtype=np.float32) * np.float32(2.0) ** [[3], [-2], [0], [40]]),
    *(np.array(list(np.ndindex(2, 2, 2, 2)), np.float32) * 2 - 1),
    np.zeros(4, np.float32),
]


def gauss(rows: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)


def test_each_pick_is_the_farthest_from_what_is_taken():
    order, distances = k_center_greedy(LINE, 3, metric="euclidean", centers=[0])
    assert order.tolist() == [4, 2, 1]
    assert distances.tolist() == [10.0, 5.0, 1.0]
    assert (order.dtype, distances.dtype) == (np.int64, np.float64)


def test_without_centers_the_first_pick_is_nearest_the_mean_or_the_one_asked_for():
    order, distances = k_center_greedy(LINE, 2, metric="euclidean")
    assert order.tolist() == [2, 0]  # 5 is the mean; 0 and 10 are equally far
    assert distances.tolist() == [np.inf, 5.0]
    assert k_center_greedy(LINE, 2, metric="euclidean", first=3)[0].tolist() == [3, 0]
    order, distances = k_center_greedy(LINE, 2, metric="euclidean", centers=[2], first=1)
    assert (order.tolist(), distances.tolist()) == ([1, 4], [4.0, 5.0])


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_the_first_pick_is_the_candidate_nearest_the_mean_of_the_candidates(metric):
    x = gauss(3000, 19) + np.float32(0.5)
    candidates = np.arange(3000) % 3 > 0
    pick = int(k_center_greedy(x, 1, metric=metric, candidates=candidates)[0][0])
    y = x.astype(np.float64)
    if metric == "cosine":
        y /= np.linalg.norm(y, axis=1, keepdims=True)
    far = np.linalg.norm(y - y[candidates].mean(axis=0), axis=1)
    assert far[pick] == pytest.approx(far[candidates].min(), rel=1e-5)
    assert candidates[pick]


@st.composite
def problems(draw, vectors):
    x = np.stack(draw(st.lists(vectors, min_size=2, max_size=24)))
    rows = st.sampled_from(range(len(x)))
    centers = draw(st.lists(rows, min_size=1, max_size=4))
    candidates = draw(st.lists(st.booleans(), min_size=len(x), max_size=len(x)))
    return x, centers, candidates, draw(st.integers(0, len(x) + 2))


def assert_the_oracles_picks(x, centers, candidates, count, metric):
    rows = [row for row, may in enumerate(candidates) if may]
    expected = reference.k_center_greedy(x, count, metric, centers, rows)
    order, distances = k_center_greedy(
        x, count, metric=metric, centers=centers, candidates=np.array(candidates)
    )
    assert order.tolist() == expected[0]
    assert distances.tolist() == expected[1]


@settings(deadline=None)
@given(
    problems(
        st.lists(st.integers(-20, 20), min_size=18, max_size=18).map(
            lambda values: np.array(values, np.float32) / 8
        )
    )
)
def test_euclidean_picks_are_the_oracles_where_squares_are_exact(problem):
    assert_the_oracles_picks(*problem, "euclidean")


@settings(deadline=None)
@given(problems(st.sampled_from(EXACT)))
def test_cosine_picks_are_the_oracles_where_unit_vectors_are_exact(problem):
    assert_the_oracles_picks(*problem, "cosine")


@pytest.mark.parametrize("width", [1, 15, 16, 17, 100])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_distances_are_the_oracles_within_rounding(metric, width):
    x = gauss(400, width)
    order, distances = k_center_greedy(x, 30, metric=metric, centers=[7])
    y = x.astype(np.float64)
    if metric == "cosine":
        y /= np.linalg.norm(y, axis=1, keepdims=True)
    taken = [7, *order.tolist()]
    for k, found in enumerate(distances):
        squares = ((y[:, None] - y[taken[: k + 1]]) ** 2).sum(axis=2).min(axis=1)
        nearest = squares / 2 if metric == "cosine" else np.sqrt(squares)
        assert found == pytest.approx(nearest[order[k]], rel=1e-5, abs=1e-6)
        assert found == pytest.approx(nearest.max(), rel=1e-5, abs=1e-6)
    assert (np.diff(distances) <= 0).all()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_threads_and_instruction_sets_change_no_bit(metric):
    x = np.maximum(gauss(5000, 37), -0.2)
    x[::97] = 0
    x[1::101] = x[500]
    found = []
    portable, auto = _native.ISA_PORTABLE, _native.ISA_AUTO
    ways = [(1, portable), (1, auto), (2, auto), (5, auto), (3, portable)]
    for threads, isa in ways + [(1, isa) for isa in wider_instruction_sets()]:
        for centers in ([], [3, 97, 4000]):
            candidates = np.arange(5000) % 7 > 0
            candidates[centers] = False
            order, distances, bad = _native.k_center_greedy(
                x,
                60,
                metric == "cosine",
                np.array(centers, np.int64),
                candidates,
                None,
                threads,
                isa,
            )
            found.append((order.tobytes(), distances.tobytes(), bad))
    assert len({tuple(map(str, result)) for result in found[::2]}) == 1
    assert len({tuple(map(str, result)) for result in found[1::2]}) == 1


def test_fewer_picks_are_the_first_of_more():
    x = gauss(2000, 12)
    many, few = k_center_greedy(x, 40), k_center_greedy(x, 15)
    assert many[0][:15].tolist() == few[0].tolist()
    assert many[1][:15].tolist() == few[1].tolist()


def test_the_order_of_the_pool_changes_no_pick():
    x = gauss(2000, 12)
    shuffled = np.random.default_rng(1).permutation(2000)
    order, distances = k_center_greedy(x, 40)
    again, others = k_center_greedy(x[shuffled], 40)
    assert shuffled[again].tolist() == order.tolist()
    assert others.tolist() == distances.tolist()


def test_rows_that_are_no_candidates_might_as_well_not_be_there():
    x = gauss(1500, 9)
    candidates = np.arange(1500) % 4 == 1
    order, distances = k_center_greedy(x, 20, candidates=candidates)
    alone, same = k_center_greedy(x[candidates], 20)
    assert np.flatnonzero(candidates)[alone].tolist() == order.tolist()
    assert same.tolist() == distances.tolist()
    x[~candidates] = np.nan
    assert k_center_greedy(x, 20, candidates=candidates)[0].tolist() == order.tolist()


def test_more_than_there_are_takes_all_and_duplicates_come_last_by_row():
    x = np.array([[1, 0], [0, 1], [1, 0], [0, 2], [1, 0]], np.float32)
    order, distances = k_center_greedy(x, 99, centers=[4, 4])
    assert order.tolist() == [1, 0, 2, 3]  # 0, 2 and 3 are as good as taken
    assert distances.tolist() == [1, 0, 0, 0]


def test_a_row_of_zeros_is_at_one_from_every_direction_and_at_none_from_its_like():
    x = np.array([[0, 0], [3, 0], [-3, 0], [0, 0], [3, 1e-3]], np.float32)
    order, distances = k_center_greedy(x, 4, centers=[1])
    assert order.tolist() == [2, 0, 4, 3]
    assert distances[:2].tolist() == [2, 1]
    assert distances[2] == pytest.approx(5.6e-8, rel=0.1)
    assert distances[3] == 0
    assert k_center_greedy(x[[0, 3]], 2, first=1)[1].tolist() == [np.inf, 0]


def test_no_rows_and_no_picks_are_results():
    for x, count in ((np.empty((0, 3)), 5), (np.empty((0, 0)), 5), (LINE, 0)):
        order, distances = k_center_greedy(x, count)
        assert (order.tolist(), distances.tolist()) == ([], [])
    assert k_center_greedy(LINE, 3, candidates=np.zeros(5, bool))[0].tolist() == []
    assert k_center_greedy(np.empty((3, 0)), 2)[0].tolist() == [0, 1]


@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1.0, 1e30, 3e37])
def test_euclidean_distances_keep_to_any_scale(scale):
    order, distances = k_center_greedy(
        LINE.astype(np.float64) * scale, 3, metric="euclidean", centers=[0]
    )
    assert order.tolist() == [4, 2, 1]
    unit = float(np.float32(scale))
    np.testing.assert_allclose(distances, np.array([10, 5, 1]) * unit, rtol=0.1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_nan_and_infinite_features_are_refused_by_row(bad, metric):
    x = gauss(3000, 5)
    x[[2, 2999], [4, 0]] = bad
    with pytest.raises(UsageError, match="NaN or infinite values in the rows 2, 2999: leave"):
        k_center_greedy(x, 3, metric=metric)
    with pytest.raises(UsageError, match="in the rows 2:"):
        k_center_greedy(x, 3, metric=metric, centers=[2], candidates=np.arange(3000) < 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": -1}, "count=-1: a whole number"),
        ({"count": True}, "count=True: a whole number"),
        ({"count": 1.5}, r"count=1\.5: a whole number"),
        ({"metric": "manhattan"}, "choose one of cosine, euclidean"),
        ({"centers": [5]}, "row numbers go from 0 to 4"),
        ({"centers": [-1]}, "row numbers go from 0 to 4"),
        ({"centers": [0.5]}, "row numbers"),
        ({"candidates": [True]}, r"bool \[5\] is needed, not bool \[1\]"),
        ({"candidates": [1] * 5}, r"bool \[5\] is needed, not int64 \[5\]"),
        ({"first": 5}, "first=5 is not a candidate"),
        ({"first": 1, "centers": [1]}, "first=1 is not a candidate"),
        ({"threads": 0}, "threads=0: at least 1"),
        ({"features": [1.0, 2.0]}, r"shape \[n, E\] is needed, not \[2\]"),
        ({"features": [["a"]]}, "numbers"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        k_center_greedy(**{"features": LINE, "count": 1, **options})


def test_a_signal_ends_the_work():
    class InterruptionError(Exception):
        pass

    def handler(*_):
        raise InterruptionError

    old = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(InterruptionError):
            k_center_greedy(gauss(100_000, 8), 100_000)  # minutes of work
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


# ---- features --------------------------------------------------------------------------------

STATISTICS = {
    "n_pixels": np.array([10, 10, 20]),
    "class_pixels": np.array([[10, 0], [5, 5], [20, 0]]),
    "class_difficulty_sum": np.array([[1.0, 0.0], [1.0, 2.0], [2.0, 0.0]]),
    "class_entropy_sum": np.array([[1.0, 0.0], [4.0, 2.0], [2.0, 0.0]]),
}


def test_an_embedding_is_taken_as_it_is():
    embedding = gauss(4, 3)
    np.testing.assert_array_equal(features({"embedding": embedding, **STATISTICS}), embedding)
    rows = [*embedding[:2].tolist(), None, embedding[3].tolist()]
    table = pa.table(
        {
            "embedding": pa.array(rows, pa.list_(pa.float32())),
            "status": ["ok", "ok", "error", "ok"],
        }
    )
    found = features(pa.concat_tables([table.slice(0, 3), table.slice(3)]))
    expected = embedding.copy()
    expected[2] = np.nan
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float32


def test_class_statistics_stand_in_for_an_embedding():
    found = features(STATISTICS)
    assert (found.dtype, found.shape) == (np.float32, (3, 4))
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(found.std(axis=0)[[0, 1, 3]], 1, atol=1e-6)
    np.testing.assert_array_equal(found[:, 2], 0)  # 0.1 of difficulty everywhere
    np.testing.assert_array_equal(found[0], found[2])


def test_entropy_stands_in_where_the_model_has_no_difficulty():
    columns = {name: pa.array(values.tolist()) for name, values in STATISTICS.items()}
    columns["class_difficulty_sum"] = pa.nulls(3, pa.list_(pa.float64()))
    columns["embedding"] = pa.nulls(3, pa.list_(pa.float32()))
    found = features(pa.table(columns))
    assert found[:, 2].tolist() == pytest.approx([-(0.5**0.5), 2**0.5, -(0.5**0.5)])


def test_the_order_of_the_pool_changes_no_bit_of_the_statistics():
    rng = np.random.default_rng(0)
    columns = {
        "n_pixels": rng.integers(90, 100, 500),
        "class_pixels": rng.integers(0, 90, (500, 5)),
        "class_difficulty_sum": rng.random((500, 5)),
    }
    shuffled = rng.permutation(500)
    again = features({name: values[shuffled] for name, values in columns.items()})
    assert again.tobytes() == features(columns)[shuffled].tobytes()


def test_rows_without_statistics_are_nan_and_do_not_count():
    columns = {
        "n_pixels": np.array([10, 0, 10, 20, 7]),
        "class_pixels": np.array([[10, 0], [0, 0], [5, 5], [20, 0], [7, 0]]),
        "class_difficulty_sum": np.array([[1.0, 0], [0, 0], [1, 2], [2, 0], [7, 7]]),
        "status": np.array(["ok", "ok", "ok", "ok", "error"]),
    }
    found = features(columns)
    np.testing.assert_array_equal(np.isnan(found).all(axis=1), [False, True, False, False, True])
    np.testing.assert_array_equal(found[[0, 2, 3]], features(STATISTICS))
    nothing = features({**columns, "status": np.array(["error"] * 5)})
    assert nothing.shape == (5, 0)


def test_missing_columns_and_mixed_models_are_refused():
    with pytest.raises(ResultsError, match="needs the column embedding, or n_pixels"):
        features({"n_pixels": np.array([1])})
    mixed = pa.table({"embedding": pa.array([[1.0], None, None], pa.list_(pa.float32()))})
    with pytest.raises(ResultsError, match="2 of 3 images have no embedding"):
        features(mixed)
    mixed = pa.table({"embedding": pa.array([[1.0], [1.0, 2.0]], pa.list_(pa.float32()))})
    with pytest.raises(ResultsError, match="lengths of embedding differ"):
        features(mixed)
    with pytest.raises(ResultsError, match="lengths of embedding differ"):
        features(pa.concat_tables([mixed.slice(0, 1), mixed.slice(1)]))
