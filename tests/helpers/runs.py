"""Pools that tests score, by function or command, and what a run has stored or refused."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from deal import read_results
from tests.helpers.models import scenes

SIZE = (24, 32)

# The fixture ``deal`` of conftest.py: arguments → exit code, stdout, stderr.
Deal = Callable[..., tuple[int, str, str]]


def write_pool(
    folder: Path, count: int, size: tuple[int, int] = SIZE, name: str = "{:03}.png"
) -> Path:
    folder.mkdir()
    for index, image in enumerate(scenes(count, size)):
        Image.fromarray(image).save(folder / name.format(index))
    return folder


def rows(output: Path) -> dict[str, dict[str, Any]]:
    stored = read_results([output]).to_pylist()
    assert len(stored) == len({row["id"] for row in stored})
    return {row["id"]: row for row in stored}


def stage_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("deal-")]


def assert_refused(result: tuple[int, str, str], code: int, *words: str) -> None:
    """One clear line, and no traceback."""
    assert (result[0], result[1]) == (code, "")
    assert len(result[2].splitlines()) == 1
    assert result[2].startswith("error: ")
    for word in words:
        assert word in result[2]
