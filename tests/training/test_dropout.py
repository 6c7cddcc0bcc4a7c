import numpy as np
import pytest
import torch
from torch import nn

from deal.engines import open_engine
from deal.errors import ModelError
from deal.export.onnx import export_checkpoint
from deal.model.dropout import DropoutLayer, draw_masks, keep_all
from deal.scoring.scorer import Scorer
from deal.training.checkpoint import build_module
from deal.training.dropout import dropout_layers, masked
from deal.training.networks import build_network
from deal.types import COMMITTEE_COLUMNS
from tests.helpers.checkpoints import small_meta
from tests.helpers.models import scenes

META = small_meta(network="paper")


def pixels(masks):
    return [torch.from_numpy(mask) for mask in masks]


def test_layers_are_those_of_the_networks():
    paper, light = (
        dropout_layers(build_network(name, 5, width=0.25)) for name in ("paper", "light")
    )
    assert [(layer.channels, layer.rate) for layer in paper] == [(64, 0.5), (64, 0.5), (64, 0.1)]
    assert light == (DropoutLayer("dropout_0", 64, 0.5),)


def test_looking_for_layers_leaves_a_network_as_it_was():
    network = build_network("light", 5, width=0.25).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    dropout_layers(network)
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_masks_multiply_the_output_of_their_layer_only_while_asked():
    network = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.0), nn.Dropout(0.25)).eval()
    x = torch.rand(2, 3, 4, 4)
    first, second = torch.tensor([0.0, 2.0, 2.0]), torch.tensor([4 / 3, 0.0, 4 / 3])
    with masked(network, [first.view(1, 3, 1, 1), second.view(1, 3, 1, 1)]):
        found = network(x)
    torch.testing.assert_close(found, x * (first * second).view(1, 3, 1, 1))
    torch.testing.assert_close(network(x), x)


@pytest.mark.slow
def test_graph_and_checkpoint_agree_under_the_same_masks(paper):
    images = np.stack(scenes(2))
    files = {"torch": paper.checkpoint, "ort": paper.model}
    engines = [open_engine(path, name, "cpu") for name, path in files.items()]
    layers = engines[1].spec.dropout
    assert engines[0].spec.dropout == layers
    assert [layer.input for layer in layers] == ["dropout_0", "dropout_1", "dropout_2"]
    for masks in (None, keep_all(layers), draw_masks(layers, 0, 1), draw_masks(layers, 0, 2)):
        ours, theirs = (engine.infer(images, masks).logits for engine in engines)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-3)
    quiet = engines[1].infer(images).logits
    dropped = engines[1].infer(images, draw_masks(layers, 0, 1)).logits
    assert np.abs(quiet - dropped).max() > 0.1


@pytest.mark.slow
def test_the_base_statistics_do_not_change_by_asking_for_passes(paper):
    with (
        Scorer(paper.model, device="cpu", dropout_passes=3) as scorer,
        Scorer(paper.model, device="cpu") as alone,
    ):
        found, own = scorer.score(scenes(2)), alone.score(scenes(2))
    assert set(found) - set(own) == set(COMMITTEE_COLUMNS)
    for name, values in own.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    assert (found["mutual_information_mean"] > 0).all()


def test_a_graph_without_dropout_layers_is_not_exported_with_them(tmp_path, monkeypatch):
    trained = build_module(META)
    for module in trained.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    monkeypatch.setattr("deal.export.onnx.load_checkpoint", lambda path: (trained, META))
    with pytest.raises(ModelError, match="no dropout layers to export: leave dropout out"):
        export_checkpoint("best.pt", tmp_path / "m.onnx", dropout=True)
    assert not list(tmp_path.iterdir())
