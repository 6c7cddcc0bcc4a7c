"""Core-set picks against a brute-force oracle, and the features they are made on."""

from __future__ import annotations

import numpy as np
import pytest

from deal.diversity import features, k_center_greedy
from deal.errors import ResultsError, UsageError

LINE = np.array([[0.0], [1.0], [5.0], [9.0], [10.0]], np.float32)


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


def test_class_statistics_stand_in_for_an_embedding():
    columns = {
        "n_pixels": np.array([10, 10, 20]),
        "class_pixels": np.array([[10, 0], [5, 5], [20, 0]]),
        "class_difficulty_sum": np.array([[1.0, 0.0], [1.0, 2.0], [2.0, 0.0]]),
    }
    found = features(columns)
    assert (found.dtype, found.shape) == (np.float32, (3, 4))
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(found.std(axis=0)[[0, 1, 3]], 1, atol=1e-6)
    np.testing.assert_array_equal(found[:, 2], 0)  # 0.1 of difficulty everywhere
    np.testing.assert_array_equal(found[0], found[2])
    with pytest.raises(ResultsError, match="needs the column embedding, or n_pixels"):
        features({"n_pixels": np.array([1])})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": -1}, "count=-1: a whole number"),
        ({"metric": "manhattan"}, "choose one of cosine, euclidean"),
        ({"centers": [5]}, "rows 0 to 4 are there"),
        ({"candidates": [True]}, r"bool \[5\] is needed"),
        ({"first": 5}, "first=5 is no candidate"),
        ({"first": 1, "centers": [1]}, "first=1 is no candidate"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        k_center_greedy(LINE, **{"count": 1, **options})
