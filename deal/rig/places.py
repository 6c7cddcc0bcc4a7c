"""Names of the sequences and cameras that a journal knows by their hashes: one JSON per line."""

from __future__ import annotations

import json
import os
from pathlib import Path

__all__ = ["Place", "Places"]

Place = tuple[str | None, str | None]
"""Sequence and camera."""


class Places:
    """An append-only file of names.

    Parameters
    ----------
    path : Path
        Made with the first name. A torn line at its end is written over.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names: dict[tuple[int, int], Place] = {}
        self._size = 0
        self._waiting: list[bytes] = []
        data = path.read_bytes() if path.exists() else b""
        for line in data.splitlines(keepends=True):
            try:
                given = json.loads(line)
                key = (given["hashes"][0], given["hashes"][1])
                self._names[key] = (given["sequence"], given["camera"])
            except (ValueError, LookupError, TypeError):
                break
            if not line.endswith(b"\n"):
                break
            self._size += len(line)

    def add(self, hashes: tuple[int, int], place: Place) -> None:
        """Name what the journal knows by these hashes; :meth:`sync` writes it."""
        if hashes not in self._names:
            self._names[hashes] = place
            row = {"hashes": hashes, "sequence": place[0], "camera": place[1]}
            self._waiting.append(json.dumps(row).encode() + b"\n")

    def of(self, hashes: tuple[int, int]) -> Place:
        """The sequence and camera; None for what is not known."""
        return self._names.get(hashes, (None, None))

    def sync(self) -> None:
        """Write new names, and wait until they are on disk; raises OSError."""
        if not self._waiting:
            return
        data = b"".join(self._waiting)
        with open(self._path, "r+b" if self._path.exists() else "wb") as file:
            file.truncate(self._size)
            file.seek(self._size)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self._size += len(data)
        self._waiting.clear()
