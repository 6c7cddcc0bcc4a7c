"""A pool that is scored, for what is annotated of it."""

from __future__ import annotations

from pathlib import Path

import pytest

import deal
from tests.helpers.runs import write_pool
from tests.helpers.tool_exports import from_cvat

COUNT = 6


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    return write_pool(tmp_path / "pool", COUNT)


@pytest.fixture
def out(pool: Path, model: Path, tmp_path: Path) -> Path:
    """All of the pool, ranked."""
    deal.score_pool(pool, model=model, output=tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def tasks(out: Path, tmp_path: Path) -> Path:
    return deal.annotate(out, to="cvat", output=tmp_path / "tasks").output


@pytest.fixture
def export(tasks: Path, tmp_path: Path) -> Path:
    return from_cvat(tasks, tmp_path)
