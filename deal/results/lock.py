"""Locks of an output folder: one process a shard, and one at a time for changes to the folder.

``_lock`` is held for moments, while a process joins, leaves or rewrites parts; ``_lock-0-of-4`` as
long as the process runs that writes shard 0/4. The kernel frees both when their process ends,
however it ends.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from deal.errors import OutputError
from deal.machine.files import lock, writing
from deal.pool.ids import Shard
from deal.pool.remote_path import RemotePath

__all__ = ["OutputLock", "changing_alone"]


@contextmanager
def changing_alone(root: Path) -> Iterator[None]:
    """Keep every run from an output folder; OutputError if one is writing it.

    In a store nothing is kept out.
    """
    with _exclusive(root):
        locks = [] if isinstance(root, RemotePath) else sorted(root.glob("_lock-*"))
        for path in locks:
            with writing(root):
                holder = _living(path, root)
            if holder is not None:
                raise OutputError(
                    f"{root} is in use by process {holder['pid']} on {holder['host']}; wait for it "
                    "or stop it"
                )
        yield


@contextmanager
def _exclusive(root: Path) -> Iterator[None]:
    if isinstance(root, RemotePath):
        yield
        return
    with writing(root):
        file = os.open(root / "_lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        with writing(root):
            lock(file, root, wait=True)
        yield
    finally:
        os.close(file)


class OutputLock:
    """The right to write one shard of an output folder.

    Object storage has no locks and needs none: parts have unique names, a part that is rewritten
    must still be what was read, and ``results.json`` keeps other settings out.

    Raises
    ------
    OutputError
        Another process writes this shard, writes other settings, or splits the pool otherwise.
    """

    def __init__(self, root: Path, shard: Shard, fingerprint: str) -> None:
        self._root = root
        self._path = root / f"_lock-{shard.index}-of-{shard.count}"
        self._file: int | None = None
        if isinstance(root, RemotePath):
            return
        with self.exclusive(), writing(root):
            for path in sorted(root.glob("_lock-*")):
                self._check_other(path, shard, fingerprint)
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                lock(file, root, wait=False)
                holder = {
                    "pid": os.getpid(),
                    "host": socket.gethostname(),
                    "count": shard.count,
                    "fingerprint": fingerprint,
                }
                os.pwrite(file, json.dumps(holder).encode(), 0)
            except BaseException:
                os.close(file)  # or the lock outlives the error, and this process locks itself out
                raise
            self._file = file

    def exclusive(self) -> AbstractContextManager[None]:
        """Hold ``_lock``: nobody else joins, leaves or rewrites parts meanwhile; OutputError."""
        return _exclusive(self._root)

    def release(self) -> None:
        """Give the shard back; a second time does nothing. It never fails.

        Where the file of the lock cannot be removed it stays, unlocked, and goes with the next
        process that joins.
        """
        file, self._file = self._file, None
        if file is None:
            return
        try:
            with suppress(OSError, OutputError), self.exclusive():
                self._path.unlink(missing_ok=True)
        finally:
            os.close(file)

    def _check_other(self, path: Path, shard: Shard, fingerprint: str) -> None:
        holder = _living(path, self._root)
        if holder is None:
            return
        who = f"{self._root} is in use by process {holder['pid']} on {holder['host']}"
        if path == self._path:
            raise OutputError(f"{who}; wait for it, stop it, or choose another --output")
        if holder["fingerprint"] != fingerprint:
            raise OutputError(f"{who} with other settings; choose another --output")
        if holder["count"] != shard.count:
            raise OutputError(
                f"{who}, which splits the pool into {holder['count']} shards, not {shard.count}; "
                "use the same --shard …/n for all, or choose another --output"
            )


def _living(path: Path, root: Path) -> dict[str, Any] | None:
    """Who holds a lock; None, and the file is gone, if its process is."""
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        if lock(file, root, wait=False):
            path.unlink()
            return None
        return _holder(os.pread(file, 4096, 0))
    finally:
        os.close(file)


def _holder(text: bytes) -> dict[str, Any]:
    """What a process wrote into its lock; unknown where it could not, or has only begun."""
    unknown = dict.fromkeys(("pid", "host", "count", "fingerprint"), "(unknown)")
    try:
        found = json.loads(text)
    except ValueError:
        return unknown
    return unknown | found if isinstance(found, dict) else unknown
