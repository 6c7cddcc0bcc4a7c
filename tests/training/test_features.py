"""Frozen stages, warm-up, optimizers, and features that are kept."""

from __future__ import annotations

import copy
import dataclasses
import shutil

import numpy as np
import pytest
import torch

from deal.errors import OutputError, UsageError
from deal.training.config import TrainConfig
from deal.training.data import Dataset, Sample
from deal.training.epochs import Training
from deal.training.preparation import poly_factor

_SIZE = (32, 48)


def _data(count: int = 4) -> Dataset:
    rng = np.random.default_rng(0)
    samples = tuple(
        Sample(
            f"image-{index}",
            rng.integers(0, 256, (*_SIZE, 3), dtype=np.uint8),
            rng.integers(0, 3, _SIZE, dtype=np.uint8),
        )
        for index in range(count)
    )
    return Dataset(("a", "b", "c"), ((0, 0, 0),) * 3, 255, _SIZE, samples, samples, ())


def _config(folder, **options) -> TrainConfig:
    settings = {
        "dataset": "folder", "output": str(folder), "network": "lite0", "width": 0.1,
        "batch_size": 2, "grid": (4, 6), "scale": (1.0, 1.0), "blur": 0.0, "freeze": 3,
    }  # fmt: skip
    return TrainConfig(**{**settings, **options})


def _training(folder, **options) -> Training:
    """A training that keeps random weights, which the command refuses."""
    return Training(_config(folder, **options), _data(), torch.device("cpu"), steps=20)


@pytest.mark.parametrize("network", ["lite0", "light"])
def test_frozen_stages_change_neither_weights_nor_statistics(network, tmp_path):
    training = _training(tmp_path, network=network)
    backbone = training.module.module.backbone
    held = {
        id(value)
        for number in range(4)
        for value in backbone.stage(number).state_dict(keep_vars=True).values()
    }
    names = backbone.state_dict(keep_vars=True)
    frozen = {name for name, value in names.items() if id(value) in held}
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    training.train_epoch(1)
    changed = {k for k, value in backbone.state_dict().items() if not torch.equal(before[k], value)}
    assert frozen
    assert not changed & frozen
    assert {k for k in before if k not in frozen and k.endswith("weight")} <= changed


def test_frozen_norms_keep_their_statistics_while_weights_learn(tmp_path):
    training = _training(tmp_path, freeze=None, freeze_norm=True)
    before = {k: v.clone() for k, v in training.module.module.backbone.state_dict().items()}
    training.train_epoch(1)
    after = training.module.module.backbone.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert not any("running" in key for key in changed)
    assert any("conv.weight" in key for key in changed)


@pytest.mark.parametrize(("network", "freeze"), [("lite0", 7), ("lite0-fast", 1), ("light", 4)])
def test_kept_features_give_the_logits_of_images(network, freeze, tmp_path):
    kept = _training(tmp_path, network=network, freeze=freeze, cache=1)
    plain = _training(tmp_path, network=network, freeze=freeze)
    for training in (kept, plain):
        training.module.eval()
    seeds = [(0, 1), (0, 2)]
    images, labels = plain._make_batch([2, 0], seeds)
    features, same_labels = kept._make_batch([2, 0], seeds)
    assert torch.equal(labels, same_labels)
    with torch.inference_mode():
        for mine, right in zip(kept._forward(features), plain.module(images), strict=True):
            scale = float(right.abs().max())
            torch.testing.assert_close(mine, right, rtol=0, atol=2e-3 * scale)


def test_epochs_take_the_variants_in_turn_and_compute_each_once(tmp_path):
    training = _training(tmp_path, freeze=7, cache=2, scale=(0.5, 2.0))
    batches = training._make_batch
    made = []
    make = batches._make
    batches._make = lambda indices, seeds: made.append(tuple(seeds)) or make(indices, seeds)
    for epoch in range(1, 6):
        training.train_epoch(epoch)
    assert len(made) == 2 * 4
    assert len(set(made)) == 8


def test_too_little_disk_is_refused_before_the_first_step(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    training = _training(tmp_path, freeze=7, cache=2)
    with pytest.raises(OutputError, match="keep fewer variants per image"):
        training.train_epoch(1)


def test_a_training_with_features_resumes_to_the_same_bits(tmp_path):
    whole = _training(tmp_path, freeze=7, cache=2)
    for epoch in (1, 2, 3):
        whole.train_epoch(epoch)
    first = _training(tmp_path, freeze=7, cache=2)
    first.train_epoch(1)
    state = first.state()
    second = _training(tmp_path, freeze=7, cache=2)
    second.restore(state)
    for epoch in (2, 3):
        second.train_epoch(epoch)
    for name, value in whole.module.state_dict().items():
        assert torch.equal(value, second.module.state_dict()[name]), name


def test_adamw_trains_only_what_is_not_frozen(tmp_path):
    training = _training(tmp_path, freeze=7, optimizer="adamw", lr=1e-3)
    optimizer = training._optimizer
    assert isinstance(optimizer, torch.optim.AdamW)
    backbone, head = optimizer.param_groups
    assert backbone["params"] == []
    assert head["initial_lr"] == pytest.approx(1e-2)


def test_the_average_of_the_weights_follows_its_formula_and_resumes_to_the_same_bits(tmp_path):
    training = _training(tmp_path, freeze=7, ema=0.5)
    seen = []
    update = training._average.update_parameters
    name = "module.decoder.classifier.bias"

    def noted(module):
        update(module)
        seen.append(dict(module.named_parameters())[name].detach().clone())

    training._average.update_parameters = noted
    training.train_epoch(1)
    expected = seen[0]
    for step, value in enumerate(seen[1:], 1):
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    found = dict(training.result.named_parameters())[name]
    assert torch.allclose(found, expected, atol=1e-6)
    assert not torch.equal(found, seen[-1])
    state = copy.deepcopy(training.state())
    training.train_epoch(2)
    again = _training(tmp_path, freeze=7, ema=0.5)
    again.restore(state)
    again.train_epoch(2)
    for key, value in training.result.state_dict().items():
        assert torch.equal(value, again.result.state_dict()[key]), key


def test_warm_up_rises_in_equal_steps_to_the_schedule():
    factors = [poly_factor(step, 100, 4) for step in range(6)]
    plain = [poly_factor(step, 100) for step in range(6)]
    ratios = [a / b for a, b in zip(factors, plain, strict=True)]
    assert ratios == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"freeze": 8}, r"--freeze must be a stage of lite0's encoder, 0 \(the stem\) to 7"),
        ({"network": "lite0-fast", "freeze": 6}, "to 5"),
        ({"freeze": None, "cache": 2}, "give --freeze too"),
        ({"freeze": 3}, "--freeze would keep an encoder of random weights: give --weights"),
        ({"freeze": None, "freeze_norm": True}, "--freeze-norm would keep an encoder of random"),
        ({"cache": 2, "compile": "default"}, "--cache and --compile exclude each other"),
        ({"warmup": -1}, "--warmup must not be negative"),
        ({"ema": 1.0}, "--ema must be at least 0 and below 1, not 1.0"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        _config(tmp_path, **options).validate()


def test_runs_older_than_an_option_have_the_same_recipe(tmp_path):
    config = _config(tmp_path, network="light", freeze=None)
    younger = {"optimizer", "warmup", "freeze", "freeze_norm", "cache", "ema", "uncertainty"}
    assert not younger & config.recipe().keys()
    frozen = dataclasses.replace(config, freeze=2)
    assert frozen.recipe()["freeze"] == 2
