"""The file that images lie in: on this machine, or an object in a store."""

# Names may be millions and need not be UTF-8: plain strings, not Path objects.
# ruff: noqa: PTH113, PTH116

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from deal.errors import ItemError
from deal.pool.ids import path_to_id
from deal.pool.remote import RemoteObject
from deal.pool.remote_file import RemoteFile
from deal.pool.schemes import is_remote

__all__ = ["Parent", "exists", "stamp_of"]

_BLOCK = 2**22  # bytes of a request; at 30 ms each 130 MB/s


@dataclass(frozen=True, slots=True)
class Parent:
    """The file that images lie in, as it was when it was listed.

    Attributes
    ----------
    path : str
        In ``os.fsdecode`` form.
    stamp : str
        ``<size>-<mtime_ns>``, or ``<size>-<etag>`` of an object in a store.
    endpoint : str, optional
        ``--endpoint-url``.
    """

    path: str
    stamp: str
    endpoint: str | None = None

    @classmethod
    def of(cls, path: str, endpoint: str | None = None) -> Parent:
        """A file as it is now; ItemError (``io``) for what is not a regular file."""
        return cls(path, stamp_of(path, endpoint), endpoint)

    @property
    def is_far(self) -> bool:
        """Whether it lies in a store."""
        return is_remote(self.path)

    @property
    def shown(self) -> str:
        """Its path as ids and errors show it."""
        return self.path if self.is_far else path_to_id(self.path)

    def object(self) -> RemoteObject:
        """That of a store, in this version."""
        return RemoteObject.of_version(self.path, self.endpoint, self.stamp)

    def open(self) -> BinaryIO:
        """Open it, of a store in this version; OSError, or ItemError (``io``)."""
        if self.is_far:
            return io.BufferedReader(RemoteFile(self.object(), block=_BLOCK))
        return open(self.path, "rb")

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The open file; ItemError (``io``) if it cannot be read or is another one by now."""
        if self.is_far:  # each request names the version that it wants
            yield self.open()
            return
        try:
            with open(self.path, "rb") as file:
                if _stamp(os.fstat(file.fileno())) != self.stamp:
                    raise ItemError(
                        "io", "the file it lies in has changed since: run the same command again"
                    )
                yield file
        except OSError as error:
            raise ItemError("io", f"cannot read the file it lies in: {error.strerror}") from error


def exists(path: str) -> bool:
    """Whether a file may be there: of a store that is told when it is read."""
    return is_remote(path) or os.path.isfile(path)


def stamp_of(path: str, endpoint: str | None = None) -> str:
    """``<size>-<mtime_ns>``, in a store ``<size>-<etag>``; ItemError (``io``) if it is no file."""
    if is_remote(path):
        return RemoteObject(path, endpoint).version()
    try:
        status = os.stat(path)
    except OSError as error:
        raise ItemError("io", f"cannot read the file: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise ItemError("io", "not a regular file")
    return _stamp(status)


def _stamp(status: os.stat_result) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}"
