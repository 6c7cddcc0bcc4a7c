"""Frames that come while the command runs: JSON lines on a pipe, and files in a watched folder."""

# Names may be millions and need not be UTF-8: plain strings, not Path objects.
# ruff: noqa: PTH118

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Callable, Iterator
from io import UnsupportedOperation
from typing import IO, NamedTuple

from deal.errors import PoolError, UsageError
from deal.pool.formats import IMAGE_SUFFIXES
from deal.pool.ids import path_to_id, sequence_pattern
from deal.pool.locator import LocalFile, locate
from deal.types import PoolItem

__all__ = ["Watch", "read_lines"]

_KEYS = {"uri": str, "id": str, "sequence": str, "camera": str, "timestamp_ns": int}
_WAIT = 0.1  # seconds between looks at whether to end
_SCAN = 1.0  # seconds between looks at a folder
# A folder that changed so shortly before it was read may have changed once more, unnoticed.
_UNSURE_NS = 2 * 10**9


def read_lines(
    file: IO[str], ended: Callable[[], bool] = lambda: False
) -> Iterator[PoolItem | None]:
    """Read frames from JSON, one object per line; None where none has come for a moment.

    ``uri`` is a path; ``id`` (by default the uri), ``timestamp_ns``, ``sequence`` and ``camera``
    may be there.

    Parameters
    ----------
    file : text file
    ended : callable
        Asked again and again; True ends the frames.

    Raises
    ------
    PoolError
        A line is not such an object.
    """
    for number, line in enumerate(_lines(file, ended), 1):
        if line is None:
            yield None
        elif line.strip():
            yield _item(line, number)


def _lines(file: IO[str], ended: Callable[[], bool]) -> Iterator[str | None]:
    try:
        descriptor = file.fileno()
    except (UnsupportedOperation, OSError):
        yield from file
        return
    rest = b""
    while not ended():
        if not select.select([descriptor], [], [], _WAIT)[0]:
            yield None
            continue
        data = os.read(descriptor, 1 << 16)
        *lines, rest = (rest + data).split(b"\n")
        if not data and rest:
            lines.append(rest)
        yield from (line.decode("utf-8", "surrogateescape") for line in lines)
        if not data:
            return


def _item(line: str, number: int) -> PoolItem:
    try:
        given = json.loads(line)
    except ValueError as error:
        raise PoolError(f"line {number} is not JSON ({error}): write one object per line") from None
    wrong = (
        [
            name
            for name, kind in _KEYS.items()
            if given.get(name) is not None and type(given[name]) is not kind
        ]
        if isinstance(given, dict)
        else ["the line"]
    )
    if wrong or not given.get("uri"):
        raise PoolError(
            f"line {number}: {wrong[0] if wrong else 'uri'} is missing or of another type: "
            'write {"uri": "a.jpg", "timestamp_ns": 1700000000000000000}'
        )
    uri = given["uri"]
    return PoolItem(
        id=given.get("id") or uri,
        uri=uri,
        locator=locate(uri),
        source_version="",
        sequence=given.get("sequence"),
        camera=given.get("camera"),
        timestamp_ns=given.get("timestamp_ns"),
    )


class _Seen(NamedTuple):
    size: int
    mtime_ns: int


class Watch:
    """Images as they come into a folder and the folders in it; each is told once.

    A file that is still being written is left alone: it is read when its size and its time have
    not changed from one look to the next, a second later. Better, write it under another name
    (``.tmp``, or with a dot in front) and rename it. The time of a frame is that of the last change
    of its file. Frames that come between two looks go by their times, then by their ids.

    Parameters
    ----------
    folder : str
    skip : str, optional
        A folder that is left out: that of the output.
    sequence_from : str, optional
        As of `deal.select`.

    Raises
    ------
    UsageError
        The folder is none, or the expression is wrong.
    """

    def __init__(
        self, folder: str, *, skip: str | None = None, sequence_from: str | None = None
    ) -> None:
        if not os.path.isdir(folder):  # noqa: PTH112
            raise UsageError(f"{folder} is not a folder: --watch needs one, which may be empty")
        self._root = folder
        self._skip = None if skip is None else os.path.realpath(skip)
        self._pattern = None if sequence_from is None else sequence_pattern(sequence_from)
        self._folders: dict[str, tuple[int, list[str]]] = {}  # time of change, folders within
        self._told: set[str] = set()
        self._open: dict[str, _Seen | None] = {}  # files that may still change
        self._changing = False

    def present(self) -> list[str]:
        """Ids of the files that are there now."""
        self._look("")
        return [path_to_id(name) for name in self._open]

    def frames(
        self, ended: Callable[[], bool], until_idle: float | None = None
    ) -> Iterator[PoolItem | None]:
        """Yield frames until it is to end; None after each look, and while nothing comes.

        Parameters
        ----------
        ended : callable
            Asked ten times per second.
        until_idle : float, optional
            Seconds without a new frame after which it ends.
        """
        latest = time.monotonic()
        while not ended():
            looked = time.monotonic()
            ready = self._ready()
            if ready or self._changing:
                latest = looked
            for item in ready:
                yield item
                if ended():
                    return
            yield None
            if until_idle is not None and looked - latest >= until_idle:
                return
            while time.monotonic() - looked < _SCAN and not ended():
                time.sleep(_WAIT)
                yield None

    def _ready(self) -> list[PoolItem]:
        """Files that have not changed since the last look."""
        self._look("")
        self._changing = False
        found: list[tuple[int, str]] = []
        for name, before in list(self._open.items()):
            try:
                status = os.stat(os.path.join(self._root, name))  # noqa: PTH116
            except OSError:  # it has gone again
                del self._open[name]
                continue
            now = _Seen(status.st_size, status.st_mtime_ns)
            self._open[name] = now
            self._changing |= now != before
            if now == before and now.size > 0:
                found.append((now.mtime_ns, name))
        for _, name in found:
            del self._open[name]
            self._told.add(name)
        return [self._item(name, mtime) for mtime, name in sorted(found)]

    def _look(self, folder: str) -> None:
        """Note new files of a folder and those within; what has not changed is not read."""
        path = os.path.join(self._root, folder)
        try:
            changed = os.stat(path).st_mtime_ns  # noqa: PTH116
            known = self._folders.get(folder)
            if known is None or known[0] != changed:
                sure = time.time_ns() - changed > _UNSURE_NS
                self._folders[folder] = (changed if sure else -1, self._read(folder, path))
        except OSError:  # it has gone again
            self._folders.pop(folder, None)
            return
        for inner in self._folders[folder][1]:
            self._look(inner)

    def _read(self, folder: str, path: str) -> list[str]:
        inner = []
        with os.scandir(path) as entries:
            for entry in entries:
                name = folder + entry.name
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    if self._skip != os.path.realpath(entry.path):
                        inner.append(name + "/")
                elif entry.name.lower().endswith(IMAGE_SUFFIXES) and name not in self._told:
                    self._open.setdefault(name, None)
        return sorted(inner)

    def _item(self, name: str, mtime: int) -> PoolItem:
        path, shown = os.path.join(self._root, name), path_to_id(name)
        match = None if self._pattern is None else self._pattern.search(shown)
        return PoolItem(
            id=shown,
            uri=path_to_id(path),
            locator=LocalFile(path),
            source_version="",
            sequence=None if match is None else match[1],
            timestamp_ns=mtime,
        )
