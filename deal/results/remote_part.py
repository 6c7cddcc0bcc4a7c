"""A part in object storage as a file: small ones whole, of large ones only what is asked for."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from deal.pool.remote_path import RemotePath

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["RemotePart"]

_WHOLE = 1 << 22  # bytes; a request costs as much as a few megabytes of transfer
_KEPT = 8


class RemotePart(io.RawIOBase):
    """Ranges of one version of an object; the latest ones are kept, since they are read twice.

    Checksums read a column's chunk as a whole, and Parquet then its pages.
    """

    def __init__(self, path: RemotePath, size: int, tag: dict[str, str]) -> None:
        super().__init__()
        self._path, self._size, self._tag = path, size, tag
        self._place = 0
        self._kept: list[tuple[int, bytes]] = []

    @classmethod
    def opened(cls, path: RemotePath) -> tuple[bytes | RemotePart, dict[str, str]]:
        """A part, and what tells its version; raises OSError."""
        if path.stat().st_size <= _WHOLE:
            return path.read_tagged()
        size, tag = path.tagged()
        return cls(path, size, tag), tag

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go somewhere, without a request."""
        self._place = {0: 0, 1: self._place, 2: self._size}[whence] + offset
        return self._place

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill a buffer; fewer bytes only at the end."""
        view = memoryview(buffer).cast("B")
        length = min(len(view), max(self._size - self._place, 0))
        view[:length] = self._range(self._place, length)
        self._place += length
        return length

    def _range(self, start: int, length: int) -> bytes:
        if not length:
            return b""
        for at, data in self._kept:
            if at <= start and start + length <= at + len(data):
                return data[start - at : start - at + length]
        data = self._path.read_range(start, length, self._tag)
        self._kept = [(start, data), *self._kept[: _KEPT - 1]]
        return data
