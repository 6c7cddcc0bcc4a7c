"""What ``[training]`` means for the networks of a loop."""

from __future__ import annotations

from dataclasses import fields

import torch

from deal.loop.config import LoopConfig
from deal.loop.training import TrainingConfig
from deal.training.config import TrainConfig
from deal.training.data import Dataset
from deal.training.difficulty import WithDifficulty
from deal.training.epochs import checkpoint_meta
from deal.training.preparation import freeze, initial_module
from deal.training.recipe import Recipe

__all__ = ["initial", "recipe_of"]


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


def initial(recipe: TrainConfig, data: Dataset) -> WithDifficulty:
    """The network before its first step, with its frozen stages."""
    torch.manual_seed(recipe.seed)
    module, _ = initial_module(recipe, checkpoint_meta(recipe, data))
    freeze(recipe, module)
    return module
