"""Folders, globs, images and manifests as streams of items."""

from __future__ import annotations

import itertools
import os
import subprocess
import tempfile
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deal.errors import PoolError, UsageError
from deal.pool import (
    Shard,
    count_pool,
    id_to_path,
    open_pool,
    parse_shard,
    path_to_id,
)
from deal.types import FailedItem, PoolItem

NAMES = st.binary(min_size=1, max_size=12).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def ids(*sources: str | Path, **options: object) -> list[str]:
    return [entry.id for entry in items(*sources, **options)]


def items(*sources: str | Path, **options: object) -> list[PoolItem]:
    entries = list(open_pool(sources, **options))
    assert all(isinstance(entry, PoolItem) for entry in entries)
    return entries


@contextmanager
def without_privileges() -> Iterator[None]:
    """Root may read everything: become nobody for a while."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture
def public_tmp() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


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
@given(st.sets(NAMES, min_size=1, max_size=8))
def test_any_name_survives_the_round_trip_through_a_folder(names: set[bytes]) -> None:
    with tempfile.TemporaryDirectory() as root:
        for name in names:
            Path(os.fsdecode(os.fsencode(root) + b"/" + name + b".jpg")).write_bytes(b"x")
        found = items(root)
        assert {os.fsencode(id_to_path(item.id)) for item in found} == {n + b".jpg" for n in names}
        assert all(Path(item.path).read_bytes() == b"x" for item in found)
        assert all(id_to_path(item.uri) == item.path for item in found)


# --- folders


def test_folders_are_searched_in_byte_order_by_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.JPG", "b/10.jpeg", "b.png", "a.webp", "c/d/e.Tiff", "c/x.bmp", "z.tif")
    touch(tmp_path, "notes.txt", "c/labels.npy", "c/jpg", ".hidden/1.jpg")
    found = ids(tmp_path)
    expected = [".hidden/1.jpg", "a.webp", "b.png", "b/10.jpeg", "b/2.JPG", "c/d/e.Tiff"]
    assert found == [*expected, "c/x.bmp", "z.tif"]
    assert found == sorted(found, key=str.encode)


def test_items_carry_uri_path_and_version(tmp_path: Path) -> None:
    touch(tmp_path, "a b.jpg")
    (item,) = items(tmp_path)
    status = (tmp_path / "a b.jpg").stat()
    assert item.uri == item.path == str(tmp_path / "a b.jpg")
    assert item.source_version == f"{status.st_size}-{status.st_mtime_ns}"
    assert (item.sequence, item.camera, item.timestamp_ns, item.attributes) == (None,) * 3 + ({},)
    os.utime(item.path, ns=(1, 2))
    assert items(tmp_path)[0].source_version == "1-2"


def test_ids_do_not_depend_on_where_and_how_the_pool_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "pool/a/1.jpg")
    monkeypatch.chdir(tmp_path / "pool")
    names = [".", "../pool", "../pool/", str(tmp_path / "pool"), "./a/.."]
    assert {tuple(ids(name)) for name in names} == {("a/1.jpg",)}
    assert {items(name)[0].uri for name in names} == {str(tmp_path / "pool/a/1.jpg")}


def test_symlinked_folders_are_not_followed_and_symlinked_images_are(tmp_path: Path) -> None:
    touch(tmp_path, "pool/a/1.jpg", "elsewhere/2.jpg")
    (tmp_path / "pool/a/loop").symlink_to(tmp_path / "pool")
    (tmp_path / "pool/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "pool/link.jpg").symlink_to(tmp_path / "elsewhere/2.jpg")
    (tmp_path / "pool/folder.jpg").symlink_to(tmp_path / "elsewhere")
    assert ids(tmp_path / "pool") == ["a/1.jpg", "link.jpg"]
    assert ids(f"{tmp_path}/pool/**/*.jpg") == ["a/1.jpg", "link.jpg"]


def test_a_symlink_may_be_the_pool_itself(tmp_path: Path) -> None:
    touch(tmp_path, "pool/1.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "pool")
    assert ids(tmp_path / "link") == ["1.jpg"]


def test_what_is_no_regular_file_is_a_failed_item(tmp_path: Path) -> None:
    touch(tmp_path, "b.jpg")
    os.mkfifo(tmp_path / "a.jpg")
    (tmp_path / "c.jpg").symlink_to("nowhere")
    first, second, third = open_pool(tmp_path)
    assert isinstance(first, FailedItem)
    assert (first.item.id, first.error_code, first.error) == ("a.jpg", "io", "not a regular file")
    assert isinstance(second, PoolItem)
    assert isinstance(third, FailedItem)
    assert (third.item.id, third.error_code) == ("c.jpg", "io")
    assert "No such file" in third.error


def test_a_folder_without_permission_is_a_failed_item(public_tmp: Path) -> None:
    touch(public_tmp, "a/1.jpg", "locked/2.jpg", "z/3.jpg")
    (public_tmp / "locked").chmod(0)
    with without_privileges():
        entries = list(open_pool(public_tmp))
        assert count_pool(public_tmp) == 3
    (public_tmp / "locked").chmod(0o755)
    assert [type(entry) for entry in entries] == [PoolItem, FailedItem, PoolItem]
    failed = entries[1]
    assert isinstance(failed, FailedItem)
    assert (failed.item.id, failed.error_code) == ("locked/", "io")
    assert failed.error == "cannot list the folder: Permission denied"
    assert failed.item.uri == f"{public_tmp}/locked/"


def test_a_link_to_a_hidden_place_fails_alone(public_tmp: Path) -> None:
    touch(public_tmp, "locked/1.jpg", "pool/2.jpg")
    for name in ("pool/1.jpg", "pool/notes"):
        (public_tmp / name).symlink_to(public_tmp / "locked/1.jpg")
    (public_tmp / "locked").chmod(0)
    with without_privileges():
        first, second = open_pool(public_tmp / "pool")
    (public_tmp / "locked").chmod(0o755)
    assert isinstance(first, FailedItem)
    assert (first.item.id, first.error_code) == ("1.jpg", "io")
    assert isinstance(second, PoolItem)


def test_a_pool_without_permission_is_a_failed_item_of_its_name(public_tmp: Path) -> None:
    (public_tmp / "pool").mkdir(mode=0)
    with without_privileges():
        (entry,) = open_pool(public_tmp / "pool")
    assert isinstance(entry, FailedItem)
    assert entry.item.id == "pool/"


def test_very_deep_folders_do_not_end_the_listing(tmp_path: Path) -> None:
    touch(tmp_path, "z.jpg")
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):  # deeper than Python recurses; below, the path is too long for the system
        os.mkdir("dddd", dir_fd=here)
        below = os.open("dddd", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    entries = list(open_pool(tmp_path))
    subprocess.run(
        ["rm", "-r", tmp_path / "dddd"], check=True
    )  # too deep for pytest's own cleaning
    deep, last = entries
    assert isinstance(deep, FailedItem)
    assert "File name too long" in deep.error
    assert isinstance(last, PoolItem)


def test_memory_does_not_grow_with_the_number_of_folders(tmp_path: Path) -> None:
    def peak(folders: int) -> int:
        root = tmp_path / str(folders)
        touch(root, *(f"{i:04}/{j}.jpg" for i in range(folders) for j in range(20)))
        tracemalloc.start()
        assert sum(1 for _ in open_pool(root)) == 20 * folders
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    few, many = peak(10), peak(100)
    assert many - few < 90 * 200  # the names of the folders, not those of 1800 images


# --- globs


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["top.jpg"]),
        ("*/*.jpg", ["a/1.jpg", "b/1.jpg"]),
        ("a/*", ["1.jpg", "2.png"]),
        ("a/**", ["1.jpg", "2.png", "deep/er/3.jpg"]),
        ("**/*.jpg", ["a/1.jpg", "a/deep/er/3.jpg", "b/1.jpg", "top.jpg"]),
        ("**/**/1.jpg", ["a/1.jpg", "b/1.jpg"]),
        ("**/deep/**/*.jpg", ["a/deep/er/3.jpg"]),
        ("[ab]/?.jpg", ["a/1.jpg", "b/1.jpg"]),
        ("[!a]/1.jpg", ["b/1.jpg"]),
        ("./a/./*.png", ["2.png"]),
        ("**", ["a/1.jpg", "a/2.png", "a/deep/er/3.jpg", "b/1.jpg", "top.jpg"]),
    ],
)
def test_globs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, expected: list[str]
) -> None:
    touch(tmp_path, "top.jpg", "a/1.jpg", "a/2.png", "a/deep/er/3.jpg", "b/1.jpg", "b/notes.txt")
    assert ids(f"{tmp_path}/{pattern}") == expected
    monkeypatch.chdir(tmp_path)
    assert ids(pattern) == expected


def test_an_existing_name_with_wildcards_is_no_glob(tmp_path: Path) -> None:
    touch(tmp_path, "a[1].jpg", "a1.jpg", "run*/2.jpg", "run/3.jpg")
    assert ids(tmp_path / "a[1].jpg") == ["a[1].jpg"]
    assert ids(tmp_path / "run*") == ["2.jpg"]


def test_a_glob_does_not_look_where_nothing_can_match(public_tmp: Path) -> None:
    touch(public_tmp, "left/1.jpg", "secret/2.jpg")
    (public_tmp / "secret").chmod(0)
    with without_privileges():
        found = ids(f"{public_tmp}/l*/*.jpg")
    (public_tmp / "secret").chmod(0o755)
    assert found == ["left/1.jpg"]


# --- several sources


def test_single_images_are_called_by_their_name(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "b/2.PNG")
    assert ids(tmp_path / "a/1.jpg", tmp_path / "b/2.PNG") == ["1.jpg", "2.PNG"]


def test_sources_that_give_one_id_are_refused_with_both_names(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "b/1.jpg", "b/2.jpg")
    stream = open_pool([tmp_path / "a", tmp_path / "b"])
    assert isinstance(next(stream), PoolItem)
    with pytest.raises(PoolError, match="common parent") as caught:
        next(stream)
    for part in ("/a'", "/b'", "'1.jpg'"):
        assert part in str(caught.value)
    with pytest.raises(PoolError, match="common parent"):
        count_pool([tmp_path / "a", tmp_path / "b"])
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
        open_pool([tmp_path / "1.jpg", tmp_path / name])


def test_a_pool_without_images_is_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    touch(tmp_path, "movie.mp4")
    for source in (tmp_path, f"{tmp_path}/*.jpg"):
        with pytest.raises(PoolError, match=r"no image found .*\.jpeg.*\.webp"):
            open_pool(source)
        with pytest.raises(PoolError, match="no image found"):
            count_pool(source)


def test_a_file_of_unknown_kind_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "movie.mp4")
    with pytest.raises(PoolError, match="neither a folder, an image"):
        open_pool(tmp_path / "movie.mp4")


def test_no_source_and_dots_behind_wildcards_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no pool"):
        open_pool([])
    with pytest.raises(PoolError, match=r"'\.\.' cannot follow"):
        open_pool(f"{tmp_path}/*/../x.jpg")


def test_an_empty_name_is_not_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "1.jpg")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PoolError, match="empty"):
        open_pool("")


@pytest.mark.parametrize("names", [("a", "a/"), ("a", "a/b"), ("a/b", "c", "a"), ("a", "link")])
def test_folders_that_overlap_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    touch(tmp_path, "a/1.jpg", "a/b/2.jpg", "ab/3.jpg", "c/4.jpg")
    (tmp_path / "link").symlink_to("a/b")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PoolError, match=r"overlap, .*: name 'a' alone"):
        open_pool(names)
    assert ids("a", "ab", "c") == ["1.jpg", "b/2.jpg", "3.jpg", "4.jpg"]


def test_the_contact_sheet_of_an_earlier_run_is_no_image_of_the_pool(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "out/previews.jpg", "out/2.jpg", "mine/previews.jpg")
    touch(tmp_path, "out/selection.json", "out/runs/0-of-1.json")
    assert ids(tmp_path) == ["1.jpg", "mine/previews.jpg", "out/2.jpg"]
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
    first, second, third = open_pool(manifest)
    assert isinstance(first, PoolItem)
    assert (first.id, first.sequence, first.camera) == ("first", "drive", "front")
    assert (first.timestamp_ns, first.attributes) == (12, {"weather": "rain"})
    assert first.path == str(tmp_path / "img/1.jpg")
    assert isinstance(second, PoolItem)
    assert (second.id, second.sequence, second.attributes) == ("img/2.jpg", None, {})
    assert isinstance(third, FailedItem)
    assert (third.item.id, third.error_code) == ("img/gone.jpg", "io")


def test_a_manifest_that_names_an_id_twice_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "2.jpg")
    manifest = tmp_path / "list.txt"
    manifest.write_text("1.jpg\n2.jpg\n./1.jpg\n")
    assert count_pool([tmp_path / "2.jpg"]) == 1
    with pytest.raises(PoolError, match=r"'1\.jpg' twice"):
        count_pool(manifest)


def test_a_malformed_manifest_is_refused_before_work_if_its_head_is(tmp_path: Path) -> None:
    manifest = tmp_path / "list.csv"
    manifest.write_text("file\n1.jpg\n")
    with pytest.raises(PoolError, match="needs a column 'uri'"):
        open_pool([tmp_path, manifest])


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
        open_pool(tmp_path, sequence_from=pattern)


# --- shards


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


def test_shards_of_a_pool_are_disjoint_and_complete(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{i}.jpg" for i in range(60)))
    parts = [ids(tmp_path, shard=Shard(index, 3)) for index in range(3)]
    assert sorted(itertools.chain(*parts)) == sorted(ids(tmp_path))
    assert [count_pool(tmp_path, shard=Shard(index, 3)) for index in range(3)] == [*map(len, parts)]


def test_a_shard_may_be_empty_where_the_pool_is_not(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg")
    assert sum(len(ids(tmp_path, shard=Shard(index, 5))) for index in range(5)) == 1


def test_parse_shard() -> None:
    assert parse_shard("2/4") == Shard(2, 4)
    assert str(Shard(2, 4)) == "2/4"
    for text in ("4/4", "5/4", "0/0"):
        with pytest.raises(UsageError, match="counts from 0"):
            parse_shard(text)
    for text in ("", "1", "a/b", "-1/4", "1/4/2", "1/ 4", "٣/٤"):
        with pytest.raises(UsageError, match="i/n"):
            parse_shard(text)
