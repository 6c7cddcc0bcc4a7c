"""A model that has a difficulty head, and a scorer of it."""

from __future__ import annotations

import pytest

from deal.scoring.scorer import Scorer
from tests.helpers.models import metadata, save_model


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model") / "m.onnx", props=metadata())


@pytest.fixture(scope="module")
def scorer(path):
    with Scorer(path, device="cpu") as opened:
        yield opened
