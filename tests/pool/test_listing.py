"""Folders and globs as streams of items."""

from __future__ import annotations

import os
import subprocess
import tempfile
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deal.errors import PoolError
from deal.pool.listing import Pool
from deal.types import FailedItem, PoolItem
from tests.helpers.pools import ids, items, touch


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


# --- folders


def test_folders_are_searched_in_byte_order_by_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.JPG", "b/10.jpeg", "b.png", "a.webp", "c/d/e.Tiff", "c/x.bmp", "z.tif")
    touch(tmp_path, "notes.txt", "c/labels.npy", "c/jpg", ".hidden/1.jpg")
    found = ids(tmp_path)
    expected = ["a.webp", "b.png", "b/10.jpeg", "b/2.JPG", "c/d/e.Tiff"]
    assert found == [*expected, "c/x.bmp", "z.tif"]
    assert found == sorted(found, key=str.encode)


def test_a_folder_of_many_names_is_listed_in_byte_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deal.pool.walk._RUN", 3)  # names that are sorted at once
    touch(tmp_path, *(f"{i}.jpg" for i in range(17)), *(f"{i}/a.png" for i in range(17)))
    touch(tmp_path, "runs/1.jpg", "selection.json", "previews.jpg")
    found = ids(tmp_path)
    assert len(found) == 35  # without the contact sheet
    assert found == sorted(found, key=str.encode)


def test_items_carry_uri_path_and_version(tmp_path: Path) -> None:
    touch(tmp_path, "a b.jpg")
    (item,) = items(tmp_path)
    status = (tmp_path / "a b.jpg").stat()
    assert item.uri == str(tmp_path / "a b.jpg")
    assert item.source_version == f"{status.st_size}-{status.st_mtime_ns}"
    assert (item.sequence, item.camera, item.timestamp_ns, item.attributes) == (None,) * 3 + ({},)
    os.utime(item.uri, ns=(1, 2))
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
    first, second, third = Pool(tmp_path)
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
        entries = list(Pool(public_tmp))
        assert Pool(public_tmp).count() == 3
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
        first, second = Pool(public_tmp / "pool")
    (public_tmp / "locked").chmod(0o755)
    assert isinstance(first, FailedItem)
    assert (first.item.id, first.error_code) == ("1.jpg", "io")
    assert isinstance(second, PoolItem)


def test_a_pool_without_permission_is_a_failed_item_of_its_name(public_tmp: Path) -> None:
    (public_tmp / "pool").mkdir(mode=0)
    with without_privileges():
        (entry,) = Pool(public_tmp / "pool")
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
    entries = list(Pool(tmp_path))
    subprocess.run(
        ["rm", "-r", tmp_path / "dddd"], check=True
    )  # too deep for pytest's own cleaning
    deep, last = entries
    assert isinstance(deep, FailedItem)
    assert "File name too long" in deep.error
    assert isinstance(last, PoolItem)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_folders(tmp_path: Path) -> None:
    def peak(folders: int) -> int:
        root = tmp_path / str(folders)
        touch(root, *(f"{i:04}/{j}.jpg" for i in range(folders) for j in range(20)))
        tracemalloc.start()
        assert sum(1 for _ in Pool(root)) == 20 * folders
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


def test_folders_before_a_glob_are_taken_as_they_are_called(tmp_path: Path) -> None:
    for folder in ("drive [1]/a*", "drive 1/a*", "drive [1]/ab"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "x.png").write_bytes(b"")
    assert [item.id for item in Pool(tmp_path / "drive [1]/a*/*.png").listed()] == ["x.png"]
    found = Pool(tmp_path / "drive [1]/*/*.png").listed()
    assert [item.id for item in found] == ["a*/x.png", "ab/x.png"]
    assert [item.id for item in Pool(tmp_path / "drive [12]/*/*.png").listed()] == [
        "drive 1/a*/x.png"
    ]
    with pytest.raises(PoolError, match="does not exist"):
        list(Pool(tmp_path / "drive [1]/y.png"))


def test_a_glob_does_not_look_where_nothing_can_match(public_tmp: Path) -> None:
    touch(public_tmp, "left/1.jpg", "secret/2.jpg")
    (public_tmp / "secret").chmod(0)
    with without_privileges():
        found = ids(f"{public_tmp}/l*/*.jpg")
    (public_tmp / "secret").chmod(0o755)
    assert found == ["left/1.jpg"]
