"""The public surface: its names, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import deal

HEAVY = ("torch", "onnxruntime", "pyarrow", "PIL", "click", "rich")


@pytest.mark.parametrize("name", deal.__all__)
def test_every_public_name_can_be_imported_and_is_listed(name):
    assert getattr(deal, name) is not None
    assert name in dir(deal)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'scores'"):
        deal.scores  # noqa: B018


@pytest.mark.parametrize("statement", ["import deal", "import deal; deal.score_logits"])
def test_importing_is_light(statement):
    code = f"{statement}; import sys; print([m for m in {HEAVY} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
