"""Training tests use networks so small that a second thread only costs."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner

from deal.cli.export import command
from deal.export.parity import Parity
from deal.training.checkpoint import build_module, save_checkpoint
from tests.helpers.checkpoints import Exported, small_meta
from tests.helpers.exports import kept_exports
from tests.helpers.painting import paint_once


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def painted(monkeypatch):
    paint_once(monkeypatch)


@pytest.fixture(scope="session")
def paper(tmp_path_factory):
    """The paper's network, exported once for all tests, with dropout masks and an embedding."""
    torch.manual_seed(0)
    meta = small_meta(network="paper")
    trained = build_module(meta)
    with torch.no_grad():
        trained.module.decoder.classifier.weight.mul_(100)
    folder = tmp_path_factory.mktemp("paper")
    checkpoint, model = folder / "best.pt", folder / "best.onnx"
    save_checkpoint(checkpoint, trained, meta)
    options = ["--dropout", "--embedding", "--json"]
    with kept_exports():
        result = CliRunner().invoke(command, [str(checkpoint), "-o", str(model), *options])
    assert result.exit_code == 0, result.output
    return Exported(checkpoint, model, Parity(**json.loads(result.stdout)))
