"""Where an image lies, and how it is read: a file of its own, or something inside another one.

Everything that reads images reads them through a locator: the run, previews, masks, and whoever
opens stored images again by the columns ``uri`` and ``source_version`` (:func:`locate`,
:func:`read_uri`, :func:`read_file`).
"""

# Names may be millions and need not be UTF-8: plain strings, not Path objects.

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from deal.errors import ItemError
from deal.pool.formats import VIDEO_SUFFIXES
from deal.pool.ids import id_to_path
from deal.pool.inside import check_size
from deal.pool.parent import stamp_of
from deal.pool.remote import RemoteObject
from deal.pool.schemes import is_remote
from deal.types import MAX_PIXELS, Decoded, Locator

__all__ = ["LocalFile", "Stored", "lies_inside", "locate", "read_file", "read_uri"]


_INSIDE = re.compile(
    rf"\.tar/|\.parquet#|\.mcap#|({'|'.join(map(re.escape, VIDEO_SUFFIXES))})#t=", re.IGNORECASE
)


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
        return stamp_of(self.path)

    def read(self, max_pixels: int = MAX_PIXELS) -> bytes:
        """See `Locator`."""
        try:
            with open(self.path, "rb", buffering=0) as file:
                check_size(os.fstat(file.fileno()).st_size, max_pixels)
                return file.read()
        except OSError as error:
            raise ItemError("io", f"cannot read the file: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class Stored:
    """An image that results name: found when it is read."""

    uri: str
    hint: str
    endpoint: str | None = None

    def version(self) -> str:
        """See `Locator`."""
        return self.found().version()

    def read(self, max_pixels: int = MAX_PIXELS) -> bytes | Decoded:
        """See `Locator`."""
        return self.found().read(max_pixels)

    def found(self) -> Locator:
        """What it is; ItemError if the file that it lies in no longer holds it."""
        far = is_remote(self.uri)
        path = self.uri if far else id_to_path(self.uri)
        if not far and os.path.lexists(path):
            return LocalFile(path)
        from deal.pool.mcap import locate_in_mcap
        from deal.pool.parquet import locate_in_parquet
        from deal.pool.tar import locate_in_tar
        from deal.pool.video import locate_in_video

        return (
            locate_in_tar(path, self.hint, self.endpoint)
            or locate_in_parquet(path, self.endpoint)
            or locate_in_video(path, self.endpoint)
            or locate_in_mcap(path, self.endpoint)
            or (RemoteObject(path, self.endpoint) if far else LocalFile(path))
        )


def locate(uri: str, version: str = "", *, endpoint_url: str | None = None) -> Locator:
    """The locator of a stored image, from its columns ``uri`` and ``source_version``.

    Nothing is looked up before it is read.

    Parameters
    ----------
    uri : str
    version : str
        Finds an image inside a large file without searching it; not needed, and no harm if the
        file has changed since.
    endpoint_url : str, optional
        As in `Reading`.
    """
    if is_remote(uri) and not lies_inside(uri):
        return RemoteObject(uri, endpoint_url)
    return Stored(uri, version, endpoint_url)


def lies_inside(uri: str) -> bool:
    """Whether an address is that of an image inside a file, as far as can be told by its looks."""
    return _INSIDE.search(uri) is not None


def read_uri(
    uri: str,
    version: str = "",
    *,
    max_pixels: int = MAX_PIXELS,
    endpoint_url: str | None = None,
) -> bytes | Decoded:
    """Read a stored image: the bytes of its file, or the pixels of a frame that has none.

    Raises
    ------
    ItemError
        ``io``: it cannot be read; ``too_large``; ``decode`` for frames.
    """
    locator = locate(uri, version, endpoint_url=endpoint_url)
    if not isinstance(locator, RemoteObject):
        locator.version()  # refuses pipes and devices, whose reading may never end
    return locator.read(max_pixels)


def read_file(
    uri: str,
    version: str = "",
    *,
    max_pixels: int = MAX_PIXELS,
    endpoint_url: str | None = None,
) -> bytes:
    """Read a stored image as the bytes of an image file; a frame that has none becomes a PNG.

    Raises ItemError as :func:`read_uri` does.
    """
    data = read_uri(uri, version, max_pixels=max_pixels, endpoint_url=endpoint_url)
    if isinstance(data, bytes):
        return data
    file = BytesIO()
    Image.fromarray(data.image).save(file, format="PNG", compress_level=3)
    return file.getvalue()
