"""The quantile sketch against exact quantiles."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deal.errors import UsageError
from deal.run.sketch import QuantileSketch

scores = st.lists(st.floats(-1e6, 1e6), max_size=60)


def sketch_of(values: list[float], error: float = 0.01) -> QuantileSketch:
    sketch = QuantileSketch(error)
    sketch.add(values)
    return sketch


@settings(deadline=None, max_examples=200)
@given(scores.filter(len), st.floats(0, 1), st.sampled_from([0.001, 0.01, 0.2]))
def test_quantiles_are_within_the_relative_error(
    values: list[float], q: float, error: float
) -> None:
    found = sketch_of(values, error).quantile(q)
    exact = sorted(values)[math.floor(q * (len(values) - 1))]
    assert found is not None
    assert abs(found - exact) <= error * abs(exact) * (1 + 1e-9) + 1e-9


@settings(deadline=None, max_examples=100)
@given(scores, scores)
def test_merging_equals_adding(one: list[float], two: list[float]) -> None:
    merged = sketch_of(one)
    merged.merge(sketch_of(two))
    assert merged.to_dict() == sketch_of(one + two).to_dict()
    assert merged.count == len(one) + len(two)


@settings(deadline=None, max_examples=100)
@given(scores)
def test_sketches_survive_json(values: list[float]) -> None:
    sketch = sketch_of(values)
    back = QuantileSketch.from_dict(json.loads(json.dumps(sketch.to_dict())))
    assert back.to_dict() == sketch.to_dict()
    assert back.quantile(0.5) == sketch.quantile(0.5)


def test_quantiles_of_many_scores() -> None:
    values = np.random.default_rng(0).gamma(2, 0.1, 20_000)
    sketch = QuantileSketch()
    sketch.add(values)
    assert sketch.count == 20_000
    for q in (0.01, 0.5, 0.99):
        assert sketch.quantile(q) == pytest.approx(np.quantile(values, q), rel=0.011)
    assert len(sketch.to_dict()["positive"]) < 1000


def test_an_empty_sketch_has_no_quantiles() -> None:
    assert QuantileSketch().quantile(0.5) is None


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(UsageError, match="finite"):
        sketch_of([math.nan])
    with pytest.raises(UsageError, match="finite"):
        sketch_of([math.inf])
    with pytest.raises(UsageError, match="cannot be merged"):
        sketch_of([1], 0.01).merge(sketch_of([1], 0.02))
    with pytest.raises(UsageError, match="between 0 and 1"):
        QuantileSketch(0)
    with pytest.raises(UsageError, match=r"0…1"):
        sketch_of([1]).quantile(1.5)
