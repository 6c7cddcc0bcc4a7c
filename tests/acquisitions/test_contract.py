"""What holds for every acquisition function of the registry."""

from __future__ import annotations

import inspect
import itertools
import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import deal
from deal.acquisitions import Bound, acquisition_names, bind
from deal.acquisitions.columns import column_names
from deal.acquisitions.registry import BUILT_IN, registered
from deal.errors import ResultsError, UsageError
from deal.results.schema import images_schema, to_table
from tests.helpers.scenes import CLASSES, scenes

ROWS = 12
SCORED = sorted(set(acquisition_names()) - {"core-set", "typiclust"})
COMMITTEE = ("vote_entropy_mean", "mutual_information_mean", "consensus_entropy_mean")


def statistics() -> dict[str, Any]:
    """Columns of a pool from the kernel, a committee's made up, with ids."""
    pool = scenes(images=ROWS, seed=2)
    stats = deal.score_logits(
        np.asarray(pool.arguments["logits"], np.float32),
        size=pool.arguments["size"],
        head=pool.arguments["head"],
        mask=pool.arguments["mask"],
    )
    columns = dict(stats.images)
    rng = np.random.default_rng(3)
    columns.update({name: rng.random(ROWS) for name in COMMITTEE})
    return {"id": [f"{i:02}.jpg" for i in range(ROWS)], **columns}


COLUMNS = statistics()


def stored(columns: dict[str, Any]) -> pa.Table:
    rows = len(columns["id"])
    extras = {"uri": columns["id"], "source_version": ["1"] * rows, "status": ["ok"] * rows}
    return to_table({**columns, **extras}, images_schema(), len(CLASSES))


TABLE = stored(COLUMNS)


def bound(name: str) -> Bound:
    options = {"focus": "pole, bicyclist"} if name.startswith("focus:") else {}
    return bind(name, classes=CLASSES, **options)


def scores(name: str, columns: Any) -> np.ndarray[Any, Any]:
    function = bound(name)
    return function.scores(columns, function.totals(columns))


@pytest.mark.parametrize("name", SCORED)
def test_a_stored_table_scores_as_the_statistics_it_was_made_of(name: str) -> None:
    np.testing.assert_array_equal(scores(name, TABLE), scores(name, COLUMNS))
    assert np.isfinite(scores(name, TABLE)).all()


@pytest.mark.parametrize("name", SCORED)
@settings(deadline=None, max_examples=8)
@given(order=st.permutations(range(ROWS)))
def test_permuting_the_rows_permutes_the_scores_bit_for_bit(name: str, order: list[int]) -> None:
    expected = scores(name, TABLE)[order]
    assert scores(name, TABLE.take(order)).tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", SCORED)
@settings(deadline=None, max_examples=8)
@given(cuts=st.lists(st.integers(0, ROWS), max_size=3).map(sorted))
def test_shards_score_as_the_whole_pool_once_their_totals_are_added(
    name: str, cuts: list[int]
) -> None:
    edges = [0, *cuts, ROWS]
    shards = [TABLE.slice(a, b - a) for a, b in itertools.pairwise(edges)]
    function = bound(name)
    totals = sum(function.totals(shard) for shard in shards)
    merged = np.concatenate([function.scores(shard, totals) for shard in shards])
    assert merged.tobytes() == scores(name, TABLE).tobytes()
    shares = [function.class_shares(shard, totals) for shard in shards]
    whole = function.class_shares(TABLE, totals)
    if whole is None:
        assert shares == [None] * len(shards)
    else:
        assert np.concatenate(shares).tobytes() == whole.tobytes()


@pytest.mark.parametrize("name", sorted(set(SCORED) - {"random"}))
def test_equal_rows_have_equal_scores(name: str) -> None:
    found = scores(name, TABLE.take([4] * 7))
    assert len(set(found.tolist())) == 1


@pytest.mark.parametrize("name", SCORED)
@pytest.mark.parametrize("status", [[], ["error", "error"]])
def test_a_table_without_a_usable_row_is_no_error(name: str, status: list[str]) -> None:
    rows = len(status)
    ids = [f"{i}" for i in range(rows)]
    extras = {"uri": ids, "source_version": ids, "status": status}
    table = to_table({"id": ids, **extras}, images_schema(), len(CLASSES))
    function = bound(name)
    totals = function.totals(table)
    assert totals.shape == ()
    found = function.scores(table, totals)
    assert found.shape == (rows,)
    assert np.isnan(found).all()
    shares = function.class_shares(table, totals)
    assert shares is None or (shares.shape == (rows, len(CLASSES)) and not shares.any())


@pytest.mark.parametrize("name", SCORED)
def test_a_missing_column_is_named(name: str) -> None:
    for column in bound(name).columns:
        rest = {key: value for key, value in COLUMNS.items() if key != column}
        with pytest.raises(ResultsError, match=rf"{bound(name).name}.*lack {column}; "):
            scores(name, rest)


