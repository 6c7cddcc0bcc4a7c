"""Exports of tools: files, folders, ZIP files, and ZIP files in folders; nothing is unpacked."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from deal.errors import PoolError
from deal.machine.files import check_regular

__all__ = ["Export", "exports"]

_MOST_BYTES = 2**32  # of one file in a ZIP file
_MOST_RATIO = 200  # what a ZIP file may unpack to, as a multiple of its size, beyond 1 GiB
_FREE = 2**30
_DAMAGES = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError)


@dataclass(frozen=True, slots=True)
class Export:
    """Files of one export.

    Attributes
    ----------
    name : str
        What messages call it.
    files : tuple of str
        Paths with ``/``, sorted.
    root : Path
        The folder, or the ZIP file.
    archive : zipfile.ZipFile or None
    """

    name: str
    files: tuple[str, ...]
    root: Path
    archive: zipfile.ZipFile | None = None

    @contextmanager
    def open(self, file: str) -> Iterator[BinaryIO]:
        """Open one of the files; PoolError if it cannot be read, or proves to be damaged."""
        try:
            if self.archive is None:
                check_regular(self.root / file)
                with (self.root / file).open("rb") as opened:
                    yield opened
            else:
                with self.archive.open(file) as member:
                    # It ends where the directory says, and checks the checksum there.
                    yield cast(BinaryIO, member)
        except _DAMAGES as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise PoolError(
                f"{self.name}: {file} cannot be read ({reason}); export it again"
            ) from error

    def read(self, file: str) -> bytes:
        """The content of one of the files."""
        with self.open(file) as opened:
            return opened.read()


@contextmanager
def exports(source: Path) -> Iterator[list[Export]]:
    """The exports that a path names: a file, a ZIP file, or a folder, with the ZIP files in it.

    Raises
    ------
    PoolError
        There is no such path, or a ZIP file is damaged, locked by a password, would unpack to
        thousands of times its size, or names files outside of itself.
    """
    opened: list[zipfile.ZipFile] = []
    try:
        yield list(_found(source, opened))
    finally:
        for archive in opened:
            archive.close()


def _found(source: Path, opened: list[zipfile.ZipFile]) -> Iterator[Export]:
    if source.is_dir():
        paths = sorted(
            path
            for path in source.rglob("*")
            if path.is_file() and not _is_of_finder(path.relative_to(source).as_posix())
        )
        zipped = [path for path in paths if path.suffix.lower() == ".zip"]
        plain = tuple(path.relative_to(source).as_posix() for path in paths if path not in zipped)
        if plain:
            yield Export(str(source), plain, source)
        for path in zipped:
            yield _archive(path, opened)
        if not paths:
            raise PoolError(f"{source} is empty; name what the labeling tool exported")
        return
    try:
        check_regular(source)
        is_archive = zipfile.is_zipfile(source)
    except OSError as error:
        raise PoolError(
            f"{source}: {error.strerror}; name the file, ZIP file or folder that the labeling tool "
            "exported"
        ) from error
    if is_archive or source.suffix.lower() == ".zip":
        yield _archive(source, opened)
    else:
        yield Export(str(source), (source.name,), source.parent)


def _archive(path: Path, opened: list[zipfile.ZipFile]) -> Export:
    try:
        archive = zipfile.ZipFile(path)
    except (*_DAMAGES, ValueError) as error:
        raise PoolError(f"{path} is no whole ZIP file ({error}); export it again") from error
    opened.append(archive)
    members = [member for member in archive.infolist() if not member.is_dir()]
    total = sum(member.file_size for member in members)
    largest = max((member.file_size for member in members), default=0)
    if largest > _MOST_BYTES or total > _FREE + _MOST_RATIO * path.stat().st_size:
        raise PoolError(
            f"{path} would unpack to {total} bytes, too many for its size; if you trust it, unpack "
            "it and name the folder"
        )
    for member in members:
        parts = PurePosixPath(member.filename.replace("\\", "/")).parts
        if ".." in parts or parts[:1] == ("/",) or ":" in (parts or ("",))[0]:
            raise PoolError(
                f"{path} names the file {member.filename!r}, which is outside of it; no labeling "
                "tool exports such a file"
            )
        if member.flag_bits & 1:
            raise PoolError(f"{path} is locked by a password; unpack it and name the folder")
    names = sorted(m.filename for m in members if not _is_of_finder(m.filename))
    return Export(str(path), tuple(names), path, archive)


def _is_of_finder(name: str) -> bool:
    """Whether macOS put a file beside another one, for its attributes."""
    parts = PurePosixPath(name).parts
    return "__MACOSX" in parts or parts[-1].startswith("._")
