"""A watched folder: whole files only, each once, by their times; little work while it waits."""

from __future__ import annotations

import io
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deal.errors import PoolError, UsageError
from deal.pool.listing import Pool
from deal.rig import sources
from deal.rig.sources import Watch, outside, read_lines
from deal.types import PoolItem

LONG_AGO = 10**18


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_SCAN", 0.0)
    monkeypatch.setattr(sources, "_WAIT", 0.0)


def write(path: Path, data: bytes = b"data", time_ns: int = LONG_AGO) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, ns=(time_ns, time_ns))


def look(frames: Iterator[PoolItem | None]) -> list[str]:
    """Ids that one look at the folder finds."""
    found = []
    while (item := next(frames)) is not None:
        found.append(item.id)
    return found


def test_files_are_told_once_when_they_are_whole(tmp_path):
    write(tmp_path / "b.jpg", time_ns=LONG_AGO + 1)
    write(tmp_path / "in/a.PNG", time_ns=LONG_AGO + 2)
    write(tmp_path / "in/c.jpg", time_ns=LONG_AGO)
    write(tmp_path / "part.jpg", b"half")
    write(tmp_path / "empty.jpg", b"")
    for name in ("note.txt", ".hidden.jpg", ".folder/x.jpg", "x.jpg.tmp", "kept/frames/k.jpg"):
        write(tmp_path / name)
    frames = Watch(str(tmp_path), skip=str(tmp_path / "kept")).frames(lambda: False)
    assert look(frames) == []
    write(tmp_path / "part.jpg", b"half and more")
    assert look(frames) == ["in/c.jpg", "b.jpg", "in/a.PNG"]
    assert look(frames) == ["part.jpg"]
    (tmp_path / "x.jpg.tmp").rename(tmp_path / "x.jpg")
    write(tmp_path / "new/folder/y.jpg", time_ns=LONG_AGO - 1)
    gone = tmp_path / "gone.jpg"
    write(gone)
    assert look(frames) == []
    gone.unlink()
    assert look(frames) == ["new/folder/y.jpg", "x.jpg"]
    assert look(frames) == []


def test_items_have_the_time_of_their_files_and_sequences_of_their_names(tmp_path):
    write(tmp_path / "front/1.jpg", time_ns=LONG_AGO + 5)
    watch = Watch(str(tmp_path), sequence_from="^([a-z]+)/")
    assert watch.present() == ["front/1.jpg"]
    frames = watch.frames(lambda: False)
    found = [item for _, item in zip(range(9), frames, strict=False) if item is not None]
    assert [(i.id, i.sequence, i.timestamp_ns) for i in found] == [
        ("front/1.jpg", "front", LONG_AGO + 5)
    ]
    assert found[0].locator.read() == b"data"


def test_watching_ends_when_it_is_asked_to_and_when_nothing_comes(tmp_path, monkeypatch):
    for name in "abc":
        write(tmp_path / f"{name}.jpg")
    told: list[str] = []
    frames = Watch(str(tmp_path)).frames(lambda: len(told) == 2)
    for item in frames:
        told += [] if item is None else [item.id]
    assert told == ["a.jpg", "b.jpg"]
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    waiting = Watch(str(tmp_path)).frames(lambda: False, until_idle=30.0)
    assert look(waiting) == []
    assert look(waiting) == ["a.jpg", "b.jpg", "c.jpg"]
    clock[0] = 29.0
    assert look(waiting) == []
    clock[0] = 30.0
    assert list(waiting) == [None]  # one more look


def test_a_folder_that_does_not_change_is_not_read_again(tmp_path, monkeypatch):
    for index in range(3):
        write(tmp_path / f"d{index}/a.jpg")
        os.utime(tmp_path / f"d{index}", ns=(LONG_AGO, LONG_AGO))
    os.utime(tmp_path, ns=(LONG_AGO, LONG_AGO))
    read: list[str] = []
    scandir = os.scandir

    def counted(path: str) -> object:
        read.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", counted)
    frames = Watch(str(tmp_path)).frames(lambda: False)
    look(frames)
    assert len(read) == 4
    assert len(look(frames)) == 3
    assert len(read) == 4
    write(tmp_path / "d1/b.jpg")
    look(frames)
    assert [Path(path).name for path in read[4:]] == ["d1"]
    assert look(frames) == ["d1/b.jpg"]


