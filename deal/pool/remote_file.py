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

    Notes
    -----
    Reading raises ItemError (``io``), also where the object has changed.
    """

    def __init__(self, found: RemoteObject) -> None:
        super().__init__()
        self._object = found.found()
        self._place = 0

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
        starts = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._object.size or 0}
        self._place = starts[whence] + offset
        return self._place

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill a buffer; fewer bytes only at the end."""
        view = memoryview(buffer).cast("B")
        length = min(len(view), max((self._object.size or 0) - self._place, 0))
        if length:
            data = self._object.read_range(self._place, length)
            view[: len(data)] = data
            length = len(data)
            self._place += length
        return length
