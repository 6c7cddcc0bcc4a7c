"""What a run starts from: schedule, parameter groups, class weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from deal.training.checkpoint import CheckpointMeta, build_module
from deal.training.config import TrainConfig
from deal.training.data import load_dataset
from deal.training.preparation import (
    build_optimizer,
    class_weights,
    poly_factor,
    precision_note,
)

CONFIG = TrainConfig(dataset="synthetic", output="run", head_lr_factor=10)


def test_poly_schedule():
    assert poly_factor(0, 10) == 1
    assert poly_factor(5, 10) == pytest.approx(0.5**0.9)
    assert poly_factor(10, 10) == 0


@pytest.mark.parametrize(
    ("precision", "device", "emulates", "told"),
    [
        ("bf16", "cpu", True, True),
        ("bf16", "cpu", False, False),
        ("bf16", "cuda", True, False),
        ("fp32", "cpu", True, False),
    ],
)
def test_a_precision_that_trains_slower_is_told(monkeypatch, precision, device, emulates, told):
    monkeypatch.setattr("deal.training.preparation.emulates_bfloat16", lambda: emulates)
    note = precision_note(replace(CONFIG, precision=precision), torch.device(device))
    assert (note is not None) == told


def test_head_layers_learn_faster_by_the_factor():
    module = build_module(
        CheckpointMeta(
            network="light",
            width=0.1,
            classes=("a", "b"),
            palette=((0, 0, 0), (1, 1, 1)),
            ignore_index=255,
            mean=(0.5, 0.5, 0.5),
            std=(1.0, 1.0, 1.0),
            align_corners=True,
            grid=None,
            input_size=(32, 48),
            provenance={},
        )
    )
    backbone, head = build_optimizer(CONFIG, module).param_groups
    assert head["initial_lr"] == pytest.approx(10 * backbone["initial_lr"])
    total = len(list(module.parameters()))
    inner = len(list(module.module.backbone.parameters()))
    assert (len(backbone["params"]), len(head["params"])) == (inner, total - inner)
    assert any(p is module.difficulty.gamma for p in head["params"])


def test_balanced_classes_weigh_rare_ones_up():
    data = load_dataset("synthetic", None, size=(32, 48), scenes=6)
    weights = class_weights(data)
    assert weights.mean().item() == pytest.approx(1)
    road, sign = (data.classes.index(name) for name in ("road", "sign"))
    assert weights[sign] > 2 * weights[road]
