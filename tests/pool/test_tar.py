"""Tar archives, as ``tar`` and ``tarfile`` make them and as they arrive when they are damaged."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deal.errors import PoolError
from deal.pool.listing import Pool
from deal.pool.locator import read_file, read_uri
from deal.pool.saving import write_manifest
from deal.types import FailedItem, PoolItem
from tests.helpers.pools import ids

LONG = "a-folder-with-a-long-name/" * 6 + "frame.jpg"


def content(name: str) -> bytes:
    return name.encode() * 100


def add(archive: tarfile.TarFile, name: str, data: bytes | None = None, **fields: object) -> None:
    info = tarfile.TarInfo(name)
    data = content(name) if data is None else data
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    archive.addfile(info, io.BytesIO(data))


def archive(path: Path, *names: str, **options: object) -> Path:
    with tarfile.open(path, "w", **options) as file:
        for name in names:
            add(file, name)
    return path


def listed(*sources: str | Path) -> dict[str, PoolItem | FailedItem]:
    entries = list(Pool(sources))
    found = {(e.item if isinstance(e, FailedItem) else e).id: e for e in entries}
    assert len(found) == len(entries)
    return found


def reasons(*sources: str | Path) -> dict[str, str]:
    return {i: e.error for i, e in listed(*sources).items() if isinstance(e, FailedItem)}


def test_archives_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    paths = []
    for day in ("day1", "day2"):
        (tmp_path / day).mkdir()
        paths.append(archive(tmp_path / day / "trip.tar", "a.png"))
    with pytest.raises(PoolError, match=r"by one glob or in braces, as '\{day1,day2\}/trip\.tar'"):
        listed(*paths)
    for name in ("{day1,day2}/trip.tar", "*/trip.tar"):
        assert list(listed(tmp_path / name)) == ["day1/trip.tar/a.png", "day2/trip.tar/a.png"]


@pytest.mark.parametrize("kind", ["v7", "ustar", "oldgnu", "gnu", "pax"])
def test_members_of_gnu_tar_are_read_where_they_lie(tmp_path: Path, kind: str) -> None:
    names = ["b/2.jpg", "a/1.PNG", "a/sp ace%41.webp", "a/notes.txt"]
    names += [] if kind in ("v7", "ustar") else [LONG, os.fsdecode(b"a/\xff.jpg"), "a/ü.jpg"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(os.fsencode(name) * 50)
    shard = tmp_path / "shard-000.tar"
    subprocess.run(["tar", f"--format={kind}", "-cf", shard, *names], cwd=tmp_path, check=True)
    pool = Pool(shard)
    found = list(pool)
    assert pool.count() == len(found) == len(names) - 1
    for item in found:
        assert isinstance(item, PoolItem)
        inner = item.id.removeprefix("shard-000.tar/")
        raw = inner.replace("%FF", "\udcff")
        assert item.locator.read() == (tmp_path / raw).read_bytes()
        assert item.uri == f"{shard}/{inner}"
        assert item.source_version == item.locator.version()
    assert {item.id for item in found} >= {"shard-000.tar/b/2.jpg", "shard-000.tar/a/1.PNG"}


def test_names_of_several_shards_come_in_braces_and_globs(tmp_path: Path) -> None:
    for number in ("08", "09", "10"):
        archive(tmp_path / f"s-{number}.tar", "1.jpg")
    expected = ["s-08.tar/1.jpg", "s-09.tar/1.jpg", "s-10.tar/1.jpg"]
    assert ids(f"{tmp_path}/s-{{08..10}}.tar") == expected
    assert ids(f"{tmp_path}/s-{{08,10}}.tar") == [expected[0], expected[2]]
    assert ids(f"{tmp_path}/*.tar") == expected
    assert ids(f"{tmp_path.parent}/**/s-0?.tar") == [f"{tmp_path.name}/{e}" for e in expected[:2]]
    with pytest.raises(PoolError, match=r"names 5 files, of which 2 do not exist, .*s-11\.tar"):
        iter(Pool(f"{tmp_path}/s-{{08..12}}.tar"))
    (tmp_path / "0.jpg").write_bytes(b"x")
    pool = Pool(tmp_path)
    assert [entry.id for entry in pool] == ["0.jpg"]  # read only if they are named
    assert pool.notes() == ["passed over: 3 .tar (read if you name them, such as 'FOLDER/*.tar')"]


def test_braces_of_a_name_that_exists_are_part_of_it(tmp_path: Path) -> None:
    assert ids(archive(tmp_path / "{0..9}.tar", "1.jpg")) == ["{0..9}.tar/1.jpg"]


def test_a_json_beside_an_image_describes_it(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as file:
        own = {"weather": "rain", "sequence": "d1", "camera": "front", "timestamp_ns": 5, "n": [1]}
        add(file, "1.json", json.dumps(own).encode())  # before the image
        add(file, "1.jpg")
        add(file, "2.left.jpg")
        add(file, "2.json", b'{"weather": "sun"}')  # the key of WebDataset ends at the first dot
        add(file, "3.jpg")
        add(file, "3.json", b"[1]")
    pool = Pool(tmp_path / "s.tar")
    one, two, three = pool
    assert isinstance(one, PoolItem)
    assert (one.sequence, one.camera, one.timestamp_ns) == ("d1", "front", 5)
    assert one.attributes == {"weather": "rain", "n": "[1]"}
    assert isinstance(two, PoolItem)
    assert two.attributes == {"weather": "sun"}
    assert isinstance(three, PoolItem)
    assert three.attributes == {}
    assert any("1 .json files" in note for note in pool.notes())


@pytest.mark.parametrize(
    "said", [{"ID": 5}, {"URI": "q"}, {"timestamp_ns": "1.5"}, {"Sequence": "a", "sequence": "b"}]
)
def test_a_saved_manifest_leaves_out_what_it_would_take_for_a_column_of_its_own(
    tmp_path: Path, said: dict[str, object]
) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as file:
        add(file, "1.jpg")
        add(file, "1.json", json.dumps({"weather": "rain", **said}).encode())
    (item,) = pool = Pool(tmp_path / "s.tar")
    assert isinstance(item, PoolItem)
    (note,) = write_manifest(str(tmp_path / "s.jsonl"), pool)
    assert f"left out {next(iter(said))!r}" in note
    (again,) = Pool(tmp_path / "s.jsonl")
    assert isinstance(again, PoolItem)
    assert (again.id, again.uri, again.source_version) == (item.id, item.uri, item.source_version)
    assert (again.sequence, again.attributes) == (item.sequence, {"weather": "rain"})


def test_hostile_members_are_rows_with_reasons(tmp_path: Path) -> None:
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as file:
        add(file, "../../escaped.jpg")
        add(file, "/etc/absolute.jpg")
        add(file, "./ok.jpg")
        add(file, "link.jpg", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(file, "hard.jpg", b"", type=tarfile.LNKTYPE, linkname="./ok.jpg")
        add(file, "lost.jpg", b"", type=tarfile.LNKTYPE, linkname="/etc/passwd")
        add(file, "pipe.jpg", b"", type=tarfile.FIFOTYPE)
        add(file, "._ok.jpg")
        add(file, "nested.tar")
    found = listed(path)
    items = {name: entry for name, entry in found.items() if isinstance(entry, PoolItem)}
    assert list(items) == ["s.tar/ok.jpg", "s.tar/hard.jpg"]
    assert all(item.locator.read() == content("./ok.jpg") for item in items.values())
    failed = reasons(path)
    assert len(failed) == 5
    assert not any(".." in name or "//" in name for name in failed)
    texts = "\n".join(failed.values())
    for word in ("leaves the archive", "is absolute", "symbolic", "hard link", "regular file"):
        assert word in texts


def test_a_folder_may_be_called_as_an_image_is(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        add(file, "scan.png", b"", type=tarfile.DIRTYPE)
        add(file, "scan.png/1.png", b"1")
    assert list(listed(tmp_path / "a.tar")) == ["a.tar/scan.png/1.png"]


def test_a_sparse_member_is_told_from_a_whole_one(tmp_path: Path) -> None:
    with (tmp_path / "hole.jpg").open("wb") as file:
        file.truncate(2**20)
        file.seek(2**19)
        file.write(b"x" * 4096)
    (tmp_path / "a.jpg").write_bytes(b"a")
    for kind in ("gnu", "pax"):
        command = ["tar", f"--format={kind}", "-S", "-cf", f"{kind}.tar", "hole.jpg", "a.jpg"]
        subprocess.run(command, cwd=tmp_path, check=True)
        found = listed(tmp_path / f"{kind}.tar")
        assert list(reasons(tmp_path / f"{kind}.tar")) == [f"{kind}.tar/hole.jpg"]
        item = found[f"{kind}.tar/a.jpg"]
        assert isinstance(item, PoolItem)
        assert item.locator.read() == b"a"


def test_of_duplicate_names_the_last_counts_as_tar_extracts_it(tmp_path: Path) -> None:
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w") as file:
        add(file, "1.jpg", b"first")
        add(file, "2.jpg")
        add(file, "./1.jpg", b"second")
    found = listed(path)
    item = found["s.tar/1.jpg"]
    assert isinstance(item, PoolItem)
    assert item.locator.read() == read_uri(item.uri) == b"second"
    (reason,) = reasons(path).values()
    assert "again further on" in reason
    assert len(found) == 3


def test_a_second_archive_behind_the_first_is_read_too(tmp_path: Path) -> None:
    one, two = archive(tmp_path / "1.tar", "1.jpg"), archive(tmp_path / "2.tar", "2.jpg")
    both = tmp_path / "both.tar"
    both.write_bytes(one.read_bytes() + two.read_bytes())
    assert ids(both) == ["both.tar/1.jpg", "both.tar/2.jpg"]
    both.write_bytes(one.read_bytes() + b"garbage" * 1000)
    assert ids(both) == ["both.tar/1.jpg"]


@given(st.integers(1, 40 * 512))
@settings(max_examples=60, deadline=None)
def test_a_truncated_archive_loses_no_whole_member_and_tells(
    tmp_path_factory: pytest.TempPathFactory, length: int
) -> None:
    folder = tmp_path_factory.mktemp("tar")
    names = [f"{i}.jpg" for i in range(10)]
    whole = archive(folder / "whole.tar", *names).read_bytes()
    assert len(content("0.jpg")) == 500
    step = 1024  # a header, and the content in a block
    cut = folder / "cut.tar"
    cut.write_bytes(whole[:length])
    pool = Pool(cut)
    entries = list(pool)
    readable = [e.id for e in entries if isinstance(e, PoolItem)]
    kept = sum(1 for i in range(10) if i * step + 512 + 500 <= length)
    assert readable == [f"cut.tar/{i}.jpg" for i in range(kept)]
    between = length % step == 0 or (length - 512) % step >= 500
    ends = length >= 10 * step + 512
    assert len(entries) > len(readable) or between or ends
    if between and not ends and length < 10 * step and len(entries) == len(readable):
        assert any("no end mark" in note for note in pool.notes())


def test_members_behind_a_damaged_header_are_found_and_the_damage_is_told(tmp_path: Path) -> None:
    path = archive(tmp_path / "s.tar", *(f"{i}.jpg" for i in range(5)))
    data = bytearray(path.read_bytes())
    data[1024 + 100] ^= 0xFF  # in the header of 1.jpg
    path.write_bytes(data)
    found = listed(path)
    readable = [name for name, entry in found.items() if isinstance(entry, PoolItem)]
    assert readable == [f"s.tar/{i}.jpg" for i in (0, 2, 3, 4)]
    assert reasons(path) == {
        "s.tar/@1024": "the archive is damaged at byte 1024: 1024 bytes are passed over, and "
        "members in them are lost"
    }


@pytest.mark.parametrize("data", [b"", b"x" * 2000, b"\0" * 4096, b"PK\3\4" + b"z" * 600])
def test_what_is_no_archive_is_a_row_beside_others(tmp_path: Path, data: bytes) -> None:
    archive(tmp_path / "1.tar", "1.jpg")
    (tmp_path / "2.tar").write_bytes(data)
    found = listed(f"{tmp_path}/*.tar")
    assert isinstance(found["1.tar/1.jpg"], PoolItem)
    assert [*reasons(f"{tmp_path}/*.tar")] == ([] if data.startswith(b"\0") else ["2.tar/"])


@pytest.mark.parametrize(
    ("mode", "suffix", "program"),
    [("w:gz", ".tar.gz", "gunzip"), ("w:gz", ".tgz", "gunzip"), ("w:xz", ".tar", "unxz")],
)
def test_a_compressed_archive_is_refused_with_the_remedy(
    tmp_path: Path, mode: str, suffix: str, program: str
) -> None:
    path = tmp_path / f"s{suffix}"
    with tarfile.open(path, mode) as file:
        add(file, "1.jpg")
    for source in (path, f"{tmp_path}/*{suffix}"):
        if suffix == ".tar" and source != path:
            assert program in reasons(source)["s.tar/"]
            continue
        with pytest.raises(PoolError, match=f"packed archive.*{program}"):
            iter(Pool(source))


@pytest.mark.parametrize(
    ("name", "start", "program"),
    [
        ("s.zip", b"", "unzip s.zip -d FOLDER, and name that folder"),
        ("two words.ZIP", b"", "unzip 'two words.ZIP' -d FOLDER"),
        ("s.7z", b"", "7z x s.7z"),
        ("s.rar", b"", "unrar x s.rar"),
        ("s", b"PK\x03\x04", "unzip s -d FOLDER"),
        ("s.tar", b"PK\x03\x04", "unzip s.tar -d FOLDER"),
        ("s.csv.gz", b"\x1f\x8b", "gunzip s.csv.gz"),
    ],
)
def test_other_archives_are_refused_with_the_remedy(
    tmp_path: Path, name: str, start: bytes, program: str
) -> None:
    (tmp_path / name).write_bytes(start)
    with pytest.raises(PoolError, match=f"packed archive.*unpack it once with {program}"):
        iter(Pool(tmp_path / name))


def test_formats_that_are_zip_archives_inside_are_not_to_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "s.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(PoolError, match="neither a folder, an image"):
        iter(Pool(tmp_path / "s.npz"))


def test_archives_in_a_folder_are_told_as_passed_over(tmp_path: Path) -> None:
    for name in ("a.zip", "b.ZIP", "c.tar.gz"):
        (tmp_path / name).write_bytes(b"")
    words = r"no image found.*passed over: 1 \.tar\.gz \(unpack them once\), 2 \.zip \(unpack"
    with pytest.raises(PoolError, match=words):
        iter(Pool(tmp_path))


def test_a_stored_member_is_found_again_with_and_without_its_version(tmp_path: Path) -> None:
    path = archive(tmp_path / "s.tar", "a/1.jpg", LONG)
    for item in list(Pool(path)):
        assert isinstance(item, PoolItem)
        expected = item.locator.read()
        assert read_uri(item.uri) == expected
        assert read_uri(item.uri, item.source_version + "+segments") == expected
        assert read_uri(item.uri, "1-2-3") == read_file(item.uri) == expected


def test_an_archive_that_changes_while_it_is_read_gives_no_wrong_bytes(tmp_path: Path) -> None:
    path = archive(tmp_path / "s.tar", "1.jpg", "2.jpg")
    first, _ = list(Pool(path))
    assert isinstance(first, PoolItem)
    archive(path, "0.jpg", "1.jpg", "2.jpg")
    with pytest.raises(Exception, match="has changed since"):
        first.locator.read()
    assert read_uri(first.uri, first.source_version) == content("1.jpg")  # found anew
    archive(path, "2.jpg", "3.jpg")
    with pytest.raises(Exception, match="no longer holds it"):
        read_uri(first.uri, first.source_version)
