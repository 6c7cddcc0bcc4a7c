"""Disks that lose what was not synced, and disks that are full, for what records into a folder."""

from __future__ import annotations

import builtins
import errno
import os
import random
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from deal.rig import files, journal, places

__all__ = ["PowerCuts", "full_disk", "synced_never"]


@contextmanager
def synced_never() -> Iterator[None]:
    """Nothing waits for the disk, for tests that cut and change what is written by themselves."""
    with mock.patch.object(os, "fsync", return_value=None):
        yield


class PowerCuts:
    """Knows what is on disk below a folder, and makes folders as power cuts may leave them.

    What was synced is certain: the content of a file, and the names in a folder. Of what was
    written, renamed, made and removed since, each may have reached the disk or not.

    Parameters
    ----------
    root : Path
        Watched; it has to be there already.
    hold : Path
        A folder on the same disk, for files that are removed but may come back.
    at_sync : callable
        Called before and after every sync.
    """

    def __init__(self, root: Path, hold: Path, at_sync: Callable[[], None]) -> None:
        self._root, self._hold, self._at_sync = root, hold, at_sync
        self._content: dict[int, bytes] = {}
        self._names: dict[Path, dict[str, int]] = {root: {}}
        self._sync = os.fsync

    @contextmanager
    def watching(self) -> Iterator[None]:
        with mock.patch.object(os, "fsync", self._synced):
            yield

    def _synced(self, file: int) -> None:
        path = Path(f"/proc/self/fd/{file}").readlink()
        if not path.is_relative_to(self._root):
            return
        self._at_sync()
        status = os.fstat(file)
        if stat.S_ISDIR(status.st_mode):
            self._names[path] = {entry.name: entry.inode() for entry in os.scandir(path)}
        else:
            held = self._hold / str(status.st_ino)
            if not held.exists():  # so that no other file gets its number
                os.link(path, held)
            self._content[status.st_ino] = path.read_bytes()
        self._at_sync()

    def image(self, to: Path, rng: random.Random | None = None) -> Path:
        """A folder after a power cut now: without what was not synced, or with some of it."""
        self._copy(self._root, to, rng)
        return to

    def _copy(self, folder: Path, to: Path, rng: random.Random | None) -> None:
        to.mkdir()
        certain = self._names.get(folder, {})
        now = {e.name: e.inode() for e in os.scandir(folder)} if folder.exists() else {}
        for name in sorted(certain.keys() | now.keys()):
            before, after = certain.get(name), now.get(name)
            inode = after if rng is not None and rng.random() < 0.5 else before
            if inode is None:
                continue
            if folder / name in self._names or (folder / name).is_dir():
                self._copy(folder / name, to / name, rng)
                continue
            data = self._content.get(inode, b"")
            if rng is not None and inode == after:
                written = (folder / name).read_bytes()
                # What is appended may be cut; what was synced before it stays.
                least = len(data) if written.startswith(data) else 0
                data = written[: rng.randint(least, len(written))]
            (to / name).write_bytes(data)


class _Failing:
    """A file whose writes may take half of the data, and then fail."""

    def __init__(self, file: Any, step: Callable[[], bool]) -> None:
        self._file, self._step = file, step

    def write(self, data: bytes) -> int:
        if self._step():
            self._file.write(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return int(self._file.write(data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _Failing:
        return self

    def __exit__(self, *what: object) -> None:
        self._file.close()


@contextmanager
def full_disk(fails: Callable[[int], bool]) -> Iterator[list[str]]:
    """The calls that change a folder, of which those fail for whose number ``fails`` is true.

    Yields the names of the calls that failed.
    """
    count = 0
    failed: list[str] = []

    def step(name: str) -> bool:
        nonlocal count
        count += 1
        if fails(count - 1):
            failed.append(name)
            return True
        return False

    def guarded(name: str) -> Callable[..., Any]:
        call = getattr(os, name)

        def run(*arguments: Any, **options: Any) -> Any:
            if step(name):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return call(*arguments, **options)

        return run

    def opened(file: Any, mode: str = "r", *more: Any, **options: Any) -> Any:
        found = builtins.open(file, mode, *more, **options)  # noqa: SIM115
        writes = any(letter in mode for letter in "wa+")
        return _Failing(found, lambda: step("write")) if writes else found

    with mock.patch.multiple(os, **{n: guarded(n) for n in ("fsync", "replace", "mkdir")}):
        patches = [
            mock.patch.object(m, "open", opened, create=True) for m in (files, journal, places)
        ]
        for patch in patches:
            patch.start()
        try:
            yield failed
        finally:
            for patch in patches:
                patch.stop()
