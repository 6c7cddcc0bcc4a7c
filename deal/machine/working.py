"""Folders for what is not finished yet: they go at the end, and those of killed processes later.

They are called ``_NAME.PROCESS.….tmp``. A killed process leaves its folder; the next one that works
in the same place removes it.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["is_working", "scratch_folder", "working_folder"]

_LOCK = "lock"
_WORKING = re.compile(r"_.+\.(\d+)\.\w+\.tmp")


@contextmanager
def working_folder(parent: Path, name: str) -> Iterator[Path]:
    """Make a folder in ``parent`` that goes when the block ends; OSError where it cannot be made.

    Those that other processes left there when they were killed go first.
    """
    _sweep(parent)
    prefix = f"_{name[:48]}.{os.getpid()}."
    folder = Path(tempfile.mkdtemp(prefix=prefix, suffix=".tmp", dir=parent))
    try:
        with open(folder / _LOCK, "wb") as file:
            with suppress(OSError):  # without locks the process id has to do
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def is_working(name: str) -> bool:
    """Whether a folder has the name of a :func:`working_folder`."""
    return _WORKING.fullmatch(name) is not None


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A :func:`working_folder` among the system's temporary files."""
    with working_folder(Path(tempfile.gettempdir()), "deal") as folder:
        yield folder


def _sweep(parent: Path) -> None:
    """Remove the working folders of processes that are gone."""
    with suppress(OSError):
        for entry in os.scandir(parent):
            match = _WORKING.fullmatch(entry.name)
            if match and entry.is_dir(follow_symlinks=False) and _is_left(entry, int(match[1])):
                shutil.rmtree(entry.path, ignore_errors=True)


def _is_left(folder: os.DirEntry[str], process: int) -> bool:
    """Whether nobody works in a folder: the process is gone here, and on no other machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        pass
    except (OSError, OverflowError):
        return False
    else:
        return False
    try:
        with open(Path(folder.path) / _LOCK, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
