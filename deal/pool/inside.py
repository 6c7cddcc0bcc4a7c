"""What images inside other files share: the file they lie in, and limits of their size."""

# Names may be millions and need not be UTF-8: plain strings, not Path objects.
# ruff: noqa: PTH116

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from deal.errors import ItemError

__all__ = ["Parent", "check_size", "stamp_of"]


@dataclass(frozen=True, slots=True)
class Parent:
    """The file that images lie in, as it was when it was listed.

    Attributes
    ----------
    path : str
        In ``os.fsdecode`` form.
    stamp : str
        ``<size>-<mtime_ns>``.
    """

    path: str
    stamp: str

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The open file; ItemError (``io``) if it cannot be read or is another one by now."""
        try:
            with open(self.path, "rb") as file:
                if _stamp(os.fstat(file.fileno())) != self.stamp:
                    raise ItemError(
                        "io", "the file it lies in has changed since: run the same command again"
                    )
                yield file
        except OSError as error:
            raise ItemError("io", f"cannot read the file it lies in: {error.strerror}") from error


def stamp_of(path: str) -> str:
    """``<size>-<mtime_ns>``; ItemError (``io``) for what is not a regular file."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise ItemError("io", f"cannot read the file: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise ItemError("io", "not a regular file")
    return _stamp(status)


def _stamp(status: os.stat_result) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}"


def check_size(size: int, max_pixels: int) -> None:
    """Raise ItemError (``too_large``) for a file that holds more than such an image can."""
    # no supported format needs more than four 32-bit channels a pixel
    if size > 16 * max_pixels + 2**20:
        raise ItemError(
            "too_large",
            f"{size} bytes, more than {max_pixels} pixels fill; --max-pixels allows more",
        )
