"""Files that are written whole or not at all, and locks of folders."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from deal.errors import OutputError, UsageError

__all__ = [
    "check_not_read",
    "check_regular",
    "check_replaceable",
    "hold",
    "lock",
    "remove_if_old",
    "replacing",
    "sync_folder",
    "write_text",
    "writing",
]

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
_LEFT_OVER = 3600.0  # seconds; a process of another machine may still write a younger file


@runtime_checkable
class _Elsewhere(Protocol):
    """A path that is no file of this machine, and has its own way to be written whole."""

    def replacing(self) -> AbstractContextManager[BinaryIO]: ...


@contextmanager
def replacing(path: Path, *, alone: bool = False) -> Iterator[BinaryIO]:
    """Open a file that replaces ``path``, and is safely on disk, when the block ends.

    If the block raises, ``path`` stays unchanged. A pipe or a device is an OSError.

    Parameters
    ----------
    path : Path
    alone : bool
        No other process writes ``path`` at the same time. The temporary file is then ``_NAME``
        beside ``path``, so a file left by a kill is overwritten. Otherwise the name contains the
        process id, and the next writer removes files left by a kill.
    """
    if isinstance(path, _Elsewhere):
        with path.replacing() as file:
            yield file
        return
    check_replaceable(path)
    if not alone:
        _sweep(path)
    temporary = path.with_name(f"_{path.name}" if alone else f"_{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def check_replaceable(path: Path) -> None:
    """Refuse pipes, sockets and devices as outputs: a file would take their place for all."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "it is a pipe or a device; name a file", os.fspath(path))


def check_regular(path: str | os.PathLike[str], *, pipes: bool = False) -> None:
    """Refuse sockets, devices and (unless ``pipes``) pipes, since reading them may never end.

    Raises
    ------
    OSError
        The file does not exist or is not a regular file.
    """
    if isinstance(path, _Elsewhere):
        return
    mode = os.stat(path).st_mode  # noqa: PTH116 (names that are not UTF-8 are plain strings)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not (stat.S_ISREG(mode) or (pipes and stat.S_ISFIFO(mode))):
        raise OSError(errno.EINVAL, "it is not a regular file", os.fspath(path))


def check_not_read(output: str | os.PathLike[str], read: Iterable[object]) -> None:
    """Refuse an output that would replace what it is made of.

    Parameters
    ----------
    output : path
    read : iterable
        Paths; of a folder every file in it is read, but for ONNX files. What is no path, or the
        path of nothing, is passed over.

    Raises
    ------
    UsageError
        The output is one of the files that are read, whatever its name.
    """
    paths = (Path(item) for item in read if isinstance(item, (str, os.PathLike)))
    if any(_is_of(Path(output), path) for path in paths):
        raise UsageError(f"--output {output} would replace what is read: name another file")


def _is_of(file: Path, read: Path) -> bool:
    """Whether a file is one that is read, or is one of a folder that is read."""
    try:
        if not read.is_dir():
            return file.samefile(read)
        is_other = file.suffix.lower() != ".onnx"
        return is_other and file.is_file() and file.absolute().parent.samefile(read)
    except (OSError, ValueError):  # one of them is not there, or no name of a file
        return False


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError about an output into an OutputError with the remedy."""
    try:
        yield
    except OSError as error:
        remedy = "make room or " if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise OutputError(
            f"cannot write to {path}: {error.strerror or error}; {remedy}choose another --output"
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all, and create its folders; raises OutputError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def lock(file: int, folder: Path, *, wait: bool) -> bool:
    """Lock an open file of ``folder``; return whether this process has the lock now.

    Raises
    ------
    OutputError
        The file system of the folder has no locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise OutputError(
            f"{folder} is on a file system without working locks ({error.strerror}), which deal "
            "needs to keep other processes out: start the lock service of the mount, or choose a "
            "folder on another file system"
        ) from error
    return True


@contextmanager
def hold(folder: Path, *, wait: bool) -> Iterator[int | None]:
    """Lock a folder against other processes; the operating system frees it when this one ends.

    Yields the descriptor of the lock; a child process that inherits it keeps the lock. Without
    ``wait``, yields None if another process has the lock.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / "_lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise OutputError(f"output {folder} cannot be created: {error.strerror}") from error
    try:
        yield file if lock(file, folder, wait=wait) else None
    finally:
        os.close(file)


def _sweep(path: Path) -> None:
    """Remove the temporary files of ``path`` whose writers have been gone for long."""
    name = re.compile(rf"_{re.escape(path.name)}\.(\d+)(\.tmp)?")
    with suppress(OSError):
        for entry in os.scandir(path.parent):
            match = name.fullmatch(entry.name)
            if match and _is_gone(int(match[1])):
                remove_if_old(Path(entry.path))


def remove_if_old(temporary: Path) -> None:
    """Remove a temporary file that nobody can still be writing, since it is an hour old."""
    with suppress(OSError):
        if time.time() - temporary.stat().st_mtime > _LEFT_OVER:
            temporary.unlink()


def _is_gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def sync_folder(folder: Path) -> None:
    """Write a folder to disk, so that a rename in it survives a power cut."""
    if isinstance(folder, _Elsewhere):
        return
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
