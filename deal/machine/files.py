"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from deal.errors import OutputError

__all__ = ["replacing", "write_text"]


@contextmanager
def replacing(path: Path, *, alone: bool = False) -> Iterator[BinaryIO]:
    """Open a file that takes the place of ``path`` when the block ends, once it is on disk.

    Where the block raises, ``path`` stays as it was.

    Parameters
    ----------
    path : Path
    alone : bool
        No other process writes ``path`` meanwhile. The temporary file is then ``_NAME`` beside it,
        so that what a kill leaves is overwritten; otherwise the process id is part of its name.
    """
    temporary = path.with_name(f"_{path.name}" if alone else f"_{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a file, and the folders it lies in, all or nothing; OutputError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
