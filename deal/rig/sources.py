"""Frames that come while the command runs: JSON lines on a pipe, and files in a watched folder."""

# Names may be millions and need not be UTF-8: plain strings, not Path objects.
# ruff: noqa: PTH118, PTH120

from __future__ import annotations

import json
import os
import re
import select
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from io import UnsupportedOperation
from typing import IO, NamedTuple

from deal.errors import PoolError, UsageError
from deal.pool.formats import IMAGE_SUFFIXES
from deal.pool.ids import id_to_path, path_to_id, sequence_pattern
from deal.pool.locator import LocalFile, locate
from deal.pool.manifest import path_of_uri
from deal.pool.schemes import is_remote
from deal.types import FailedItem, PoolItem

__all__ = ["Watch", "outside", "read_lines"]

_KEYS = {"uri": str, "id": str, "sequence": str, "camera": str, "timestamp_ns": int}
_WAIT = 0.1  # seconds between looks at whether to end
_SCAN = 1.0  # seconds between looks at a folder
# A folder that changed so shortly before it was read may have changed once more, unnoticed.
_UNSURE_NS = 2 * 10**9


def read_lines(
    file: IO[str],
    ended: Callable[[], bool] = lambda: False,
    *,
    pattern: re.Pattern[str] | None = None,
) -> Iterator[PoolItem | None]:
    """Read frames from JSON, one object per line; None where none has come for a moment.

    ``uri`` is what it is in a manifest, a path from the current folder; ``id`` (by default the
    uri), ``timestamp_ns``, ``sequence`` and ``camera`` may be there.

    Parameters
    ----------
    file : text file
    ended : callable
        Asked again and again; True ends the frames.
    pattern : re.Pattern, optional
        Tells the sequence from the id, for frames that have none.

    Raises
    ------
    PoolError
        A line is not such an object.
    """
    number = 0
    for line in _lines(file, ended):
        if line is None:
            yield None
            continue
        number += 1
        line = line.removeprefix("\ufeff") if number == 1 else line
        if line.strip():
            item = _item(line, number)
            if pattern is not None and item.sequence is None:
                match = pattern.search(item.id)
                item = item if match is None else replace(item, sequence=match[1])
            yield item


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
    except (ValueError, RecursionError) as error:
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
    try:
        path = path_of_uri(given["uri"])
        for name in ("id", "sequence", "camera"):
            if not _is_utf8(given.get(name) or ""):
                raise ValueError(f"{name!r} is {given[name]!r}, which is not UTF-8")
        if not -(2**63) <= (given.get("timestamp_ns") or 0) < 2**63:
            raise ValueError(f"'timestamp_ns' is {given['timestamp_ns']}, not a 64-bit integer")
    except ValueError as error:
        raise PoolError(f"line {number}: {error}") from None
    uri = path if is_remote(path) else path_to_id(path)
    return PoolItem(
        id=given.get("id") or uri,
        uri=uri,
        locator=locate(uri),
        source_version="",
        sequence=given.get("sequence"),
        camera=given.get("camera"),
        timestamp_ns=given.get("timestamp_ns"),
    )


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Seen(NamedTuple):
    size: int
    mtime_ns: int


def outside(
    sources: Sequence[str], items: Iterable[PoolItem | FailedItem], output: str
) -> Iterator[PoolItem | FailedItem]:
    """The items of a pool, without the frames that are kept in an output below it.

    Raises
    ------
    UsageError
        A source lies within the frames of the output; raised by the call.
    """
    own = _frames_of(output)
    for source in sources:
        _refuse_own(source, own)
    return (entry for entry in items if not _lies_in(own, _folder_of(entry)))


def _folder_of(entry: PoolItem | FailedItem) -> str:
    item = entry.item if isinstance(entry, FailedItem) else entry
    return _real(os.path.dirname(id_to_path(item.uri)))


@lru_cache(maxsize=256)
def _real(folder: str) -> str:
    return os.path.realpath(folder)


def _frames_of(output: str) -> str:
    return os.path.realpath(os.path.join(output, "frames"))


def _lies_in(folder: str, path: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def _refuse_own(source: str, own: str) -> None:
    """Raise UsageError for a source of frames that are those which a trip keeps."""
    if _lies_in(own, os.path.realpath(source)):
        raise UsageError(
            f"{source} is where --output keeps its frames: choose another --output, which may lie "
            "below the folder that frames come from"
        )


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
        The output, whose frames are left out.
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
        self._skip: set[str] = set()
        if skip is not None:
            self._skip = {os.path.realpath(skip), _frames_of(skip)}
            _refuse_own(folder, _frames_of(skip))
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
                    if os.path.realpath(entry.path) not in self._skip:
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
