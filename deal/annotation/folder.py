"""The folder that ``deal annotate`` writes: files whole or not at all, foreign ones untouched."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from deal.annotation.plan import CLASSES, FORMATS, MARKER, README, TASKS
from deal.errors import OutputError
from deal.machine.files import replacing, writing

__all__ = ["Folder"]

_DOCUMENTS = {
    *(known.document for known in FORMATS.values() if known.document),
    *(CLASSES, MARKER, README, TASKS),
    *("config.xml", "images.txt", "labels.json"),
    *("load_fiftyone.py", "load_label_studio.py", "load_lightly.py"),
}
_PICTURE = re.compile(r"\d{4,}_.+\.(bmp|jpg|png|tif|webp)")
_BATCH = re.compile(r"batch-\d{3,}")
_PICTURES = ("images", "masks", "difficulty", "entropy")


class Folder:
    """A folder of tasks."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def check(self, *, overwrite: bool) -> None:
        """Refuse a folder that holds files, unless it is one of ours that may be replaced.

        Raises
        ------
        OutputError
        """
        try:
            entries = sorted(entry.name for entry in os.scandir(self.path))
        except FileNotFoundError:
            return
        except OSError as error:
            raise OutputError(f"{self.path}: {error.strerror}; choose another --output") from error
        if not entries:
            return
        if MARKER not in entries:
            raise OutputError(
                f"{self.path} is not empty and not written by deal annotate ({entries[0]} is in "
                "it); choose another --output"
            )
        if not overwrite:
            raise OutputError(
                f"{self.path} already holds tasks; use --overwrite to replace them, or another "
                "--output (what else lies in the folder stays)"
            )

    def begin(self, described: dict[str, Any]) -> None:
        """Remove what an earlier call wrote, and mark the folder as one of ours."""
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        self._clear()
        text = json.dumps({"deal.annotate": 1, **described}, indent=1, ensure_ascii=False)
        self.write(MARKER, [text, "\n"])

    def discard(self) -> None:
        """Remove what was written, and the folder if nothing else is in it."""
        self._clear()
        with writing(self.path):
            (self.path / MARKER).unlink(missing_ok=True)
            with suppress(OSError):
                self.path.rmdir()

    def _clear(self) -> None:
        with writing(self.path):
            for path in list(self._earlier()):
                path.unlink(missing_ok=True)
            for folder in self._folders():
                with suppress(OSError):  # it holds something else
                    folder.rmdir()

    def write(self, name: str | Path, texts: Iterable[str]) -> None:
        """Write a document of parts, UTF-8."""
        path = self.path / name
        with writing(self.path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path, alone=True) as file:
                for text in texts:
                    file.write(text.encode("utf-8", "backslashreplace"))

    def put(self, name: Path, data: bytes) -> None:
        """Write a picture."""
        with writing(self.path):
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path, alone=True) as file:
                file.write(data)

    def link(self, name: Path, target: str) -> None:
        """Write a symbolic link to an image."""
        with writing(self.path):
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.symlink_to(Path(target).resolve())

    def _earlier(self) -> Iterator[Path]:
        for name in _DOCUMENTS - {MARKER}:
            for path in (self.path / name, *self.path.glob(f"batch-*/{name}")):
                parent = path.parent
                if path.is_file() and (parent == self.path or _BATCH.fullmatch(parent.name)):
                    yield path
        names = self._names()
        for folder in self._folders():
            if folder.name in _PICTURES:
                for path in folder.iterdir():
                    name = path.name.removeprefix("_")  # of a file that was not finished
                    if name in names if names is not None else _PICTURE.fullmatch(name):
                        yield path

    def _names(self) -> set[str] | None:
        """Names of pictures by the list of tasks; None where a run has not come to write it."""
        try:
            with (self.path / TASKS).open(newline="", encoding="utf-8") as file:
                return {row[key] for row in csv.DictReader(file) for key in ("file", "mask")}
        except (OSError, ValueError, KeyError, csv.Error):
            return None

    def _folders(self) -> list[Path]:
        """Folders that we make, the inner ones first."""
        batches = [p for p in self.path.glob("batch-*") if _BATCH.fullmatch(p.name) and p.is_dir()]
        inner = [
            path
            for parent in (self.path, *batches)
            for name in _PICTURES
            if (path := parent / name).is_dir() and not path.is_symlink()
        ]
        return inner + batches
