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
from contextlib import contextmanager
from pathlib import Path

from deal.errors import OutputError
from deal.machine.files import lock
from deal.pool.ids import Shard

__all__ = ["OutputLock"]


class OutputLock:
    """The right to write one shard of an output folder.

    Raises
    ------
    OutputError
        Another process writes this shard, writes other settings, or splits the pool otherwise.
    """

    def __init__(self, root: Path, shard: Shard, fingerprint: str) -> None:
        self._root = root
        self._path = root / f"_lock-{shard.index}-of-{shard.count}"
        with self.exclusive():
            for path in sorted(root.glob("_lock-*")):
                self._check_other(path, shard, fingerprint)
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            lock(file, root, wait=False)
            holder = {
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "count": shard.count,
                "fingerprint": fingerprint,
            }
            os.pwrite(file, json.dumps(holder).encode(), 0)
            self._file: int | None = file

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold ``_lock``: nobody else joins, leaves or rewrites parts meanwhile."""
        file = os.open(self._root / "_lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            lock(file, self._root, wait=True)
            yield
        finally:
            os.close(file)

    def release(self) -> None:
        """Give the shard back; a second time does nothing."""
        if self._file is not None:
            with self.exclusive():
                self._path.unlink(missing_ok=True)
                os.close(self._file)
            self._file = None

    def _check_other(self, path: Path, shard: Shard, fingerprint: str) -> None:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            if lock(file, self._root, wait=False):
                path.unlink()  # its process is gone
                return
            holder = json.loads(os.pread(file, 4096, 0))
        finally:
            os.close(file)
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
