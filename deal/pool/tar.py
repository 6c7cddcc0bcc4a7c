"""Tar archives, such as the shards of WebDataset: their members are read where they lie.

An archive is indexed by one pass over its headers; nothing is extracted. tarfile reads the headers
(GNU's long names, pax, sparse files). Unlike tarfile and tar, which stop at the first damaged
header without a word, the pass goes on at the next header that is whole, and tells what is lost.

Memory: about 200 bytes per member of the archive that is being listed.
"""

# Names may be millions and need not be UTF-8: plain strings, not Path objects.

from __future__ import annotations

import json
import os
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from io import BytesIO
from typing import Any, BinaryIO, NamedTuple

from deal.errors import ItemError
from deal.pool.formats import IMAGE_SUFFIXES, OTHER_SUFFIXES
from deal.pool.ids import id_to_path, path_to_id
from deal.pool.inside import check_size
from deal.pool.packed import unpacking
from deal.pool.parent import Parent, exists
from deal.pool.remote_file import RemoteFile
from deal.pool.schemes import is_remote
from deal.pool.walk import HIDDEN
from deal.types import MAX_PIXELS, FailedItem, PoolItem

__all__ = ["TarMember", "list_tar", "locate_in_tar", "unpacking"]

_BLOCK = 512
_CHUNK = 2**20
_LARGEST_JSON = 2**20


@dataclass(frozen=True, slots=True)
class TarMember:
    """An image in a tar archive.

    Attributes
    ----------
    parent : Parent
        The archive.
    offset, size : int
        Where its bytes lie.
    """

    parent: Parent
    offset: int
    size: int

    def version(self) -> str:
        """``<size>-<mtime_ns>-<offset>`` of the archive, as it was when it was listed."""
        return f"{self.parent.stamp}-{self.offset}"

    @property
    def far(self) -> int:
        """Bytes that come from a store; 0 on this machine."""
        return self.size if self.parent.is_far else 0

    def read(
        self, max_pixels: int = MAX_PIXELS, again: Callable[[str], object] | None = None
    ) -> bytes:
        """See `Locator` and `deal.pool.remote.RemoteObject.read`."""
        check_size(self.size, max_pixels)
        if self.parent.is_far:
            return self.parent.object().read_range(self.offset, self.size, again)
        with self.parent.opened() as file:
            data = os.pread(file.fileno(), self.size, self.offset)
        if len(data) < self.size:
            raise ItemError("io", f"the archive holds {len(data)} of its {self.size} bytes")
        return data


class _Member(NamedTuple):
    name: str
    offset: int
    size: int


@dataclass
class _Index:
    """What an archive holds.

    Attributes
    ----------
    images : dict
        By name, in the order of the archive.
    sidecars : dict
        The .json files, by name.
    lost : list of (offset, name or None, reason)
        What is no item: an image that has a name, or else something in the archive.
    passed : Counter
        As in :func:`deal.pool.walk.walk`.
    """

    images: dict[str, _Member] = field(default_factory=dict)
    sidecars: dict[str, _Member] = field(default_factory=dict)
    lost: list[tuple[int, str | None, str]] = field(default_factory=list)
    passed: Counter[str] = field(default_factory=Counter)
    has_end: bool = False


def list_tar(
    path: str,
    relative: str,
    passed: Counter[str],
    say: Callable[[str], None],
    endpoint: str | None = None,
) -> Iterator[PoolItem | FailedItem]:
    """List the images of an archive in its order, with what was lost at the end.

    Parameters
    ----------
    path : str
    relative : str
        What the ids begin with.
    passed : Counter
        Counts the members that were passed over.
    say : callable
        Called with notes for the user.
    endpoint : str, optional
        ``--endpoint-url``.
    """
    here = path if is_remote(path) else path_to_id(path)

    def failed(name: str, reason: str, version: str) -> FailedItem:
        item = PoolItem(
            path_to_id(f"{relative}/{name}"),
            f"{here}/{path_to_id(name)}",
            TarMember(Parent(path, version, endpoint), 0, 0),
            version,
        )
        return FailedItem(item, "io", reason)

    try:
        parent = Parent.of(path, endpoint)
        index = _index(parent)
    except ItemError as error:
        yield failed("", error.message, "")
        return
    shown = path_to_id(relative)
    if not index.has_end and not index.lost:
        say(f"{shown} has no end mark: it may have been cut short between two members")
    passed.update(index.passed)
    unread = 0
    with parent.open() as file:
        for member in index.images.values():
            found = TarMember(parent, member.offset, member.size)
            known: dict[str, Any] = {}
            sidecar = _sidecar(member.name, index.sidecars)
            if sidecar is not None:
                try:
                    known = _described(file, sidecar)
                except (ValueError, OSError, RecursionError):
                    unread += 1
            yield PoolItem(
                path_to_id(f"{relative}/{member.name}"),
                f"{here}/{path_to_id(member.name)}",
                found,
                found.version(),
                **known,
            )
    if unread:
        say(f"{unread} .json files beside images of {shown} are not JSON objects, and are ignored")
    for offset, name, reason in index.lost:
        yield failed(f"@{offset}" if name is None else name, reason, f"{parent.stamp}-{offset}")


