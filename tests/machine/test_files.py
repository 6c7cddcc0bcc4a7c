"""Files that are written whole, what kills leave of them, and file systems without locks."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deal.errors import OutputError, UsageError
from deal.machine.files import check_not_read, lock, replacing, write_text
from deal.results.output import Output


@pytest.fixture(scope="module")
def gone() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_file_takes_the_place_of_no_pipe_or_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "page.html")
    with pytest.raises(OutputError, match="it is a pipe or a device; name a file"):
        write_text(tmp_path / "page.html", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert (tmp_path / "page.html").is_fifo()


def test_what_a_kill_left_long_ago_is_swept(tmp_path: Path, gone: int) -> None:
    old = [tmp_path / f"_selection.csv.{gone}", tmp_path / f"_selection.csv.{gone}.tmp"]
    kept = [
        tmp_path / f"_selection.csv.{os.getppid()}.tmp",  # of a process that runs
        tmp_path / f"_selection.json.{gone}.tmp",  # of another file
        tmp_path / "_selection.csv.mine",
    ]
    for path in [*old, *kept]:
        path.touch()
        os.utime(path, (0, 0))
    write_text(tmp_path / "selection.csv", "id\n")
    assert not any(path.exists() for path in old)
    assert (tmp_path / "selection.csv").read_text() == "id\n"
    assert all(path.exists() for path in kept)


def test_what_was_left_a_moment_ago_may_be_of_another_machine(tmp_path: Path, gone: int) -> None:
    young = tmp_path / f"_selection.csv.{gone}.tmp"
    young.touch()
    write_text(tmp_path / "selection.csv", "id\n")
    assert young.exists()


def test_a_file_and_its_folder_are_on_disk_before_the_block_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    monkeypatch.setattr(
        os, "fsync", lambda file: synced.append(str(Path(f"/proc/self/fd/{file}").readlink()))
    )
    with replacing(tmp_path / "a") as file:
        file.write(b"x")
    assert [Path(path).name.startswith("_a.") for path in synced] == [True, False]
    assert synced[1] == str(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_named_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OutputError, match=r"without working locks .*another file system"):
        Output.open(tmp_path, settings={}, classes=["road"])


def test_a_file_that_another_descriptor_has_locked_is_not_locked(tmp_path: Path) -> None:
    with open(tmp_path / "a", "w") as one, open(tmp_path / "a") as other:
        assert lock(one.fileno(), tmp_path, wait=False)
        assert not lock(other.fileno(), tmp_path, wait=False)


def test_an_output_is_none_of_the_files_that_are_read(tmp_path: Path) -> None:
    one, other, folder = tmp_path / "a.onnx", tmp_path / "b.onnx", tmp_path / "network"
    folder.mkdir()
    for path in (one, other, folder / "weights.bin", folder / "made.onnx"):
        path.write_bytes(b"")
    check_not_read(one, (other, None, 3, "hf:x", tmp_path / "none", "a\0b", "n" * 400, folder))
    check_not_read(folder / "made.onnx", (folder,))
    check_not_read(folder / "new.bin", (folder,))
    check_not_read(folder, (folder,))
    for output, read in ((one, str(one)), (folder / "weights.bin", folder)):
        with pytest.raises(UsageError, match="would replace what is read"):
            check_not_read(output, (other, read))
