"""Weights to start from: another training's, of other classes, or ImageNet's."""

from __future__ import annotations

import pytest
import torch

from deal.errors import ModelError, UsageError
from deal.training.checkpoint import build_module, save_checkpoint
from deal.training.weights import load_weights
from tests.helpers.checkpoints import small_meta


@pytest.fixture
def pretrained(tmp_path):
    """A checkpoint of three classes, and its module."""
    torch.manual_seed(1)
    meta = small_meta(classes=("land", "sea", "sky"), grid=(4, 4), uncertainty=True)
    module = build_module(meta)
    save_checkpoint(tmp_path / "pretrained.pt", module, meta)
    return tmp_path / "pretrained.pt", module


def fresh(**changes):
    """A new module of the classes of tests, with its meta data."""
    torch.manual_seed(2)
    meta = small_meta(**changes)
    return build_module(meta), meta


def test_everything_but_what_depends_on_the_classes_is_taken_over(pretrained):
    path, theirs = pretrained
    ours, meta = fresh()
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    load_weights(ours, meta, path)
    after, source = ours.state_dict(), theirs.state_dict()
    kept = {name for name in before if torch.equal(after[name], before[name])}
    taken = {name for name in before if name in source and torch.equal(after[name], source[name])}
    own = {name for name in before if not name.startswith("module.") or ".classifier." in name}
    assert {"module.decoder.classifier.weight", "difficulty.gamma"} <= own <= kept
    assert taken >= set(before) - own


def test_a_checkpoint_of_equal_classes_gives_neither_classifier_nor_difficulty(tmp_path):
    torch.manual_seed(3)
    meta = small_meta()
    theirs = build_module(meta)
    save_checkpoint(tmp_path / "same.pt", theirs, meta)
    ours, _ = fresh()
    before = ours.module.decoder.classifier.weight.clone()
    load_weights(ours, meta, tmp_path / "same.pt")
    assert torch.equal(ours.module.decoder.classifier.weight, before)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "paper"}, "has network light, but this run has paper"),
        ({"width": 0.5}, "has width 0.25, but this run has 0.5"),
    ],
)
def test_a_checkpoint_of_another_network_is_refused(pretrained, changes, message):
    ours, meta = fresh(**changes)
    with pytest.raises(UsageError, match=message):
        load_weights(ours, meta, pretrained[0])


def test_imagenet_weights_are_refused_for_another_width(tmp_path):
    ours, meta = fresh()
    torch.save({"features.0.0.weight": torch.zeros(32, 3, 3, 3)}, tmp_path / "mobilenet_v2.pth")
    with pytest.raises(UsageError, match=r"are of width 1, not 0\.25: leave out width"):
        load_weights(ours, meta, tmp_path / "mobilenet_v2.pth")


@pytest.mark.parametrize("content", [None, b"no weights"])
def test_a_file_that_cannot_be_read_is_an_error(tmp_path, content):
    path = tmp_path / "weights.pt"
    if content is not None:
        path.write_bytes(content)
    ours, meta = fresh()
    with pytest.raises(ModelError, match="cannot be read"):
        load_weights(ours, meta, path)
