"""What ``[training]`` means for the networks of a loop."""

from __future__ import annotations

from dataclasses import fields, replace

import torch

from deal.loop.config import LoopConfig
from deal.loop.training import TrainingConfig
from deal.training.checkpoint import CheckpointMeta
from deal.training.config import TrainConfig
from deal.training.data import Dataset
from deal.training.difficulty import WithDifficulty
from deal.training.preparation import freeze, initial_module
from deal.training.recipe import Recipe, normalization_of
from deal.training.step import ALIGN_CORNERS

__all__ = ["initial", "meta_of", "recipe_of"]


def recipe_of(
    config: LoopConfig,
    training: TrainingConfig,
    *,
    seed: int,
    epochs: int = 1,
    output: str = "",
) -> TrainConfig:
    """The configuration of one training."""
    return TrainConfig(
        dataset=config.data.dataset,
        output=output,
        size=config.data.size,
        scenes=config.data.scenes,
        seed=seed,
        epochs=epochs,
        validate_every=epochs,
        **{field.name: getattr(training, field.name) for field in fields(Recipe)},
    )


def meta_of(training: TrainingConfig, data: Dataset) -> CheckpointMeta:
    """What a checkpoint says of its network, without where it comes from."""
    mean, std = normalization_of(training.network)
    return CheckpointMeta(
        network=training.network,
        width=training.width,
        classes=data.classes,
        palette=data.palette,
        ignore_index=data.ignore_index,
        mean=mean,
        std=std,
        align_corners=ALIGN_CORNERS,
        grid=training.grid,
        input_size=data.size,
        provenance={},
    )


def initial(recipe: TrainConfig, meta: CheckpointMeta) -> WithDifficulty:
    """The network before its first step, with its frozen stages."""
    torch.manual_seed(recipe.seed)
    module, _ = initial_module(recipe, replace(meta, uncertainty=recipe.uncertainty))
    freeze(recipe, module)
    return module
