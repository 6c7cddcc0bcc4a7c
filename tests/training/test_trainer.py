"""The loop: schedule, determinism, resume bit for bit, what is refused before it starts."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import deal.training.trainer as trainer
from deal.errors import (
    DealError,
    EngineUnavailableError,
    ModelError,
    OutputError,
    PoolError,
    UsageError,
)
from deal.machine.files import hold
from deal.training.batches import DeviceBatches
from deal.training.checkpoint import load_checkpoint
from deal.training.config import TrainConfig
from deal.training.depthwise import DepthwiseConv2d
from deal.training.mobilenet import MobileNetV2
from deal.training.trainer import train


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        dataset="synthetic",
        output=str(tmp_path / "run"),
        size=(32, 48),
        scenes=6,
        width=0.1,
        epochs=3,
        batch_size=2,
        lr=0.05,
        head_lr_factor=1.0,
        grid=(4, 6),
        color_jitter=0.2,
    )


def parameters(output: str) -> dict[str, torch.Tensor]:
    state = torch.load(Path(output) / "last.pt", weights_only=True)
    return {**state["module"], "momentum": state["optimizer"]["state"][0]["momentum_buffer"]}


def losses(output: str) -> list[float]:
    lines = (Path(output) / "metrics.jsonl").read_text().splitlines()
    return [record["loss"] for record in map(json.loads, lines) if "loss" in record]


def assert_same_run(first: str, second: str) -> None:
    assert losses(first) == losses(second)
    mine, theirs = parameters(first), parameters(second)
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        assert torch.equal(value, theirs[name]), name


@pytest.mark.slow
def test_a_run_leaves_checkpoint_metrics_and_summary(config):
    summary = train(config)
    output = Path(config.output)
    assert sorted(path.name for path in output.iterdir()) == [
        "_lock",
        "best.pt",
        "last.pt",
        "metrics.jsonl",
        "summary.json",
    ]
    assert json.loads((output / "summary.json").read_text())["test"] == summary["test"]
    records = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records[:-1]] == [1, 2, 3]
    assert records[-1] == {"epoch": summary["best_epoch"], "test": summary["test"]}
    best = max(records[:-1], key=lambda record: record["val"]["miou"])
    assert summary["val"] == best["val"]
    module, meta = load_checkpoint(output / "best.pt")
    assert meta.input_size == (32, 48)
    assert meta.grid == module.head().grid == (4, 6)
    assert meta.provenance["epoch"] == summary["best_epoch"]
    assert "output" not in meta.provenance["recipe"]


def test_a_run_with_held_out_images_measures_on_them_alone(config):
    summary = train(replace(config, hold_out="scene-*[02468]", epochs=1))
    assert summary["training_images"] == 3
    assert summary["test"] is None
    _, meta = load_checkpoint(Path(config.output) / "best.pt")
    assert meta.provenance["recipe"]["hold_out"] == "scene-*[02468]"
    with pytest.raises(OutputError, match=r"another .*hold_out"):
        train(replace(config, epochs=1))


@pytest.mark.slow
def test_the_same_seed_gives_the_same_network_and_another_does_not(config, tmp_path):
    again = replace(config, output=str(tmp_path / "again"))
    other = replace(config, output=str(tmp_path / "other"), seed=1)
    for each in (config, again, other):
        train(each)
    assert_same_run(config.output, again.output)
    assert losses(other.output) != losses(config.output)


@pytest.mark.slow
def test_batches_made_on_the_device_train_and_go_on_after_a_kill(config, tmp_path, monkeypatch):
    monkeypatch.setattr("deal.training.epochs.batch_maker", DeviceBatches)
    whole = replace(config, output=str(tmp_path / "whole"))
    train(whole)
    save = trainer.save_atomically

    def killed(values, path):
        save(values, path)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "save_atomically", killed)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    train(config)
    assert_same_run(config.output, whole.output)


@pytest.mark.slow
def test_compiled_steps_train_the_network_that_is_saved(config, tmp_path, monkeypatch):
    compile_, modes = torch.compile, []

    def eager(module, mode):  # compiling for real takes minutes
        modes.append(mode)
        return compile_(module, backend="eager")

    monkeypatch.setattr(torch, "compile", eager)
    # Compiled steps have PyTorch's gradients of depthwise convolutions, which round otherwise.
    monkeypatch.setattr(DepthwiseConv2d, "forward", torch.nn.Conv2d.forward)
    plain = replace(config, output=str(tmp_path / "plain"), epochs=1)
    train(plain)
    train(replace(config, epochs=1, compile="reduce-overhead"))
    assert modes == ["reduce-overhead"]
    assert_same_run(config.output, plain.output)


@pytest.mark.slow
@pytest.mark.parametrize("write", ["before", "after"])
def test_a_killed_run_goes_on_and_ends_with_the_same_network(config, tmp_path, monkeypatch, write):
    whole = replace(config, output=str(tmp_path / "whole"))
    train(whole)
    save = trainer.save_atomically
    calls = []

    def killed(values, path):
        calls.append(path)
        if len(calls) == 2 and write == "before":
            raise KeyboardInterrupt
        save(values, path)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "save_atomically", killed)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    assert not (Path(config.output) / "summary.json").exists()
    train(config)
    assert_same_run(config.output, whole.output)


@pytest.mark.slow
def test_a_finished_run_is_not_repeated(config, monkeypatch):
    first = train(config)
    monkeypatch.setattr(trainer, "load_dataset", None)
    assert json.dumps(train(config)) == json.dumps(first)


@pytest.mark.slow
def test_a_damaged_summary_is_made_anew(config):
    first = train(config)
    summary = Path(config.output) / "summary.json"
    seconds = {key for key in first if "seconds" in key}
    for damaged in (b"{", b"", bytes(100), b"[]", b"\xff"):
        summary.write_bytes(damaged)
        again = train(config)
        assert {**again, **dict.fromkeys(seconds)} == {**first, **dict.fromkeys(seconds)}, damaged
        assert json.loads(summary.read_text()) == json.loads(json.dumps(again)), damaged


@pytest.mark.slow
def test_another_configuration_on_an_old_output_needs_overwrite(config):
    train(config)
    changed = replace(config, epochs=1, seed=3)
    with pytest.raises(OutputError, match="another epochs, seed; use --overwrite"):
        train(changed)
    assert len(train(changed, overwrite=True)["val"]["iou"]) == 9
    assert len(losses(config.output)) == 1


@pytest.mark.slow
def test_overwrite_keeps_the_old_run_when_the_new_one_is_refused(config):
    train(config)
    with pytest.raises(PoolError, match="more than the 6"):
        train(replace(config, batch_size=7), overwrite=True)
    assert (Path(config.output) / "best.pt").exists()


def test_a_diverged_run_ends_with_the_remedy(config):
    with pytest.raises(DealError, match="not finite in epoch 1: lower --lr"):
        train(replace(config, lr=1e30))


@pytest.mark.slow
def test_difficulty_learns(config):
    train(replace(config, epochs=1))
    start = parameters(config.output)["difficulty.weight"]
    train(config, overwrite=True)
    assert not torch.equal(parameters(config.output)["difficulty.weight"], start)


@pytest.mark.slow
def test_start_from_takes_over_the_parameters(config, tmp_path):
    train(replace(config, epochs=1))
    checkpoint = str(Path(config.output) / "best.pt")
    second = replace(
        config, output=str(tmp_path / "second"), start_from=checkpoint, lr=1e-12, epochs=1
    )
    train(second)
    old, _ = load_checkpoint(checkpoint)
    new, meta = load_checkpoint(Path(second.output) / "best.pt")
    for (name, before), after in zip(old.named_parameters(), new.parameters(), strict=True):
        torch.testing.assert_close(after, before, rtol=0, atol=1e-6, msg=name)
    assert meta.provenance["started_from"]["recipe"]["epochs"] == 1
    with pytest.raises(UsageError, match=r"has width 0\.1, but this run has 0\.2"):
        train(replace(second, width=0.2), overwrite=True)


@pytest.mark.slow
def test_imagenet_weights_start_the_backbone(config, tmp_path):
    torch.manual_seed(9)
    backbone = MobileNetV2()
    torch.save(backbone.state_dict(), tmp_path / "mobilenet.pth")
    weighted = replace(
        config, width=1.0, weights=str(tmp_path / "mobilenet.pth"), lr=1e-12, epochs=1
    )
    train(weighted)
    trained = parameters(weighted.output)["module.backbone.features.0.0.weight"]
    torch.testing.assert_close(trained, backbone.features[0][0].weight.data, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"batch_size": 1}, UsageError, "batch normalisation needs a batch"),
        ({"batch_size": 7}, PoolError, "more than the 6 training images"),
        ({"scale": (2.0, 1.0)}, UsageError, "LOW <= HIGH"),
        ({"lr": 0.0}, UsageError, "--lr must be positive"),
        ({"lr": math.nan}, UsageError, "--lr must be positive, not nan"),
        ({"width": math.inf}, UsageError, "--width must be positive, not inf"),
        ({"scale": (0.5, math.inf)}, UsageError, "LOW <= HIGH"),
        ({"weight_decay": -1.0}, UsageError, "--weight-decay must not be negative, not -1.0"),
        ({"head_lr_factor": -1.0}, UsageError, "--head-lr-factor must not be negative"),
        ({"alpha": math.nan}, UsageError, "--alpha must not be negative, not nan"),
        ({"seed": 2**63}, UsageError, r"--seed must be a whole number from 0 to 2\^63 - 1"),
        ({"size": (31, 48)}, UsageError, "size must be at least 32x32 for dataset synthetic"),
        ({"weights": "w", "start_from": "s"}, UsageError, "exclude each other"),
        ({"weights": "w"}, ModelError, "weights w cannot be read"),
        ({"network": "unet"}, UsageError, "paper, light"),
    ],
)
def test_options_that_cannot_work_are_refused(config, change, error, message):
    with pytest.raises(error, match=message):
        train(replace(config, **change))


def test_two_processes_never_train_in_one_folder(config):
    with (
        hold(Path(config.output), wait=False),
        pytest.raises(OutputError, match=r"another process trains in .*choose another --output"),
    ):
        train(config, overwrite=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
def test_a_device_that_is_not_there_is_an_error(config):
    with pytest.raises(EngineUnavailableError, match="use --device cpu"):
        train(replace(config, device="cuda"))


def test_a_damaged_checkpoint_names_the_remedy(config):
    Path(config.output).mkdir()
    (Path(config.output) / "last.pt").write_bytes(b"half")
    with pytest.raises(OutputError, match="use --overwrite"):
        train(config)


def test_an_output_that_cannot_be_made_is_an_error(config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be created"):
        train(replace(config, output=str(tmp_path / "file" / "run")))


@pytest.mark.slow
def test_bf16_trains_and_evaluates_in_float32(config):
    summary = train(replace(config, precision="bf16", epochs=1, class_balance=True))
    assert 0 <= summary["test"]["miou"] <= 1
    assert parameters(config.output)["difficulty.weight"].dtype == torch.float32


def test_an_output_in_a_store_is_refused_instead_of_a_folder_of_that_name(
    config, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="--output 's3://bucket/run' is an address"):
        train(replace(config, output="s3://bucket/run"))
    assert not list(tmp_path.iterdir())
