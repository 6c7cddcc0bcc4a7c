"""Folders of results in object storage, used as those on this machine are.

Results are read and written through `pathlib.Path`. A :class:`RemotePath` is one whose methods ask
a store: so the code of an output is the same for both. What has no meaning in a store (locks,
links, permissions, ``os`` calls by name) fails loudly instead of touching a local file.
"""

from __future__ import annotations

import errno
import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path, PosixPath
from typing import Any, BinaryIO

from deal.errors import PoolError, UsageError
from deal.pool.schemes import STORES, WEB, refuse_scheme, scheme_of
from deal.pool.stores import RequestError, get_obstore, obstore_or_remedy, open_store, translated

__all__ = ["RemotePath", "is_in_store", "place"]


def is_in_store(source: str | os.PathLike[str]) -> bool:
    """Whether results lie, or are to lie, in object storage."""
    return isinstance(source, RemotePath) or (
        isinstance(source, str) and "://" in source and scheme_of(source) in STORES
    )


def place(
    source: str | os.PathLike[str], endpoint_url: str | None = None, what: str = "the folder"
) -> Path:
    """Where results lie: a path on this machine, or one in object storage.

    Parameters
    ----------
    source : path
        Such as ``out`` or ``s3://bucket/out/`` (gs, az).
    endpoint_url : str, optional
        Where a store of your own speaks S3; by default what the environment says.
    what : str
        What errors call it.

    Raises
    ------
    UsageError
        It is an address that results cannot lie at, or the library for stores is missing.
    """
    if isinstance(source, RemotePath):
        return source
    if not isinstance(source, str) or not is_in_store(source):
        remedy = "give a folder, or one in object storage: s3://bucket/out (gs, az)"
        if scheme_of(source) in STORES:
            remedy = "give it as text, with two slashes: pathlib makes one of them"
        elif scheme_of(source) in WEB:
            remedy = "web servers store nothing; give a folder, or s3://bucket/out (gs, az)"
        refuse_scheme(source, what, remedy)
        return Path(source)
    scheme, _, rest = source.partition("://")
    parts = [part for part in rest.split("/") if part]
    if not parts or ".." in parts or "." in parts or re.search(r"[?#*\[]", rest):
        raise UsageError(f"{what} {source!r} names no folder in a store: s3://bucket/out")
    try:
        obstore_or_remedy()
    except PoolError as error:
        raise UsageError(f"{what} {source!r}: {error}") from error
    return RemotePath(f"{scheme}://{'/'.join(parts)}", endpoint_url)


