"""What ``deal.ray.score`` and ``--on`` take; no cluster runs."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

import deal
from deal.pool.listing import Pool
from deal.ray import score
from deal.ray.cluster import address_of
from deal.ray.items import check_unique, listed
from tests.helpers.runs import Deal, assert_refused, write_pool


@pytest.mark.parametrize(
    ("on", "address"),
    [
        ("ray", None),
        ("ray://auto", "auto"),
        ("ray://head", "ray://head:10001"),
        ("ray://head:20001", "ray://head:20001"),
    ],
)
def test_on_names_a_cluster(on: str, address: str | None) -> None:
    assert address_of(on) == address


@pytest.mark.parametrize("on", ["", "spark", "ray://", "ray://head/path", "http://head"])
def test_what_names_no_cluster_is_refused(on: str) -> None:
    with pytest.raises(deal.UsageError, match="write ray for a cluster of its own"):
        address_of(on)


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ({"regions": "grid:8"}, "score regions with deal-score"),
        ({"dedup": 2}, "near_duplicates"),
        ({"sessions": 2}, "as many threads as --threads says"),
        ({"shard": "0/2"}, "divides the pool by itself"),
        ({"thread": 2}, "did you mean 'threads'"),
        ({"block_rows": 0}, "block_rows must be at least 1"),
    ],
)
def test_options_that_do_not_go_with_a_cluster_are_refused(
    tmp_path: Path, option: dict[str, object], why: str
) -> None:
    with pytest.raises(deal.UsageError, match=why):
        score("pool", model="m.onnx", output=tmp_path / "out", **option)


def test_a_table_with_an_id_twice_is_refused_and_names_it() -> None:
    check_unique(pa.chunked_array([["a", "b"], ["c"]]))
    with pytest.raises(deal.PoolError, match=r"1 ids .* 'b'"):
        check_unique(pa.chunked_array([["a", "b"], ["b"]]))
    with pytest.raises(deal.UsageError, match="1 items have no id"):
        check_unique(pa.chunked_array([["a", None]]))


def test_a_pool_is_listed_with_all_that_is_known_of_its_images(tmp_path: Path) -> None:
    folder = write_pool(tmp_path / "pool", 3)
    (folder / "list.jsonl").write_text(
        '{"uri": "000.png", "camera": "front", "timestamp_ns": 5, "rain": "yes"}\n'
        '{"uri": "none.png"}\n'
    )
    found = listed(Pool(folder / "list.jsonl"))
    (row,) = found.items.to_pylist()
    version = (folder / "000.png").stat()
    assert row == {
        "id": "000.png",
        "uri": str(folder / "000.png"),
        "source_version": f"{version.st_size}-{version.st_mtime_ns}",
        "sequence": None,
        "camera": "front",
        "timestamp_ns": 5,
        "attributes": [("rain", "yes")],
    }
    ((item, error),) = found.failed
    assert (item.id, error.code) == ("none.png", "io")


def test_the_command_refuses_options_that_do_not_go_with_a_cluster(
    score: Deal, tmp_path: Path
) -> None:
    assert_refused(score("--on", "ray", "--regions", "grid:8"), 2, "regions", "deal-score")
    assert_refused(score("--on", "spark"), 2, "--on 'spark'", "ray://HOST")
