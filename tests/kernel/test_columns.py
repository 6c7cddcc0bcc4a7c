"""The kernel's list of columns, against what it computes, the oracle and the stored schema."""

import numpy as np
import pyarrow as pa
import pytest

import deal
from deal import _native
from deal.results.schema import IMAGE_COLUMNS, REGION_COLUMNS, list_length
from deal.types import COMMITTEE_COLUMNS
from tests.oracle import reference

COLUMNS = _native.columns()
STORED = {"image": IMAGE_COLUMNS, "region": REGION_COLUMNS}
# What a run knows of an image or region without the kernel.
OF_THE_RUN = {
    "image": """id uri source_version sequence camera timestamp_ns attributes status error_code
        error duplicate_of width height orientation color_mode raster_width raster_height
        embedding thumbnail""",
    "region": "id region polygon",
}
HEAD = deal.DifficultyHead(0.5, [1.0, 2.0, 3.0], 0.0)


def names(table: str, *left_out: str) -> set[str]:
    return {name for where, name, *_, part in COLUMNS if where == table and part not in left_out}


def logits(members: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(members, 2, 3, 4, 5)).astype(np.float32)


@pytest.mark.parametrize("table", ["image", "region"])
def test_every_stored_column_is_the_runs_or_the_kernels_and_the_other_way_round(table):
    of_the_run = set(OF_THE_RUN[table].split())
    stored = {name for name in STORED[table] if not name.startswith("screen_")}  # of another run
    assert stored == of_the_run | names(table)
    assert not of_the_run & names(table)


def test_no_column_is_listed_twice():
    assert len({column[:2] for column in COLUMNS}) == len(COLUMNS)


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: " ".join(column[:2]))
def test_a_column_is_stored_as_the_kernel_gives_it(column):
    table, name, dtype, shape, _ = column
    kind, meaning = STORED[table][name]
    length = {"row": None, "levels": 240, "classes": 7}[shape]
    assert list_length(name, 7) == length
    assert meaning.startswith({"row": "", "levels": "[240] ", "classes": "[C] "}[shape])
    value = kind if length is None else kind.value_type
    assert pa.types.is_float64(value) if dtype == "float64" else pa.types.is_integer(value)


def test_the_kernel_and_the_oracle_compute_the_columns_of_the_list():
    found = deal.score_logits(logits(2), size=(8, 10), head=HEAD, regions=deal.Grid(4))
    oracle = reference.statistics(
        logits(2), size=(8, 10), head=HEAD, regions=np.zeros((2, 8, 10), np.int32), n_regions=1
    )
    assert found.regions is not None
    assert oracle.regions is not None
    assert set(found.images) == set(oracle.images) == names("image")
    assert set(found.regions) == set(oracle.regions) == names("region")
    sizes = {"row": (), "levels": (240,), "classes": (3,)}
    for table, name, dtype, shape, _ in COLUMNS:
        values = (found.images if table == "image" else found.regions)[name]
        assert values.dtype == dtype
        assert values.shape == (2, *(sizes[shape] if table == "image" else (6,)))


def test_columns_of_a_part_that_is_not_computed_are_absent():
    found = deal.score_logits(logits(1)[0], size=(8, 10), contours=False)
    assert set(found.images) == names("image", "difficulty", "committee", "contours")
    assert found.regions is None


def test_the_columns_of_a_committee_are_its_part_of_the_list():
    for table in ("image", "region"):
        part = names(table) - names(table, "committee")
        assert part == set(COMMITTEE_COLUMNS)
