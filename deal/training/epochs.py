"""Epochs of training, for both ``deal train`` and the rounds of ``deal loop``."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deal.errors import DealError
from deal.training.augment import Augmentation
from deal.training.batches import batch_maker
from deal.training.checkpoint import CheckpointMeta
from deal.training.clock import BatchClock
from deal.training.config import TrainConfig
from deal.training.data import Dataset
from deal.training.difficulty import WithDifficulty
from deal.training.features import FeatureBatches, OnFeatures
from deal.training.preparation import (
    averaged,
    build_optimizer,
    class_weights,
    compiled,
    freeze,
    initial_module,
    place,
)
from deal.training.recipe import Recipe, normalization_of
from deal.training.step import ALIGN_CORNERS, training_step

__all__ = ["Epoch", "Training", "checkpoint_meta"]

_Inputs = tuple[Tensor | tuple[Tensor, ...], Tensor]  # of the network, and labels


@dataclass(frozen=True, slots=True)
class Epoch:
    """The result of one epoch.

    Attributes
    ----------
    steps : int
    losses : dict
        Means over the steps: ``loss``, ``segmentation_loss`` and ``difficulty_loss``.
    lr : float
        Learning rate of the backbone in the last step.
    seconds, batch_seconds : float
        Time of the epoch, and the part of it that making batches took.
    """

    steps: int
    losses: dict[str, float]
    lr: float
    seconds: float
    batch_seconds: float


def checkpoint_meta(
    recipe: Recipe, data: Dataset, provenance: Mapping[str, Any] | None = None
) -> CheckpointMeta:
    """What a checkpoint says of a network that is trained by a recipe on a data set."""
    mean, std = normalization_of(recipe.network)
    return CheckpointMeta(
        network=recipe.network,
        width=recipe.width,
        classes=data.classes,
        palette=data.palette,
        ignore_index=data.ignore_index,
        mean=mean,
        std=std,
        align_corners=ALIGN_CORNERS,
        grid=recipe.grid,
        input_size=data.size,
        provenance=provenance or {},
        uncertainty=recipe.uncertainty,
    )


class Training:
    """A network in training, which is trained one epoch at a time.

    Parameters
    ----------
    config : TrainConfig
    data : Dataset
    device : torch.device
    steps : int, optional
        Total number of steps, for which the last epoch is cut short; by default, whole epochs.
    provenance : mapping
        Provenance to store in ``meta``.
    prepare : callable, optional
        Changes the network before anything else is made of it.

    Attributes
    ----------
    meta : CheckpointMeta
        Facts about the network for its checkpoints.
    module : WithDifficulty
        The network on the device.
    result : WithDifficulty
        What to evaluate and to keep: ``module``, or with ``ema`` the average of its weights.
    started_from : dict or None
        Provenance of the checkpoint from which the network started.
    per_epoch, steps : int
        Number of steps in a whole epoch, and in the whole training.
    """

    lr_option = "--lr"
    """Name of the learning rate in errors."""

    def __init__(
        self,
        config: TrainConfig,
        data: Dataset,
        device: torch.device,
        *,
        steps: int | None = None,
        provenance: Mapping[str, Any] | None = None,
        prepare: Callable[[WithDifficulty], None] | None = None,
    ) -> None:
        self.config = config
        self.data = data
        self.device = device
        self.per_epoch = len(data.train) // config.batch_size
        self.steps = steps or config.epochs * self.per_epoch
        torch.manual_seed(config.seed)
        self.meta = checkpoint_meta(config, data, provenance)
        module, self.started_from = initial_module(config, self.meta)
        if prepare is not None:
            prepare(module)
        self.module = place(module, device)
        self._resting = freeze(config, self.module)
        self._forward = compiled(config, self.module)
        self._optimizer = build_optimizer(config, self.module)
        self._average = averaged(config, self.module)
        augment = Augmentation(
            crop=config.crop or data.size,
            scale=config.scale,
            blur=config.blur,
            color_jitter=config.color_jitter,
            mean=self.meta.mean,
            ignore_index=data.ignore_index,
        )
        self._make_batch: Callable[[Sequence[int], Sequence[tuple[int, ...]]], _Inputs]
        self._make_batch = make = batch_maker(data.train, augment, device)
        if config.cache and config.freeze is not None:
            self._forward = OnFeatures(self.module, config.freeze)
            self._make_batch = FeatureBatches(
                make,
                self._forward,
                images=len(data.train),
                variants=config.cache,
                folder=Path(config.output),
                autocast=config.precision == "bf16",
            )
        self._weights = class_weights(data).to(device) if config.class_balance else None

    @property
    def result(self) -> WithDifficulty:
        """See the attributes of the class."""
        if self._average is None:
            return self.module
        assert isinstance(self._average.module, WithDifficulty)
        return self._average.module

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Order of all training samples in an epoch; it depends only on seed and epoch."""
        return np.random.default_rng((self.config.seed, epoch)).permutation(len(self.data.train))

    def augment_seed(self, epoch: int, index: int) -> tuple[int, ...]:
        """The seed for the augmentation of a sample."""
        return self.config.seed, epoch, index

    def train_epoch(self, epoch: int, advance: Callable[[], None] = lambda: None) -> Epoch:
        """Train one epoch, numbered from 1, and call ``advance`` after each step.

        Raises DealError if the loss is no longer finite.
        """
        started, clock = time.perf_counter(), BatchClock(self.device)
        self.module.train()
        for part in self._resting:
            part.eval()
        sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        first = (epoch - 1) * self.per_epoch
        count = min(self.per_epoch, self.steps - first)
        for index, (inputs, labels) in enumerate(self._batches(epoch, count, clock)):
            sums += training_step(
                self.config,
                self._forward,
                self._optimizer,
                inputs,
                labels,
                progress=(first + index, self.steps),
                ignore_index=self.data.ignore_index,
                class_weights=self._weights,
            ).double()
            if self._average is not None:
                self._average.update_parameters(self.module)
            advance()
        means = (sums / count).tolist()  # waits for the device
        if not math.isfinite(means[0]):
            raise DealError(f"the loss is not finite in epoch {epoch}: lower {self.lr_option}")
        return Epoch(
            steps=count,
            losses=dict(zip(("loss", "segmentation_loss", "difficulty_loss"), means, strict=True)),
            lr=self._optimizer.param_groups[0]["lr"],
            seconds=time.perf_counter() - started,
            batch_seconds=clock.seconds(),
        )

    def state(self) -> dict[str, Any]:
        """The state on which the next epoch depends, for `torch.save`."""
        return {
            "module": self.module.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "average": None if self._average is None else self._average.state_dict(),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state() if self.device.type == "cuda" else None,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a value of `state`; older files lack ``cuda_rng`` and ``average``."""
        self.module.load_state_dict(state["module"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        torch.set_rng_state(state["rng"])
        if state.get("cuda_rng") is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_rng"])

    def _batches(self, epoch: int, count: int, clock: BatchClock) -> Iterator[_Inputs]:
        order, size = self.order(epoch), self.config.batch_size
        # Features that are kept take the augmentations of the first epochs in turn.
        variant = 1 + (epoch - 1) % self.config.cache if self.config.cache else epoch
        for start in range(0, count * size, size):
            chosen = order[start : start + size].tolist()
            seeds = [self.augment_seed(variant, index) for index in chosen]
            with clock.running():
                batch = self._make_batch(chosen, seeds)
            yield batch
