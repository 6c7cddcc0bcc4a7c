"""The files of kept frames on disk: written beside their names, renamed, removed, found again.

Each step but `write_new` is on disk when its call returns, folders that were made among it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from deal.machine.files import sync_folder
from deal.rig.names import NEW, file_parts, id_of
from deal.selection.stream import number_of

__all__ = ["FrameFiles", "make_folder"]


class FrameFiles:
    """Files below a folder, one per id."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path_of(self, frame_id: str) -> Path:
        """The file of a frame."""
        return self._folder.joinpath(*file_parts(frame_id))

    def new_path_of(self, frame_id: str) -> Path:
        """The file of a frame before it has its name."""
        path = self.path_of(frame_id)
        return path.with_name(path.name + NEW)

    def write_new(self, frame_id: str, data: bytes) -> None:
        """Write a file beside its name, which it gets by :meth:`publish`; raises OSError.

        :meth:`sync_new` brings its name to disk.
        """
        new = self.new_path_of(frame_id)
        make_folder(new.parent)
        try:
            with open(new, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            new.unlink(missing_ok=True)
            raise

    def sync_new(self, frame_ids: Iterable[str]) -> None:
        """Wait until the names of new files are on disk; raises OSError."""
        for folder in sorted({self.path_of(frame_id).parent for frame_id in frame_ids}):
            sync_folder(folder)

    def publish(self, frame_ids: Iterable[str]) -> None:
        """Give files that were written their names; raises OSError."""
        folders = set()
        for frame_id in frame_ids:
            path, new = self.path_of(frame_id), self.new_path_of(frame_id)
            if new.exists() or not path.exists():  # else an earlier call failed after it
                new.replace(path)
            folders.add(path.parent)
        for folder in sorted(folders):
            sync_folder(folder)

    def remove(self, paths: Iterable[Path]) -> None:
        """Remove files; raises OSError."""
        folders = set()
        for path in paths:
            path.unlink(missing_ok=True)
            folders.add(path.parent)
        for folder in sorted(folders):
            if folder.exists():
                sync_folder(folder)

    def found(self) -> dict[int, tuple[Path, str]]:
        """Files by the numbers of their frames, with the ids; a name wins over a new file."""
        found: dict[int, tuple[Path, str]] = {}
        for new in (True, False):
            for path in sorted(self._folder.rglob("*")):
                if path.is_dir() or path.name.endswith(NEW) != new:
                    continue
                parts = list(path.relative_to(self._folder).parts)
                parts[-1] = parts[-1].removesuffix(NEW if new else "")
                name = id_of(parts)
                number = number_of(name)
                if number in found:
                    found[number][0].unlink(missing_ok=True)
                found[number] = path, name
        return found

    def rename(self, path: Path, frame_id: str) -> None:
        """Give a file that was found the name of its frame."""
        final = self.path_of(frame_id)
        if path != final:
            make_folder(final.parent)
            path.replace(final)
            sync_folder(final.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, each on disk; raises OSError."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for one in reversed(missing):
        one.mkdir(exist_ok=True)
        sync_folder(one.parent)
