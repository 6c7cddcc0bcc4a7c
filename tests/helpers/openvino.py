"""OpenVINO is an extra: its tests are skipped where it is not installed."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

__all__ = ["skip_without_openvino"]


def skip_without_openvino() -> None:
    """Skip the test that calls this; nothing is imported, since openvino's import phones home."""
    if find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed: pip install openvino")