class RemotePath(PosixPath):
    """A folder or an object in a store.

    Parameters
    ----------
    uri : str
        ``s3://bucket/key``, without a slash at the end.
    endpoint : str, optional
        ``--endpoint-url``.
    size : int, optional
        Bytes, where a listing told them.

    Notes
    -----
    Requests that fail raise OSError; those that may succeed later are repeated by the library.
    """

    _uri: str
    _endpoint: str | None
    _size: int | None

    def __new__(cls, uri: str, endpoint: str | None = None, size: int | None = None) -> RemotePath:
        """Make one."""
        self = super().__new__(cls, _posix(uri))
        self._uri, self._endpoint, self._size = uri, endpoint, size
        return self

    def __init__(self, uri: str, endpoint: str | None = None, size: int | None = None) -> None:
        if sys.version_info >= (3, 12):  # before, a path was made by __new__ alone
            super().__init__(_posix(uri))

    def __str__(self) -> str:
        return self._uri

    def __repr__(self) -> str:
        return f"RemotePath({self._uri!r})"

    def __fspath__(self) -> str:
        raise TypeError(f"{self._uri} lies in object storage, and is no file on this machine")

    def __reduce__(self) -> Any:
        return RemotePath, (self._uri, self._endpoint, self._size)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and other._uri == self._uri

    def __hash__(self) -> int:
        return hash(self._uri)

    def __lt__(self, other: Any) -> bool:
        return str(self) < str(other)

    def __truediv__(self, key: Any) -> RemotePath:
        return RemotePath(f"{self._uri}/{key}", self._endpoint)

    @property
    def parent(self) -> RemotePath:
        """The folder that it lies in."""
        return RemotePath(self._uri.rpartition("/")[0], self._endpoint)

    def with_name(self, name: str) -> RemotePath:
        """What lies beside it under another name."""
        return self.parent / name

    def resolve(self, strict: bool = False) -> RemotePath:
        """Itself."""
        return self

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing: a store has no folders."""

    def exists(self, **_: Any) -> bool:
        """Whether there is an object of this name."""
        try:
            self._meta()
        except FileNotFoundError:
            return False
        return True

    is_file = exists

    def is_dir(self, **_: Any) -> bool:
        """Whether there is an object below it."""
        return next(self._below(), None) is not None

    def stat(self, **_: Any) -> os.stat_result:
        """Its size; nothing else of it is known."""
        size = self._meta()["size"] if self._size is None else self._size
        return os.stat_result((0o100644, 0, 0, 1, 0, 0, size, 0, 0, 0))

    def glob(self, pattern: str, **_: Any) -> Iterator[RemotePath]:  # type: ignore[override]
        """What matches; only the last part of the pattern may be one."""
        folder, _slash, name = pattern.rpartition("/")
        start = self / folder if folder else self
        literal = re.split(r"[*?[]", name)[0]
        for meta in start._below(literal):
            found = meta["path"].removeprefix(f"{start._key}/" if start._key else "")
            if "/" not in found and fnmatchcase(found, name):
                yield RemotePath(f"{start._uri}/{found}", self._endpoint, meta["size"])

    def rglob(self, pattern: str, **_: Any) -> Iterator[RemotePath]:  # type: ignore[override]
        """Objects below it whose names match."""
        for meta in self._below():
            found = meta["path"].removeprefix(f"{self._key}/" if self._key else "")
            if fnmatchcase(found.rpartition("/")[2], pattern):
                yield RemotePath(f"{self._uri}/{found}", self._endpoint, meta["size"])

    def iterdir(self) -> Iterator[RemotePath]:  # type: ignore[override]
        """Objects that lie directly below it."""
        return self.glob("*")

    def read_bytes(self) -> bytes:
        """The whole object."""
        return self.read_tagged()[0]

    def read_tagged(self) -> tuple[bytes, dict[str, str]]:
        """The whole object, and what tells its version to :meth:`write_bytes`."""
        with self._asking() as (store, key):
            reply = get_obstore().get(store, key)
            return bytes(reply.bytes()), _tag(reply.meta)

    def read_range(self, start: int, length: int, tag: dict[str, str]) -> bytes:
        """Bytes of the version that has a tag."""
        with self._asking() as (store, key):
            options: dict[str, Any] = {"range": (start, start + length)}
            if "e_tag" in tag:
                options["if_match"] = tag["e_tag"]
            return bytes(get_obstore().get(store, key, options=options).bytes())

    def tagged(self) -> tuple[int, dict[str, str]]:
        """Its size and tag."""
        meta = self._meta()
        return meta["size"], _tag(meta)

    def read_text(self, encoding: str | None = None, errors: str | None = None, **_: Any) -> str:
        """The whole object as text."""
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")

    def open(self, mode: str = "r", *_: Any, **options: Any) -> Any:
        """The whole object, in memory, for reading."""
        data = io.BytesIO(self.read_bytes())
        if "b" in mode:
            return data
        return io.TextIOWrapper(data, options.get("encoding") or "utf-8")

    def write_bytes(self, data: Any, *, tag: dict[str, str] | None = None) -> int:
        """Put an object in its place; with a tag only if it still has it, else FileExistsError."""
        with self._asking() as (store, key):
            get_obstore().put(store, key, data, mode=tag or "overwrite")
        return len(data)

    def create(self, data: bytes) -> None:
        """Put an object where there is none; FileExistsError where there is one."""
        with self._asking() as (store, key):
            get_obstore().put(store, key, data, mode="create")

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete it, there or not."""
        with self._asking() as (store, key):
            get_obstore().delete(store, key)

    def rename(self, target: Any) -> RemotePath:
        """Copy it, and delete it."""
        with self._asking() as (store, key):
            get_obstore().copy(store, key, target._key)
            get_obstore().delete(store, key)
        return RemotePath(str(target), self._endpoint)

    @contextmanager
    def replacing(self, tag: dict[str, str] | None = None) -> Iterator[BinaryIO]:
        """A file in memory that is put into the store when the block ends; OSError."""
        file = io.BytesIO()
        yield file
        self.write_bytes(file.getvalue(), tag=tag)

    @property
    def _key(self) -> str:
        return self._uri.partition("://")[2].partition("/")[2]

    def _meta(self) -> dict[str, Any]:
        with self._asking() as (store, key):
            found: dict[str, Any] = get_obstore().head(store, key)
        return found

    def _below(self, start: str = "") -> Iterator[dict[str, Any]]:
        """Objects whose names begin with that of this folder, and then with some letters."""
        with self._asking() as (store, key):
            # Stores list by whole names of folders, so letters are compared here.
            prefix = f"{key}/" if key else None
            for page in get_obstore().list(store, prefix=prefix, chunk_size=1000):
                for meta in page:
                    if meta["path"].startswith((prefix or "") + start):
                        yield meta

    @contextmanager
    def _asking(self) -> Iterator[tuple[Any, str]]:
        """The store and the key; OSError, with what to do, for whatever goes wrong."""
        scheme, _, rest = self._uri.partition("://")
        bucket, _, key = rest.partition("/")
        try:
            with translated():
                yield open_store(f"{scheme}://{bucket}/", self._endpoint, True), key
        except RequestError as error:
            cause = error.__cause__
            if isinstance(cause, FileNotFoundError):
                raise FileNotFoundError(errno.ENOENT, error.reason, self._uri) from error
            if type(cause).__name__ in ("AlreadyExistsError", "PreconditionError"):
                reason = "another process changed it meanwhile: run the same command again"
                raise FileExistsError(errno.EEXIST, reason, self._uri) from error
            remedy = "check the address, --endpoint-url, the region and the credentials (AWS_…, …)"
            raise OSError(errno.EIO, f"{error.reason}; {remedy}", self._uri) from error


def _posix(uri: str) -> str:
    return "/" + uri.partition("://")[2]


def _tag(meta: Any) -> dict[str, str]:
    return {name: meta[name] for name in ("e_tag", "version") if meta.get(name)}