def locate_in_tar(path: str, version: str, endpoint: str | None = None) -> TarMember | None:
    """The member that a stored path ``ARCHIVE/NAME`` means; None if it means none.

    ``version`` (:meth:`TarMember.version`) saves a pass over the archive where it is unchanged.

    Raises ItemError (``io``).
    """
    for match in re.finditer(r"\.tar/", path, re.IGNORECASE):
        archive, name = path[: match.end() - 1], path[match.end() :]
        if not exists(archive):
            continue
        try:
            parent = Parent.of(archive, endpoint)
        except ItemError as error:
            if error.message.startswith("404") and is_remote(archive):
                continue  # a folder of that name
            raise
        known = re.fullmatch(re.escape(parent.stamp) + r"-(\d+)", version.partition("+")[0])
        if known is not None and int(known[1]) >= _BLOCK:
            header = _header(parent, int(known[1]) - _BLOCK)
            try:
                info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
            except tarfile.HeaderError:
                pass
            else:
                return TarMember(parent, int(known[1]), info.size)
        index = _index(parent)
        name = id_to_path(name) if parent.is_far else name
        if name not in index.images:
            raise ItemError("io", f"the archive {parent.shown} no longer holds it")
        member = index.images[name]
        return TarMember(parent, member.offset, member.size)
    return None


def _header(parent: Parent, offset: int) -> bytes:
    if parent.is_far:
        return parent.object().read_range(offset, _BLOCK)
    with parent.opened() as file:
        return os.pread(file.fileno(), _BLOCK, offset)


def _at(file: BinaryIO, size: int, offset: int) -> bytes:
    raw = getattr(file, "raw", None)
    if isinstance(raw, RemoteFile):
        return raw.at(offset, size)
    return os.pread(file.fileno(), size, offset)


def _sidecar(name: str, sidecars: dict[str, _Member]) -> _Member | None:
    """The .json beside an image: of its name, or, as WebDataset has it, of what precedes a dot."""
    if not sidecars:
        return None
    folder, _, base = name.rpartition("/")
    exact = name.rpartition(".")[0] + ".json"
    key = (f"{folder}/" if folder else "") + base.partition(".")[0] + ".json"
    return sidecars.get(exact) or sidecars.get(key)


def _described(file: BinaryIO, member: _Member) -> dict[str, Any]:
    """What a .json file says of an image, as a manifest would; ValueError."""
    if member.size > _LARGEST_JSON:
        raise ValueError("too large")
    values = json.loads(_at(file, member.size, member.offset))
    if not isinstance(values, dict):
        raise ValueError("not an object")
    time = values.get("timestamp_ns")
    known: dict[str, Any] = {}
    if isinstance(time, int) and not isinstance(time, bool) and -(2**63) <= time < 2**63:
        known["timestamp_ns"] = values.pop("timestamp_ns")
    texts = {
        str(name): value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in values.items()
        if value is not None and value != ""
    }
    "".join(f"{name}{text}" for name, text in texts.items()).encode()  # ValueError: surrogates
    for name in ("sequence", "camera"):
        if name in texts:
            known[name] = texts.pop(name)
    return {**known, "attributes": texts}


@lru_cache(maxsize=16)
def _index(parent: Parent) -> _Index:
    """Index an archive; ItemError (``io``) if it is none, or cannot be read."""
    try:
        with parent.open() as file:
            index = _Index()
            size = file.seek(0, os.SEEK_END)
            if size == 0:
                raise ItemError("io", "the archive is empty: 0 bytes")
            start = _at(file, 8, 0)
            if unpacking("", start) is not None:
                remedy = unpacking(parent.path, start)
                raise ItemError("io", f"not a tar archive, but a packed one: {remedy}")
            for info, lost in _headers(file, size, index):
                if info is None:
                    index.lost.append(lost)
                else:
                    _take(index, info, size)
            return index
    except OSError as error:
        raise ItemError("io", f"cannot read the archive: {error.strerror or error}") from error


