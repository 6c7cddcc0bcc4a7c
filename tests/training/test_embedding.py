"""The embedding of a network, in PyTorch and exported."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import deal.export.onnx
from deal.cli.export import command
from deal.engines import open_engine
from deal.engines.torch import RgbNetwork
from deal.errors import ModelError
from deal.export.onnx import export_checkpoint
from deal.model.spec import read_spec
from deal.scoring.scorer import Scorer
from deal.training.checkpoint import build_module, load_checkpoint, save_checkpoint
from deal.training.embedding import classifier_name, embedding_size
from tests.helpers.models import scenes
from tests.training.test_dropout import META

FREE = {"input_size": None}


def save(folder, network):
    torch.manual_seed(0)
    meta = dataclasses.replace(META, network=network)
    trained = build_module(meta)
    with torch.no_grad():
        trained.module.decoder.classifier.weight.mul_(100)
    save_checkpoint(folder / "best.pt", trained, meta)
    return folder / "best.pt"


@pytest.mark.slow
@pytest.mark.parametrize("network", ["paper", "light", "exported"])
@pytest.mark.parametrize("shape", [(1, 48, 64), (3, 33, 47), (2, 130, 97)])
def test_the_classifier_of_the_embedding_is_the_mean_of_the_logits(paper, network, shape, tmp_path):
    # A 1×1 convolution commutes with the mean over the pixels.
    if network == "exported":
        checkpoint, opened = paper.checkpoint, open_engine(paper.model, options=FREE)
    else:
        checkpoint = save(tmp_path, network)
        opened = open_engine(checkpoint, "torch", "cpu", options=FREE)
    images = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    out = opened.infer(images)
    classifier = load_checkpoint(checkpoint)[0].module.decoder.classifier
    weight, bias = (value.detach().numpy() for value in classifier.parameters())
    assert out.embedding.dtype == np.float32
    assert out.embedding.shape == (shape[0], opened.embedding_size) == (shape[0], weight.shape[1])
    expected = out.logits.mean(axis=(2, 3))
    found = out.embedding @ weight[:, :, 0, 0].T + bias
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.slow
def test_the_embedding_follows_the_contract_and_the_check_compares_it(paper):
    spec = read_spec(paper.model)
    assert (spec.output_name, spec.embedding_name) == ("logits", "embedding")
    dims = onnx.load(paper.model).graph.output[1].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in dims] == ["N", 64]
    assert 0 < paper.parity.max_embedding_difference < 1e-3


def test_scored_embeddings_are_the_checkpoints(paper):
    images = scenes(3, (48, 64))
    with Scorer(paper.model) as ort, Scorer(paper.checkpoint, engine="torch") as reference:
        ours, theirs = ort.score(images), reference.score(images)
    difference = np.abs(ours["embedding"] - theirs["embedding"]).max()
    assert difference < 1e-3 * np.ptp(ours["embedding"], axis=0).max()


def test_an_embedding_that_differs_fails_the_check(paper, monkeypatch, tmp_path):
    model = onnx.load(paper.model)
    node = next(node for node in model.graph.node if "embedding" in node.output)
    node.output[0] = "half"
    model.graph.node.append(onnx.helper.make_node("Add", ["half", "half"], ["embedding"]))
    monkeypatch.setattr(deal.export.onnx, "to_onnx", lambda *_, **__: model)
    with pytest.raises(ModelError, match="differs from PyTorch: embedding by up to"):
        export_checkpoint(paper.checkpoint, tmp_path / "m.onnx", images=scenes(1), embedding=True)
    assert list(tmp_path.iterdir()) == []


def test_command_exports_it_and_says_how_well_it_agrees(paper, monkeypatch, tmp_path):
    seen = {}

    def traced(*_, embedding, **__):
        seen["embedding"] = embedding
        return onnx.load(paper.model)

    monkeypatch.setattr(deal.export.onnx, "to_onnx", traced)
    monkeypatch.setattr(deal.export.onnx, "_SCENES", 2)
    arguments = [str(paper.checkpoint), "-o", str(tmp_path / "m.onnx"), "--embedding", "--dropout"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    assert seen == {"embedding": True}
    assert "embeddings differ by at most" in result.stdout


class Other(nn.Module):
    """A network of somebody else's, whose logits an auxiliary branch resembles."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.head = nn.Conv2d(6, 4, 1)
        self.unused = nn.Conv2d(6, 4, 1)
        self.flat = nn.Linear(6, 2)
        self.twice = nn.ReLU()

    def forward(self, x):
        y = self.twice(self.twice(self.stem(x / 255)))
        self.flat(y.mean(dim=(2, 3)))
        return self.head(y)


@pytest.mark.slow
@pytest.mark.usefixtures("kept_exports")
def test_any_network_has_the_embedding_of_a_module_that_is_named(tmp_path):
    torch.manual_seed(0)
    network = RgbNetwork(Other(), 4, embedding="head").eval()
    path = tmp_path / "other.onnx"
    model = deal.export.onnx.to_onnx(network, {"classes": 4}, embedding=True)
    path.write_bytes(model.SerializeToString())
    images = np.stack(scenes(3, (37, 50)))
    with torch.no_grad():
        logits, embedding = network(torch.from_numpy(images))
    out = open_engine(path).infer(images)
    assert embedding.shape == (3, 6)
    np.testing.assert_allclose(out.logits, logits, atol=1e-5)
    np.testing.assert_allclose(out.embedding, embedding, atol=1e-5)


def test_a_classifier_is_the_last_convolution_to_the_classes():
    assert classifier_name(build_module(META).module, 5) == "decoder.classifier"
    assert classifier_name(Other(), 4) == "unused"
    with pytest.raises(ModelError, match="no 1×1 convolution to 3 classes"):
        classifier_name(Other(), 3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "no module 'nowhere'"),
        ("unused", "'unused' runs 0 times"),
        ("twice", "'twice' runs 2 times"),
        ("flat", r"module 'flat' is not a feature map \[B,E,h,w\]"),
    ],
)
def test_modules_without_an_embedding_are_refused(name, message):
    network = Other().train()
    with pytest.raises(ModelError, match=message):
        embedding_size(network, name)
    assert network.training
