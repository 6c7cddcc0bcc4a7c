"""Several sources as one pool, manifests, sequences from paths, and shards of a pool."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from deal.errors import PoolError, UsageError
from deal.pool.ids import Shard
from deal.pool.listing import Pool
from deal.types import FailedItem, PoolItem
from tests.helpers.pools import ids, items, touch

# --- several sources


def test_single_images_are_called_by_their_name(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "b/2.PNG")
    assert ids(tmp_path / "a/1.jpg", tmp_path / "b/2.PNG") == ["1.jpg", "2.PNG"]


def test_sources_that_give_one_id_are_refused_with_both_names(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "b/1.jpg", "b/2.jpg")
    stream = iter(Pool([tmp_path / "a", tmp_path / "b"]))
    assert isinstance(next(stream), PoolItem)
    with pytest.raises(PoolError, match="common parent") as caught:
        next(stream)
    for part in ("/a'", "/b'", "'1.jpg'"):
        assert part in str(caught.value)
    with pytest.raises(PoolError, match="common parent"):
        Pool([tmp_path / "a", tmp_path / "b"]).count()
    assert ids(tmp_path / "a", tmp_path / "b/2.jpg") == ["1.jpg", "2.jpg"]


def test_many_sources_with_distinct_ids_stream_in_order(tmp_path: Path) -> None:
    names = [f"{i}.jpg" for i in range(2500)]  # more than the first size of the map of ids
    touch(tmp_path / "a", *names)
    touch(tmp_path / "b", "last.jpg")
    found = ids(tmp_path / "a", tmp_path / "b")
    assert found == [*sorted(names), "last.jpg"]


@pytest.mark.parametrize("name", ["missing", "missing.jpg", "missing.csv", "missing/*.jpg"])
def test_a_missing_source_is_refused_before_any_work(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "1.jpg")
    with pytest.raises(PoolError, match="missing"):
        iter(Pool([tmp_path / "1.jpg", tmp_path / name]))


def test_a_pool_without_images_is_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    touch(tmp_path, "movie.mp4")
    for source in (tmp_path, f"{tmp_path}/*.jpg"):
        with pytest.raises(PoolError, match=r"no image found .*\.jpeg.*\.webp"):
            iter(Pool(source))
        with pytest.raises(PoolError, match="no image found"):
            Pool(source).count()


def test_a_file_of_unknown_kind_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "slides.pdf")
    with pytest.raises(PoolError, match="neither a folder, an image"):
        iter(Pool(tmp_path / "slides.pdf"))


def test_no_source_and_dots_behind_wildcards_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no pool"):
        iter(Pool([]))
    with pytest.raises(PoolError, match=r"'\.\.' cannot follow"):
        iter(Pool(f"{tmp_path}/*/../x.jpg"))


def test_an_empty_name_is_not_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "1.jpg")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PoolError, match="empty"):
        iter(Pool(""))


@pytest.mark.parametrize("names", [("a", "a/"), ("a", "a/b"), ("a/b", "c", "a"), ("a", "link")])
def test_folders_that_overlap_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    touch(tmp_path, "a/1.jpg", "a/b/2.jpg", "ab/3.jpg", "c/4.jpg")
    (tmp_path / "link").symlink_to("a/b")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PoolError, match=r"overlap, .*: name 'a' alone"):
        iter(Pool(names))
    assert ids("a", "ab", "c") == ["1.jpg", "b/2.jpg", "3.jpg", "4.jpg"]


def test_pictures_of_an_earlier_run_are_no_images_of_the_pool(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "out/previews.jpg", "out/2.jpg", "mine/previews.jpg")
    touch(tmp_path, "out/maps/classes/1.jpg.png", "mine/maps/1.png")
    touch(tmp_path, "out/selection.json", "out/runs/0-of-1.json")
    touch(tmp_path, "round2/selection.json", "round2/selection.csv", "round2/previews.jpg")
    assert ids(tmp_path) == ["1.jpg", "mine/maps/1.png", "mine/previews.jpg", "out/2.jpg"]
    assert ids(tmp_path / "out/*.jpg") == ["2.jpg"]
    assert ids(tmp_path / "out/previews.jpg") == ["previews.jpg"]


# --- manifests (formats: test_manifest.py)


def test_a_manifest_gives_ids_and_columns(tmp_path: Path) -> None:
    touch(tmp_path, "img/1.jpg", "img/2.jpg")
    manifest = tmp_path / "list.csv"
    manifest.write_text(
        "uri,id,sequence,camera,timestamp_ns,weather\n"
        "img/1.jpg,first,drive,front,12,rain\n"
        "img/2.jpg,,,,,\n"
        "img/gone.jpg,,,,,\n"
    )
    first, second, third = Pool(manifest)
    assert isinstance(first, PoolItem)
    assert (first.id, first.sequence, first.camera) == ("first", "drive", "front")
    assert (first.timestamp_ns, first.attributes) == (12, {"weather": "rain"})
    assert first.uri == str(tmp_path / "img/1.jpg")
    assert isinstance(second, PoolItem)
    assert (second.id, second.sequence, second.attributes) == ("img/2.jpg", None, {})
    assert isinstance(third, FailedItem)
    assert (third.item.id, third.error_code) == ("img/gone.jpg", "io")


def test_a_manifest_may_name_files_as_selections_do(tmp_path: Path) -> None:
    names = [b"a%25b.jpg", b"\xff.jpg", b"50%.jpg", b"b%FF.jpg", b"plain.jpg"]
    for name in names:
        Path(tmp_path, os.fsdecode(name)).touch()
    folder = list(Pool(tmp_path))
    assert len(folder) == len(names)
    manifest = tmp_path / "selection.csv"
    manifest.write_text("id,uri\n" + "".join(f"{item.id},{item.uri}\n" for item in folder))
    assert [(item.id, item.uri, item.locator) for item in Pool(manifest)] == [
        (item.id, item.uri, item.locator) for item in folder
    ]


def test_a_name_that_a_file_has_is_no_escape(tmp_path: Path) -> None:
    for name in (b"a%FF.jpg", b"a\xff.jpg"):
        Path(tmp_path, os.fsdecode(name)).touch()
    manifest = tmp_path / "list.txt"
    manifest.write_text("a%FF.jpg\n")
    assert [item.id for item in Pool(manifest)] == ["a%25FF.jpg"]


def test_a_manifest_that_names_an_id_twice_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "2.jpg")
    manifest = tmp_path / "list.txt"
    manifest.write_text("1.jpg\n2.jpg\n./1.jpg\n")
    assert Pool([tmp_path / "2.jpg"]).count() == 1
    with pytest.raises(PoolError, match=r"'1\.jpg' twice"):
        Pool(manifest).count()


def test_a_malformed_manifest_is_refused_before_work_if_its_head_is(tmp_path: Path) -> None:
    manifest = tmp_path / "list.csv"
    manifest.write_text("file\n1.jpg\n")
    with pytest.raises(PoolError, match="needs a column 'uri'"):
        iter(Pool([tmp_path, manifest]))


# --- sequences


def test_the_sequence_comes_from_the_first_group_on_the_id(tmp_path: Path) -> None:
    touch(tmp_path, "drive7/cam/1.jpg", "other/2.jpg")
    first, second = items(tmp_path, sequence_from=r"drive(\d+)/")
    assert (first.sequence, second.sequence) == ("7", None)


def test_the_manifests_sequence_wins(tmp_path: Path) -> None:
    touch(tmp_path, "d1/1.jpg", "d1/2.jpg")
    manifest = tmp_path / "list.jsonl"
    manifest.write_text('{"uri": "d1/1.jpg", "sequence": "own"}\n{"uri": "d1/2.jpg"}\n')
    assert [i.sequence for i in items(manifest, sequence_from="^([^/]+)")] == ["own", "d1"]


@pytest.mark.parametrize(("pattern", "problem"), [("(", "regular expression"), ("a+", "no group")])
def test_an_expression_that_cannot_work_is_refused(
    tmp_path: Path, pattern: str, problem: str
) -> None:
    touch(tmp_path, "1.jpg")
    with pytest.raises(UsageError, match=problem):
        iter(Pool(tmp_path, sequence_from=pattern))


def test_shards_of_a_pool_are_disjoint_and_complete(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{i}.jpg" for i in range(60)))
    parts = [ids(tmp_path, shard=Shard(index, 3)) for index in range(3)]
    assert sorted(itertools.chain(*parts)) == sorted(ids(tmp_path))
    assert [Pool(tmp_path, shard=Shard(index, 3)).count() for index in range(3)] == [
        *map(len, parts)
    ]


def test_a_shard_may_be_empty_where_the_pool_is_not(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg")
    assert sum(len(ids(tmp_path, shard=Shard(index, 5))) for index in range(5)) == 1
