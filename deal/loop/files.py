"""Plain files of a run, written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deal.errors import ResultsError
from deal.loop.shapes import misshapen
from deal.machine.files import hold, write_text
from deal.selection.document import csv_text

__all__ = ["hold", "read_json", "share", "write_csv", "write_json", "write_text"]


def write_json(path: Path, values: Any) -> None:
    """Write JSON with an indent of two spaces, whole or not at all."""
    write_text(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a table, whole or not at all; None is an empty cell."""
    write_text(path, csv_text(columns, rows))


def read_json(path: Path, shape: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Read a JSON object of a shape (`misshapen`); ResultsError if it is damaged or missing."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("it is no object")
        if wrong := misshapen(values, shape or {}):
            raise ValueError(wrong)
    except OSError as error:
        raise ResultsError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ResultsError(
            f"{path} is damaged ({error}): delete it, and the same deal loop makes it again"
        ) from error
    return values


def share(source: Path, target: Path) -> None:
    """Give a file a second name (a hard link), or copy it if the file system has no links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"_{target.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)  # of a killed process that had this number too
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copyfile(source, temporary)
    temporary.replace(target)
