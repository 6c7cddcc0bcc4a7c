from __future__ import annotations

import pyarrow as pa
import pytest

from deal.selection import Ranking
from deal.selection.standing import Row, standing


def table(scores: dict[str, float | None]) -> pa.Table:
    return pa.table(
        {
            "id": list(scores),
            "status": ["ok" if score is not None else "error" for score in scores.values()],
            "entropy_mean": pa.array(list(scores.values()), pa.float64()),
        }
    )


def test_the_middle_and_the_last_of_the_ranking() -> None:
    scores = {"a": 0.1, "b": 0.9, "c": 0.5, "d": None, "e": 0.3, "f": 0.7}
    found = standing(table(scores), Ranking.of(acquisition="entropy"))
    assert found is not None
    assert found.count == 5
    assert found.median == Row("c", None, 0.5)
    assert found.easiest == Row("a", None, 0.1)
    assert [found.percent_below(scores[name]) for name in "bca"] == [80, 40, 0]


def test_of_an_even_number_the_lower_of_the_two_in_the_middle() -> None:
    found = standing(
        table({"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}), Ranking.of(acquisition="entropy")
    )
    assert found is not None
    assert found.median.id == "b"  # the third of four


def test_ties_go_by_id_as_in_the_ranking() -> None:
    found = standing(table({"b": 0.5, "c": 0.5, "a": 0.5}), Ranking.of(acquisition="entropy"))
    assert found is not None
    assert (found.median.id, found.easiest.id) == ("a", "c")
    assert found.percent_below(0.5) == 0


@pytest.mark.parametrize("name", ["random", "core-set"])
def test_draws_and_distances_have_no_standing(name: str) -> None:
    assert standing(table({"a": 0.5}), Ranking.of(acquisition=name)) is None


def test_a_pool_without_scores_has_none() -> None:
    assert standing(table({"a": None}), Ranking.of(acquisition="entropy")) is None
