"""An object in a store as a file that can be read anywhere, a request per read."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from deal.pool.remote import RemoteObject

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["RemoteFile"]


class RemoteFile(io.RawIOBase):
    """Reads ranges of one version of an object.

    Parameters
    ----------
    found : RemoteObject
        With its tag and size.
    block : int
        Bytes that a request gets at least; the latest are kept, for readers of small pieces.

    Notes
    -----
    Reading raises ItemError (``io``), also where the object has changed.
    """

    def __init__(self, found: RemoteObject, block: int = 0) -> None:
        super().__init__()
        self._object = found.found()
        self._place = 0
        self._block = block
        self._kept = (0, b"")

    @property
    def size(self) -> int:
        """Bytes of the object."""
        return self._object.size or 0

    def at(self, start: int, length: int) -> bytes:
        """Bytes from a place on; fewer only at the end."""
        length = min(length, max(self.size - start, 0))
        first, data = self._kept
        if length and not first <= start <= start + length <= first + len(data):
            wanted = min(max(length, self._block), self.size - start)
            first, data = start, self._object.read_range(start, wanted)
            if self._block:
                self._kept = first, data
        return data[start - first : start - first + length] if length else b""

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
        starts = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.size}
        self._place = starts[whence] + offset
        return self._place

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill a buffer; fewer bytes only at the end."""
        view = memoryview(buffer).cast("B")
        data = self.at(self._place, len(view))
        view[: len(data)] = data
        self._place += len(data)
        return len(data)
