"""The small network, and how it learns to predict what a model says."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from deal.distilling.lessons import Lessons
from deal.errors import DealError
from deal.fitting.fit import default_grid
from deal.training.difficulty import WithDifficulty
from deal.training.networks import build_network
from deal.training.preparation import place
from deal.training.recipe import IMAGENET
from deal.training.step import ALIGN_CORNERS
from deal.training.weights import load_encoder, packaged_weights

__all__ = ["Training", "build_student", "taught"]

_WEIGHT_DECAY = 1e-2
_BRANCH_LR = 0.05  # the highest: the branch has few weights, and they have far to go

Size = tuple[int, int]


@dataclass(frozen=True)
class Training:
    """How the small network learns.

    Attributes
    ----------
    epochs, batch_size : int
    lr : float
        The highest learning rate of the one-cycle schedule, of AdamW; the difficulty branch has
        one of its own.
    seed : int
        Of weights, order and mirroring.
    """

    epochs: int
    batch_size: int
    lr: float
    seed: int

    def batches(self, images: int) -> int:
        """Batches of an epoch, each of ``batch_size`` images or more."""
        return max(images // self.batch_size, 1)

    def steps(self, images: int) -> int:
        """Batches of all epochs."""
        return self.epochs * self.batches(images)


def build_student(
    network: str, num_classes: int, size: Size, weights: str | None, seed: int
) -> WithDifficulty:
    """Build the network that learns.

    Parameters
    ----------
    network : str
        One of :data:`deal.training.recipe.NETWORKS`.
    num_classes : int
    size : (H, W)
        Of its input.
    weights : str or None
        Of the encoder: ``imagenet`` for those of the installed package, or a file of them.
    seed : int
        Of all other weights.

    Raises
    ------
    UsageError, ModelError
        The network is unknown, or the weights are missing or others.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = build_network(network, num_classes)
        if weights is not None:
            path = packaged_weights(network) if weights == IMAGENET else weights
            load_encoder(built.backbone, path)
        with torch.no_grad():
            cells = tuple(built.eval()(torch.zeros(1, 3, *size)).shape[-2:])
        return WithDifficulty(
            built,
            num_classes,
            grid=default_grid((cells[0], cells[1])),
            align_corners=ALIGN_CORNERS,
            uncertainty=True,
        )


def taught(
    student: WithDifficulty,
    lessons: Lessons,
    training: Training,
    device: torch.device,
    done: Callable[[], None],
) -> WithDifficulty:
    """Train the small network to say what the model says; it comes back on the CPU.

    The loss is the cross entropy between both distributions of each cell (Hinton et al., arXiv
    1503.02531, at temperature 1), and that of both difficulties. Half of the images of a batch are
    mirrored. The weights of the difficulty branch learn at a rate of their own; at that of the
    network they would stay so small that all difficulties were alike.

    Raises
    ------
    DealError
        The loss is no longer finite.
    """
    total = len(lessons.images)
    module = place(student, device).train()
    branch = {"params": list(module.difficulty.parameters()), "weight_decay": 0.0}
    network = {"params": list(module.module.parameters()), "weight_decay": _WEIGHT_DECAY}
    optimizer = torch.optim.AdamW([network, branch], lr=training.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        [training.lr, _BRANCH_LR],
        total_steps=training.steps(total),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        for epoch in range(training.epochs):
            draw = np.random.default_rng((training.seed, epoch))
            for chosen in np.array_split(draw.permutation(total), training.batches(total)):
                loss = _loss(module, lessons, chosen, draw.random(len(chosen)) < 0.5, device)
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
                done()
            if not math.isfinite(float(loss.detach())):
                raise DealError(f"the loss is no longer finite: a lower --lr than {training.lr:g}")
    return module.cpu().eval()


def _loss(
    module: WithDifficulty,
    lessons: Lessons,
    chosen: NDArray[np.int64],
    mirrored: NDArray[np.bool_],
    device: torch.device,
) -> Tensor:
    def batch(maps: NDArray[Any], axis: int) -> Tensor:
        values = torch.from_numpy(maps[chosen]).to(device)
        flip = torch.from_numpy(mirrored).to(device).view(-1, *[1] * (values.ndim - 1))
        return torch.where(flip, values.flip(axis), values)

    images = batch(lessons.images, 2).permute(0, 3, 1, 2)
    wanted = batch(lessons.probabilities, 3).float()
    logits, difficulty = module(images)
    loss = -(wanted * _at(logits, wanted).log_softmax(1)).sum(1).mean()
    if lessons.difficulty is not None:
        goal = batch(lessons.difficulty, 2).float()[:, None]
        loss = loss + F.binary_cross_entropy_with_logits(_at(difficulty, goal), goal)
    return loss


def _at(maps: Tensor, like: Tensor) -> Tensor:
    """Maps resized as for scoring, to the size of others."""
    size = like.shape[-2:]
    return F.interpolate(maps.float(), size, mode="bilinear", align_corners=ALIGN_CORNERS)
