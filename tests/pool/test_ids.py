"""Ids that stand for paths, and shards by their hash."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deal.errors import UsageError
from deal.pool.ids import Shard, id_to_path, parse_shard, path_to_id
from deal.pool.locator import LocalFile
from tests.helpers.pools import items

NAMES = st.binary(min_size=1, max_size=12).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)

# --- ids


@settings(deadline=None, max_examples=500)
@given(st.lists(NAMES, min_size=1, max_size=4).map(b"/".join))
@example(b"a%FF\xff.jpg")
@example(b"%25FF")
@example(b"%2525")
@example(b"%%25\xff%")
@example(b"50%.jpg")
@example("näme mit %C3%A4.jpg".encode())
def test_ids_are_utf8_and_turn_back_into_the_path(name: bytes) -> None:
    path = os.fsdecode(name)
    item_id = path_to_id(path)
    assert item_id.encode().decode() == item_id
    assert os.fsencode(id_to_path(item_id)) == name
    assert item_id.count("/") == name.count(b"/")


@settings(deadline=None, max_examples=300)
@given(st.lists(st.binary(max_size=6).map(lambda b: b.replace(b"\0", b"%")), min_size=2))
def test_different_paths_have_different_ids(names: list[bytes]) -> None:
    assert len({path_to_id(os.fsdecode(name)) for name in names}) == len(set(names))


@pytest.mark.parametrize(
    ("name", "item_id"),
    [
        (b"plain name.jpg", "plain name.jpg"),
        ("fünf.jpg".encode(), "fünf.jpg"),
        (b"50%.jpg", "50%.jpg"),
        (b"a%20b.jpg", "a%20b.jpg"),
        (b"a\xff.jpg", "a%FF.jpg"),
        (b"a%FF.jpg", "a%25FF.jpg"),
        (b"%25", "%2525"),
        (b"a\nb.jpg", "a\nb.jpg"),
    ],
)
def test_names_are_escaped_only_where_they_must(name: bytes, item_id: str) -> None:
    assert path_to_id(os.fsdecode(name)) == item_id


@settings(deadline=None, max_examples=50)
@given(st.sets(NAMES.filter(lambda name: not name.startswith(b".")), min_size=1, max_size=8))
def test_any_name_survives_the_round_trip_through_a_folder(names: set[bytes]) -> None:
    with tempfile.TemporaryDirectory() as root:
        for name in names:
            Path(os.fsdecode(os.fsencode(root) + b"/" + name + b".jpg")).write_bytes(b"x")
        found = items(root)
        assert {os.fsencode(id_to_path(item.id)) for item in found} == {n + b".jpg" for n in names}
        assert all(item.locator.read() == b"x" for item in found)
        assert all(item.locator == LocalFile(id_to_path(item.uri)) for item in found)


# --- shards


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(st.text(), st.integers(1, 40))
def test_every_id_is_in_exactly_one_shard(item_id: str, count: int) -> None:
    assert sum(Shard(index, count).contains(item_id) for index in range(count)) == 1


def test_shards_are_stable_and_even() -> None:
    names = [f"frame{i:05}.jpg" for i in range(4000)]
    sizes = [sum(map(Shard(index, 4).contains, names)) for index in range(4)]
    assert max(sizes) - min(sizes) < 200
    # a shard is a promise to machines that never meet: these must never change
    assert [n for n in names[:12] if Shard(0, 4).contains(n)] == [
        "frame00003.jpg",
        "frame00006.jpg",
        "frame00007.jpg",
        "frame00008.jpg",
    ]


def test_parse_shard() -> None:
    assert parse_shard("2/4") == Shard(2, 4)
    assert str(Shard(2, 4)) == "2/4"
    for text in ("4/4", "5/4", "0/0"):
        with pytest.raises(UsageError, match="counts from 0"):
            parse_shard(text)
    for text in ("", "1", "a/b", "-1/4", "1/4/2", "1/ 4", "٣/٤"):
        with pytest.raises(UsageError, match="i/n"):
            parse_shard(text)
