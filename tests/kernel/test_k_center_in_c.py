"""deal_k_center against Python's core-set: the same picks, and the same bits of distance."""

from __future__ import annotations

import ctypes
from ctypes import Structure, c_int32, c_int64, c_size_t, c_void_p

import numpy as np
import pytest

from deal import _native
from deal.acquisitions.k_center import k_center_greedy

LIBRARY = ctypes.CDLL(_native.__file__)
LIBRARY.deal_last_error.restype = ctypes.c_char_p
METRICS = ["cosine", "euclidean"]


class Options(Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("features", c_void_p),
        ("rows", c_int64),
        ("width", c_int64),
        ("metric", c_int32),
        ("threads", c_int32),
        ("candidates", c_void_p),
        ("centers", c_void_p),
        ("center_count", c_int64),
        ("has_first", c_int32),
        ("isa", c_int32),
        ("first", c_int64),
    ]


def picked_by_c(array, count, *, candidates=None, centers=(), first=None, **options):
    """Picks and distances, or the error."""
    mask = None if candidates is None else np.ascontiguousarray(candidates, np.uint8)
    taken = np.array(centers, np.int64)
    picks, distances = np.full(max(count, 0), -1, np.int64), np.full(max(count, 0), np.nan)
    given = {
        "features": array.ctypes.data,
        "rows": array.shape[0],
        "width": array.shape[1],
        "candidates": None if mask is None else mask.ctypes.data,
        "centers": taken.ctypes.data if len(taken) else None,
        "center_count": len(taken),
        "has_first": first is not None,
        "first": first or 0,
        **options,
    }
    request = Options(struct_size=ctypes.sizeof(Options), **given)
    at = [c_void_p(array.ctypes.data) for array in (picks, distances)]
    if LIBRARY.deal_k_center(ctypes.byref(request), c_int64(count), *at) != 0:
        return LIBRARY.deal_last_error().decode()
    return picks.tolist(), distances.tolist()


@pytest.mark.parametrize("metric", METRICS)
def test_picks_and_distances_are_pythons(metric):
    rng = np.random.default_rng(6)
    features = rng.normal(size=(300, 21)).astype(np.float32)
    features[7] = 0  # no direction
    features[11] = features[12]
    candidates = rng.random(300) < 0.8
    candidates[40] = True
    cases = [
        {},
        {"first": 40},
        {"centers": [3, 7, 3, 299]},
        {"centers": [1], "candidates": candidates},
        {"candidates": candidates, "first": 40},
    ]
    for case in cases:
        order, distances = k_center_greedy(features, 25, metric=metric, **case)
        for threads in (1, 3):
            found = picked_by_c(features, 25, metric=METRICS.index(metric), threads=threads, **case)
            assert found == (order.tolist(), distances.tolist()), case


def test_wrong_requests_are_refused_with_the_reason():
    features = np.eye(4, dtype=np.float32)
    broken = features.copy()
    broken[2, 1] = np.nan
    for says, arguments in {
        "only 4 may be": {"count": 5},
        "no row is to be picked": {"count": 0},
        "only 3 may be": {"count": 4, "centers": [1]},
        "a center is no row": {"count": 1, "centers": [4]},
        "first is 1, which is no candidate": {"count": 1, "centers": [1], "first": 1},
        "first is -1": {"count": 1, "first": -1},
        "metric": {"count": 1, "metric": 2},
        "threads": {"count": 1, "threads": -1},
        "isa": {"count": 1, "isa": 9},
        "2^26 rows": {"count": 1, "rows": 2**26 + 1},
        "in row 2": {"count": 1, "features": broken.ctypes.data},
        "features is NULL": {"count": 1, "features": None},
    }.items():
        found = picked_by_c(features, **arguments)
        assert says in str(found), (says, found)
    # A row that is neither candidate nor center may hold anything.
    picks, _ = picked_by_c(broken, 2, candidates=[1, 1, 0, 1])
    assert 2 not in picks