@pytest.mark.parametrize("name", ["vote-entropy", "bald", "kl-to-mean", "consensus-entropy"])
def test_results_without_a_committee_name_the_remedy(name: str) -> None:
    single = stored({key: value for key, value in COLUMNS.items() if key not in COMMITTEE})
    with pytest.raises(ResultsError, match=r"hold no values in .*--model given more than once"):
        scores(name, single)


@pytest.mark.parametrize("name", SCORED)
def test_rows_that_are_not_ok_have_no_score_and_change_no_other(name: str) -> None:
    status = ["ok"] * ROWS
    status[3] = "duplicate"
    table = TABLE.set_column(
        column_names(TABLE).index("status"), "status", pa.array(status, pa.string())
    )
    kept = [row for row in range(ROWS) if row != 3]
    found = scores(name, table)
    assert np.isnan(found[3])
    np.testing.assert_array_equal(found[kept], scores(name, TABLE.take(kept)))


@pytest.mark.parametrize("name", SCORED)
def test_a_pool_of_one_predicted_class_is_scored(name: str) -> None:
    columns = {key: np.array(value) for key, value in COLUMNS.items()}
    for key in [key for key in columns if key.startswith("class_")]:
        sums = np.zeros_like(columns[key])
        sums[:, 1] = columns[key].sum(axis=1)
        columns[key] = sums
    found = scores(name, columns)
    assert np.isfinite(found).all()
    if name == "ripu":
        assert not found.any()
    if name.startswith("balanced:"):
        plain = scores(name.replace("balanced:", "focus:"), columns)
        np.testing.assert_allclose(found, plain / np.log(2.02), rtol=1e-12)


@pytest.mark.parametrize("name", SCORED)
def test_an_image_without_pixels_does_no_harm(name: str) -> None:
    columns = {key: np.array(value) for key, value in COLUMNS.items()}
    for key, values in columns.items():
        if key != "id":
            values[5] = np.nan if key.endswith(("_mean", "_min", "_max")) else 0
    kept = [row for row in range(ROWS) if row != 5]
    found = scores(name, columns)
    assert name == "random" or np.isnan(found[5])
    rest = {key: np.array(value)[kept] for key, value in columns.items()}
    np.testing.assert_array_equal(found[kept], scores(name, rest))


@pytest.mark.parametrize("name", sorted(registered()))
def test_every_function_says_what_it_is(name: str) -> None:
    entry = registered()[name]
    assert entry.formula
    assert entry.source
    assert inspect.getdoc(entry.function)
    assert (entry.check is None) == (not set(entry.options) - {"seed"})


def test_the_names_known_without_numpy_are_those_registered() -> None:
    names = [name for group in BUILT_IN.values() for name in group]
    assert len(set(names)) == len(names)
    assert set(names) == set(registered())
    code = (
        "import sys, deal; acquisition_names = deal.acquisition_names; "
        "print(*acquisition_names()); assert 'numpy' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == sorted({*names, "ds"})


def test_functions_that_need_totals_refuse_to_score_without() -> None:
    with pytest.raises(UsageError, match=r"needs totals of the whole pool: add bound\.totals"):
        bound("balanced:entropy").scores(TABLE)
    with pytest.raises(UsageError, match="needs totals of the whole pool"):
        bound("balanced:entropy").class_shares(TABLE)


def test_a_function_of_images_refuses_regions_and_names_those_that_do_not() -> None:
    with pytest.raises(UsageError, match=r"'de' scores images, not regions; .*ds:entropy.*ripu"):
        bind("de", table="regions")
    with pytest.raises(UsageError, match="table must be images or regions, not 'pixels'"):
        bind("entropy", table="pixels")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (None, "a mapping of column names to arrays or a pyarrow.Table is needed, not a NoneType"),
        ([1.0], "not a list"),
        ({"entropy_mean": 0.5}, "one value per row"),
        ({"entropy_mean": [0.5, 1.0], "status": ["ok"]}, "rows: entropy_mean 2, status 1"),
    ],
)
def test_what_is_no_table_is_refused(table: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        deal.acquisition_scores(table, "entropy")


@pytest.mark.parametrize("seed", [1.5, "7", None])
def test_a_seed_that_is_no_whole_number_is_refused(seed: Any) -> None:
    with pytest.raises(UsageError, match="seed must be a whole number"):
        deal.acquisition_scores({"id": ["a"]}, "random", seed=seed)


def test_seeds_that_are_equal_draw_the_same() -> None:
    draws = [
        deal.acquisition_scores({"id": ["a"]}, "random", seed=seed)
        for seed in (1, np.int64(1), True)
    ]
    assert draws[0] == draws[1] == draws[2]


def test_core_set_has_no_scores_and_says_so() -> None:
    function = bind("core-set")
    assert function.greedy
    assert function.options == {}
    with pytest.raises(UsageError, match=r"core-set.*has no scores: use deal\.select"):
        function.scores(TABLE)
