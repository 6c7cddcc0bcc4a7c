"""Prepare a training run: network, optimizer, schedule, class weights."""

from __future__ import annotations

import itertools
import math
import typing
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from deal.errors import EngineUnavailableError
from deal.machine.processor import emulates_bfloat16
from deal.training.checkpoint import CheckpointMeta, build_module, load_checkpoint
from deal.training.config import TrainConfig
from deal.training.data import Dataset
from deal.training.difficulty import WithDifficulty
from deal.training.networks import SegmentationNetwork
from deal.training.recipe import Recipe
from deal.training.weights import load_weights, refuse_other

__all__ = [
    "averaged",
    "balanced_weights",
    "build_optimizer",
    "class_weights",
    "compiled",
    "find_device",
    "freeze",
    "initial_module",
    "place",
    "poly_factor",
    "precision_note",
]

_POWER = 0.9


def poly_factor(step: int, total: int, warmup: int = 0) -> float:
    """Learning rate of ``step`` (from 0) as a fraction of the first: (1 − step/total)^0.9.

    In the first ``warmup`` steps it is multiplied by (step + 1)/(warmup + 1).
    """
    return math.pow(1 - step / total, _POWER) * min(1.0, (step + 1) / (warmup + 1))


def find_device(name: str) -> torch.device:
    """Find ``auto``, ``cpu`` or ``cuda``; EngineUnavailableError if the device is missing."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise EngineUnavailableError(
            "--device cuda: no CUDA device, or torch built without CUDA; use --device cpu"
        )
    return torch.device(name)


def precision_note(recipe: Recipe, device: torch.device) -> str | None:
    """A note where bf16 trains slower than fp32; None elsewhere."""
    if recipe.precision != "bf16" or device.type != "cpu" or not emulates_bfloat16():
        return None
    return (
        "note: this processor has no AVX-512, so a step in bf16 takes many times one in fp32: "
        "train in fp32 here"
    )


def initial_module(
    config: TrainConfig, meta: CheckpointMeta
) -> tuple[WithDifficulty, dict[str, Any] | None]:
    """The network before the first step, and the provenance of its checkpoint, if any."""
    module = build_module(meta)
    if config.weights is not None:
        load_weights(module, meta, config.weights)
    if config.start_from is None:
        return module, None
    start, old = load_checkpoint(config.start_from)
    refuse_other(f"--start-from {config.start_from}", old, meta, ("network", "width", "classes"))
    module.load_state_dict(start.state_dict())
    return module, dict(old.provenance)


def place(module: WithDifficulty, device: torch.device) -> WithDifficulty:
    """Move to the device, in channels-last layout: faster convolutions on CPU and GPU alike."""
    for tensor in itertools.chain(module.parameters(), module.buffers()):
        if tensor.ndim == 4:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    return module.to(device)


def compiled(config: TrainConfig, module: WithDifficulty) -> nn.Module:
    """The module for the steps: the given one, or a compiled one with the same parameters."""
    if config.compile is None:
        return module
    return typing.cast(nn.Module, torch.compile(module, mode=config.compile))


def freeze(config: TrainConfig, module: WithDifficulty) -> list[nn.Module]:
    """Stop the training of the encoder's frozen stages.

    Returns
    -------
    list of Module
        What has to stay in evaluation mode: frozen stages, or with ``freeze_norm`` every batch norm
        of the encoder.
    """
    network = module.module
    assert isinstance(network, SegmentationNetwork)
    backbone, last = network.backbone, -1 if config.freeze is None else config.freeze
    resting = [backbone.stage(number) for number in range(last + 1)]
    for part in resting:
        part.requires_grad_(False)
    if config.freeze_norm:
        resting += [m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    return resting


def build_optimizer(config: TrainConfig, module: WithDifficulty) -> torch.optim.Optimizer:
    """SGD or AdamW in which all but the encoder learns ``head_lr_factor`` times as fast."""
    backbone: list[nn.Parameter] = []
    head: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            (backbone if name.startswith("module.backbone.") else head).append(parameter)
    groups = [
        {"params": backbone, "initial_lr": config.lr},
        {"params": head, "initial_lr": config.lr * config.head_lr_factor},
    ]
    fused = head[0].device.type == "cuda"  # one kernel for all parameters
    if config.optimizer == "adamw":
        return torch.optim.AdamW(
            groups, lr=config.lr, weight_decay=config.weight_decay, fused=fused
        )
    return torch.optim.SGD(
        groups,
        lr=config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        fused=fused,
    )


def averaged(config: TrainConfig, module: WithDifficulty) -> AveragedModel | None:
    """The exponential moving average of the weights, for ``ema`` above 0; buffers are copied.

    The decay begins low and rises with the steps t to ``ema``: min(ema, (1 + t)/(10 + t)), so that
    the first weights are soon forgotten.
    """
    if not config.ema:
        return None

    def move(kept: Sequence[Tensor], new: Sequence[Tensor], steps: Tensor | int) -> None:
        decay = min(config.ema, (1 + int(steps)) / (10 + int(steps)))
        for a, b in zip(kept, new, strict=True):
            a.lerp_(b, 1 - decay)

    return AveragedModel(module, multi_avg_fn=move)


def class_weights(data: Dataset) -> Tensor:
    """1/ln(1.1 + share of the class), after ENet (Paszke et al., arXiv 1606.02147)."""
    counts = np.zeros(256, np.int64)
    for sample in data.train:
        counts += np.bincount(sample.label.ravel(), minlength=256)
    return balanced_weights(counts[: len(data.classes)])


def balanced_weights(labeled: NDArray[np.int64]) -> Tensor:
    """:func:`class_weights` of the number of labeled pixels of each class [C]."""
    weights = 1 / np.log(1.1 + labeled / max(1, labeled.sum()))
    return torch.tensor(weights / weights.mean(), dtype=torch.float32)
