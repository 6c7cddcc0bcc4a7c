"""A folder of a small experiment, for tests of its report."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.trials import write_trial


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "trial"
    write_trial(root)
    return root
