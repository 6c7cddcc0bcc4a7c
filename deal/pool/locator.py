"""Where an image lies, and how it is read: a file of its own, or something inside another one.

Everything that reads images reads them through a locator: the run, previews, masks, and whoever
opens stored images again by the columns ``uri`` and ``source_version`` (:func:`locate`,
:func:`read_uri`, :func:`read_file`).
"""

# Names may be millions and need not be UTF-8: plain strings, not Path objects.
# ruff: noqa: PTH116

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from deal.errors import ItemError
from deal.pool.ids import id_to_path
from deal.types import MAX_PIXELS, Decoded, Locator

__all__ = ["LocalFile", "check_size", "locate", "read_file", "read_uri"]


@dataclass(frozen=True, slots=True)
class LocalFile:
    """An image file on this machine.

    Attributes
    ----------
    path : str
        What ``open`` takes (``os.fsdecode`` form, surrogates stand for undecodable bytes).
    """

    path: str

    def version(self) -> str:
        """``<size>-<mtime_ns>``; ItemError (``io``) for what is not a regular file."""
        try:
            status = os.stat(self.path)
        except OSError as error:
            raise ItemError("io", f"cannot read the file: {error.strerror}") from error
        if not stat.S_ISREG(status.st_mode):
            raise ItemError("io", "not a regular file")
        return f"{status.st_size}-{status.st_mtime_ns}"

    def read(self, max_pixels: int = MAX_PIXELS) -> bytes:
        """See `Locator`."""
        try:
            with open(self.path, "rb") as file:
                check_size(os.fstat(file.fileno()).st_size, max_pixels)
                return file.read()
        except OSError as error:
            raise ItemError("io", f"cannot read the file: {error.strerror}") from error


def check_size(size: int, max_pixels: int) -> None:
    """Raise ItemError (``too_large``) for a file that holds more than such an image can."""
    # no supported format needs more than four 32-bit channels a pixel
    if size > 16 * max_pixels + 2**20:
        raise ItemError(
            "too_large",
            f"{size} bytes, more than {max_pixels} pixels fill; --max-pixels allows more",
        )


def locate(uri: str, version: str = "") -> Locator:
    """The locator of a stored image, from its columns ``uri`` and ``source_version``.

    Parameters
    ----------
    uri : str
    version : str
        Finds an image inside a large file without searching it; not needed, and no harm if the
        file has changed since.
    """
    return LocalFile(id_to_path(uri))


def read_uri(uri: str, version: str = "", *, max_pixels: int = MAX_PIXELS) -> bytes | Decoded:
    """Read a stored image: the bytes of its file, or the pixels of a frame that has none.

    Raises
    ------
    ItemError
        ``io``: it cannot be read; ``too_large``; ``decode`` for frames.
    """
    locator = locate(uri, version)
    locator.version()  # refuses pipes and devices, whose reading may never end
    return locator.read(max_pixels)


def read_file(uri: str, version: str = "", *, max_pixels: int = MAX_PIXELS) -> bytes:
    """Read a stored image as the bytes of an image file; a frame that has none becomes a PNG.

    Raises ItemError as :func:`read_uri` does.
    """
    data = read_uri(uri, version, max_pixels=max_pixels)
    if isinstance(data, bytes):
        return data
    file = BytesIO()
    Image.fromarray(data.image).save(file, format="PNG", compress_level=3)
    return file.getvalue()
