"""``BatchScorer`` gives the rows of ``deal-score``, whoever calls it and with whatever tables."""

from __future__ import annotations

import pickle
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

import deal
from deal.pool.listing import Pool
from deal.results.parts import footer
from tests.helpers.models import scenes
from tests.helpers.runs import rows, write_pool


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of two sizes, and one that is damaged."""
    folder = write_pool(tmp_path_factory.mktemp("batches") / "pool", 6)
    for index, image in enumerate(scenes(3, (40, 24))):
        Image.fromarray(image).save(folder / f"tall{index}.png")
    (folder / "broken.png").write_bytes((folder / "000.png").read_bytes()[:60])
    return folder


@pytest.fixture(scope="module")
def stored(pool: Path, model: Path) -> Path:
    output = pool.parent / "out"
    assert deal.score_pool(pool, model=model, output=output).errors == {"decode": 1}
    return output


@pytest.fixture(scope="module")
def scorer(model: Path) -> deal.BatchScorer:
    return deal.BatchScorer(model)


@pytest.fixture(scope="module")
def items(pool: Path) -> pa.Table:
    listed = list(Pool(pool))
    names = ("id", "uri", "source_version")
    return pa.table({name: [getattr(item, name) for item in listed] for name in names})


def test_every_split_and_order_of_the_items_gives_the_rows_of_deal_score(
    scorer: deal.BatchScorer, items: pa.Table, stored: Path
) -> None:
    expected = rows(stored)
    assert len(expected) == len(items) == 10

    @settings(max_examples=12, deadline=None)
    @given(st.permutations(range(10)), st.sets(st.integers(1, 9)))
    def check(order: list[int], cuts: set[int]) -> None:
        ends = [0, *sorted(cuts), 10]
        for start, stop in pairwise(ends):
            some = items.take(order[start:stop])
            table = scorer(some)
            assert table.column("id").to_pylist() == some.column("id").to_pylist()
            for row in table.to_pylist():
                assert row == expected[row["id"]]

    check()


def test_items_may_be_numbered_and_are_a_table(scorer: deal.BatchScorer, items: pa.Table) -> None:
    numbered = items.select(["uri"]).append_column("id", pa.array(range(len(items))))
    found = scorer(numbered.slice(3, 2))
    assert found.column("id").to_pylist() == ["3", "4"]
    with pytest.raises(deal.UsageError, match=r"a pyarrow\.Table or RecordBatch, not a dict"):
        scorer(items.to_pydict())


@pytest.mark.parametrize("batch_size", [1, 3])
def test_bytes_in_the_table_give_the_same_statistics(
    pool: Path, model: Path, items: pa.Table, stored: Path, batch_size: int
) -> None:
    content = [(pool / name).read_bytes() for name in items.column("id").to_pylist()]
    given = items.drop_columns("source_version").append_column("bytes", [content])
    table = deal.BatchScorer(model, batch_size=batch_size, decode_threads=2)(given)
    expected = rows(stored)
    for row, data in zip(table.to_pylist(), content, strict=True):
        assert row.pop("source_version").startswith(f"{len(data)}-crc32:")
        assert row == {k: v for k, v in expected[row["id"]].items() if k != "source_version"}


def test_what_is_said_of_an_item_is_stored_with_it(
    scorer: deal.BatchScorer, items: pa.Table
) -> None:
    said = {
        "sequence": ["drive"],
        "camera": ["front"],
        "timestamp_ns": [7],
        "attributes": pa.array([[("rain", "yes")]], pa.map_(pa.string(), pa.string())),
    }
    one = items.slice(0, 1)
    for name, values in said.items():
        one = one.append_column(name, pa.chunked_array([values]))
    (row,) = scorer(one).to_pylist()
    assert [row[name] for name in said] == ["drive", "front", 7, [("rain", "yes")]]


def test_an_image_that_cannot_be_read_is_a_row_with_the_reason(
    scorer: deal.BatchScorer, tmp_path: Path
) -> None:
    nowhere = pa.table({"id": ["a"], "uri": [str(tmp_path / "none.png")]})
    (row,) = scorer(nowhere).to_pylist()
    assert (row["status"], row["error_code"]) == ("error", "io")
    data, why = pa.array([None], pa.binary()), pa.array(["HTTP 403"])
    unread = nowhere.append_column("bytes", data).append_column("read_error", why)
    (row,) = scorer(unread).to_pylist()
    assert (row["error_code"], row["error"]) == ("io", "HTTP 403")


def test_with_raise_the_error_names_the_image_and_can_be_pickled(
    model: Path, items: pa.Table
) -> None:
    with pytest.raises(deal.ItemError, match=r"image 'broken.png': ") as caught:
        deal.BatchScorer(model, on_error="raise")(items)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.code, again.message) == ("decode", caught.value.message)


def test_it_can_be_pickled_before_and_after_it_opened_the_network(
    model: Path, items: pa.Table, scorer: deal.BatchScorer
) -> None:
    fresh = deal.BatchScorer(model)
    expected = scorer(items)
    assert pickle.loads(pickle.dumps(fresh))(items).equals(expected)
    assert len(pickle.dumps(scorer)) < 10_000
    assert pickle.loads(pickle.dumps(scorer))(items).equals(expected)
    scorer.close()
    assert scorer(items).equals(expected)


def test_its_schema_is_that_of_the_parts_that_deal_score_wrote(
    scorer: deal.BatchScorer, stored: Path, items: pa.Table
) -> None:
    (part,) = (stored / "images").glob("*.parquet")
    assert scorer.schema.equals(parquet.read_schema(part))
    said = {key.decode(): value.decode() for key, value in scorer.schema.metadata.items()}
    assert said == footer(part)
    assert scorer(items).schema.equals(scorer.schema, check_metadata=True)
    assert scorer(items.slice(0, 0)).schema.equals(scorer.schema, check_metadata=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns("uri"), "columns id, source_version; they need 'uri'"),
        (lambda t: pa.concat_tables([t, t]), "two items have the same id"),
        (lambda t: t.rename_columns(["id", "uri", "source_versoin"]), "mean 'source_version'"),
        (lambda t: t.append_column("timestamp_ns", [["x"] * 10]), "is of type string, not int64"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(
    scorer: deal.BatchScorer, items: pa.Table, change: Any, message: str
) -> None:
    with pytest.raises(deal.UsageError, match=message):
        scorer(change(items))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_error": "skip"}, "on_error must be row or raise"),
        ({"decode_threads": 0}, "decode_threads must be at least 1"),
        ({"regions": "grid:8"}, "deal-score"),
    ],
)
def test_an_option_that_it_does_not_have_is_refused(
    model: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(deal.UsageError, match=message):
        deal.BatchScorer(model, **options)
