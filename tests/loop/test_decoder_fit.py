"""Rounds that fit the decoder on the frozen encoder before they train all layers."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import deal.loop.decoder_fit as decoder_fit
from deal.errors import UsageError
from deal.loop.experiment import run_loop
from deal.training.checkpoint import load_checkpoint
from deal.training.pixelwise import fit_decoder

_STEPS = 9


@pytest.fixture
def with_training(make_config, weights):
    def make(**changes):
        training = {
            "network": "lite0", "width": 0.1, "weights": str(weights), "threads": 1,
            "optimizer": "adamw", "grid": [4, 6], "batch_size": 2, "freeze_norm": True, **changes,
        }  # fmt: skip
        if "pixels" in changes:
            del training["batch_size"]
        return make_config(
            training=training, rounds={"labeled": [3, 5]}, keep_models=True,
            methods={"random": {"acquisition": "random"}},
        )  # fmt: skip

    return make


def _trained(config):
    run_loop(config)
    return load_checkpoint(config.folder / "random-seed0" / "round-2" / "checkpoint.pt")


def _decoder(config) -> dict[str, torch.Tensor]:
    decoder = _trained(config)[0].module.decoder
    return dict(decoder.named_parameters())


def test_all_layers_train_from_the_decoder_of_the_frozen_encoder(with_training):
    alone = with_training(freeze=7, pixels=1024, steps=_STEPS, lr=0.003, weight_decay=0.01)
    alone = dataclasses.replace(alone, experiment="alone")
    first = with_training(fit_steps=_STEPS, steps=1, lr=1e-12, weight_decay=0.0)
    expected, found = _decoder(alone), _decoder(first)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-7, msg=name)


def test_a_checkpoint_says_how_long_its_decoder_was_fitted_first(with_training):
    meta = _trained(with_training(fit_steps=2, steps=1))[1]
    assert meta.provenance["recipe"]["fit_steps"] == 2


def test_a_killed_round_goes_on_without_another_fit(with_training, monkeypatch):
    whole = with_training(fit_steps=_STEPS, steps=2, lr=1e-3)
    killed = dataclasses.replace(whole, experiment="killed")
    expected, fitted = _decoder(whole), []

    def fit(*arguments, **options):
        fitted.append(1)
        fit_decoder(*arguments, **options)

    def kill(text: str) -> None:
        if "epoch 1/2" in text:
            raise KeyboardInterrupt

    monkeypatch.setattr(decoder_fit, "fit_decoder", fit)
    with pytest.raises(KeyboardInterrupt):
        run_loop(killed, say=kill)
    found = _decoder(killed)
    assert len(fitted) == 2  # one per round
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "lite0-aspp"}, "fit_steps needs network lite0 or lite1 or lite2"),
        ({"weights": None}, "give weights"),
        ({"fit_steps": -1}, "fit_steps must not be negative"),
    ],
)
def test_settings_without_a_decoder_to_fit_are_refused(with_training, changes, message):
    training = with_training(fit_steps=2, steps=1).training
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(training, **changes)


def test_a_decoder_alone_has_no_second_fit(with_training):
    with pytest.raises(UsageError, match="fit_steps has no effect with pixels"):
        with_training(freeze=7, pixels=64, steps=3, fit_steps=2)