def test_what_cannot_be_watched_is_refused(tmp_path):
    with pytest.raises(UsageError, match="is not a folder: --watch needs one"):
        Watch(str(tmp_path / "none"))
    with pytest.raises(UsageError, match="has no group"):
        Watch(str(tmp_path), sequence_from="a")


def test_frames_that_a_trip_keeps_are_no_new_ones(tmp_path):
    write(tmp_path / "a.jpg")
    write(tmp_path / "frames/a.jpg")
    write(tmp_path / "other/frames/b.jpg")
    frames = Watch(str(tmp_path), skip=str(tmp_path)).frames(lambda: False)
    assert look(frames) == []
    assert look(frames) == ["a.jpg", "other/frames/b.jpg"]
    assert look(frames) == []
    (tmp_path.parent / "link").symlink_to(tmp_path)
    for name in (tmp_path, tmp_path.parent / "link"):
        listed = outside([str(name)], Pool(name), str(tmp_path))
        assert [item.id for item in listed] == ["a.jpg", "other/frames/b.jpg"]
    for inner in ("frames", "frames/a.jpg"):
        with pytest.raises(UsageError, match="choose another --output"):
            outside([str(tmp_path / inner)], [], str(tmp_path))
    with pytest.raises(UsageError, match="choose another --output"):
        Watch(str(tmp_path / "frames"), skip=str(tmp_path))


def told(text: bytes, pattern: str | None = None) -> list[PoolItem | None]:
    lines = io.TextIOWrapper(io.BytesIO(text), "utf-8", "surrogateescape")
    return list(read_lines(lines, pattern=None if pattern is None else re.compile(pattern)))


def test_a_line_names_a_file_as_a_manifest_does(tmp_path):
    names = [b"plain.jpg", b"50%.jpg", b"a%25b.jpg", b"caf%C3%A9.jpg", b"\xff.jpg", b"5%.jpg"]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(name)
    uris = [bytes(tmp_path) + b"/" + name for name in names[:-1]]
    uris.append(b"file://" + bytes(tmp_path) + b"/%35%25.jpg")
    text = b"\xef\xbb\xbf" + b"".join(b'{"uri": "%s"}\r\n' % uri for uri in uris)
    found = told(text)
    assert [item.locator.read() for item in found if item is not None] == names
    (tmp_path / "all.jsonl").write_bytes(text)
    assert [item.uri for item in found if item is not None] == [
        entry.uri for entry in Pool(tmp_path / "all.jsonl") if isinstance(entry, PoolItem)
    ]


def test_the_sequence_of_a_line_is_its_own_or_read_from_its_id():
    found = told(b'{"uri": "front/1.jpg"}\n{"uri": "front/2.jpg", "sequence": "own"}\n', "^(\\w+)/")
    assert [item.sequence for item in found if item is not None] == ["front", "own"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"uri": "a.jpg", "id": "\\ud800"}', "line 2: 'id' is .*not UTF-8"),
        (b'{"uri": "a.jpg", "camera": "\\ud800"}', "line 2: 'camera' is .*not UTF-8"),
        (b'{"uri": "a\\u0000.jpg"}', "line 2: 'uri' is .*not a path"),
        (b'{"uri": "ftp://a.jpg"}', "line 2: .*neither a path nor"),
    ],
)
def test_a_line_that_names_no_file_is_an_error_with_its_number(line, message):
    with pytest.raises(PoolError, match=message):
        told(b'{"uri": "a.jpg"}\n' + line + b"\n")


def test_lines_of_a_pipe_come_as_they_are_written(tmp_path):
    read_end, write_end = os.pipe()
    with open(read_end) as file:
        items = read_lines(file)
        assert next(items) is None
        os.write(write_end, b'{"uri": "a.jpg"}\n{"uri": "b')
        assert [item and item.id for item in (next(items), next(items))] == ["a.jpg", None]
        os.write(write_end, b'.jpg", "camera": "front"}')
        os.close(write_end)
        rest = [item for item in items if item is not None]
    assert [(item.id, item.camera) for item in rest] == [("b.jpg", "front")]
    ended: list[bool] = [True]
    read_end, write_end = os.pipe()
    with open(read_end) as file:
        assert list(read_lines(file, lambda: bool(ended))) == []
    os.close(write_end)