def _headers(
    file: BinaryIO, size: int, index: _Index
) -> Iterator[tuple[tarfile.TarInfo | None, tuple[int, None, str]]]:
    """Headers of all members, and what was passed over between them because it is damaged."""
    archive = tarfile.TarFile(fileobj=BytesIO(b"\0" * 2 * _BLOCK), errors="surrogateescape")
    archive.encoding, archive.fileobj = "utf-8", file
    nothing = (0, None, "")
    offset = 0
    while offset < size:
        block = _at(file, _BLOCK, offset)
        if not block.strip(b"\0"):  # the end mark; a second archive may follow, as cat makes
            offset = _after_zeros(file, offset)
            index.has_end = True
            continue
        file.seek(offset)
        archive.offset = offset
        try:
            info = tarfile.TarInfo.fromtarfile(archive)
            if info.size < 0 or archive.offset <= offset:
                raise tarfile.HeaderError("negative size")
        except (tarfile.TarError, ValueError, RecursionError, MemoryError, OverflowError) as error:
            if index.has_end and block[257:262] != b"ustar":
                return  # what follows an archive is no part of it
            following = _next_header(file, offset + _BLOCK)
            if following is None and offset == 0:
                raise ItemError("io", "not a tar archive, or damaged from its beginning") from error
            end = size if following is None else following
            yield (
                None,
                (
                    offset,
                    None,
                    f"the archive is damaged at byte {offset}: {end - offset} bytes are passed "
                    "over, and members in them are lost",
                ),
            )
            offset = end
            continue
        index.has_end = False
        yield info, nothing
        offset = archive.offset


def _take(index: _Index, info: tarfile.TarInfo, size: int) -> None:
    """Sort a member into the index."""
    if info.isdir():
        return
    parts = [part for part in info.name.split("/") if part not in ("", ".")]
    name, offset = "/".join(parts), info.offset_data
    suffix = "." + name.rpartition(".")[2].lower()
    if suffix not in (*IMAGE_SUFFIXES, ".json"):
        index.passed[suffix] += suffix in OTHER_SUFFIXES
        return
    shown = repr(path_to_id(info.name))
    if info.name.startswith("/") or ".." in parts:
        problem = "is absolute" if info.name.startswith("/") else "leaves the archive by '..'"
        if suffix != ".json":
            text = f"the name of the member {shown} {problem}: pack it under a relative name"
            index.lost.append((offset, None, text))
        return
    if any(part.startswith(".") for part in parts):
        index.passed[HIDDEN] += suffix != ".json"
        return
    reason: str | None = None
    member = _Member(name, offset, info.size)
    if info.islnk():
        target = "/".join(part for part in info.linkname.split("/") if part not in ("", "."))
        linked = index.images.get(target) or index.sidecars.get(target)
        if linked is None:
            reason = f"a hard link to {path_to_id(info.linkname)!r}, which no member before it is"
        else:
            member = linked._replace(name=name)
    elif info.issym():
        reason = "a symbolic link: pack the image itself (tar --dereference)"
    elif not info.isreg():
        reason = "not a regular file"
    elif info.issparse():
        reason = "a sparse file: pack it without --sparse"
    elif offset + info.size > size:
        reason = f"the archive ends within it: {max(size - offset, 0)} of its {info.size} bytes"
    if reason is not None:
        if suffix != ".json":
            known = name in index.images
            text = f"the member {shown} is {reason}" if known else reason
            index.lost.append((offset, None if known else name, text))
        return
    own = index.sidecars if suffix == ".json" else index.images
    earlier = own.pop(name, None)
    if earlier is not None and suffix != ".json":
        reason = f"the archive holds {shown} again further on, which counts, as for tar"
        index.lost.append((earlier.offset, None, reason))
    own[name] = member


def _after_zeros(file: BinaryIO, offset: int) -> int:
    """Offset of the next block that is not all zero; the size of the file if none is."""
    while data := _at(file, _CHUNK, offset):
        rest = data.lstrip(b"\0")
        if rest:
            return offset + (len(data) - len(rest)) // _BLOCK * _BLOCK
        offset += len(data)
    return offset


def _next_header(file: BinaryIO, offset: int) -> int | None:
    """Offset of the next block that is a whole header."""
    while data := _at(file, _CHUNK, offset):
        for match in re.finditer(b"ustar", data):
            start = match.start() - 257
            if start >= 0 and start % _BLOCK == 0:
                try:
                    tarfile.TarInfo.frombuf(data[start : start + _BLOCK], "utf-8", "replace")
                except (tarfile.TarError, ValueError):
                    continue
                return offset + start
        offset += len(data)
    return None
