"""Training in PyTorch: networks, difficulty branch, losses, data sets and the loop.

Names are imported on first use: recipes and settings need no PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deal.training.checkpoint import CheckpointMeta, load_checkpoint, save_checkpoint
    from deal.training.config import TrainConfig
    from deal.training.difficulty import DifficultyBranch, WithDifficulty
    from deal.training.losses import joint_loss
    from deal.training.networks import build_network
    from deal.training.trainer import train
else:  # type checkers assume that a module with __getattr__ has every name
    from deal._lazy import on_first_use

    __getattr__ = on_first_use(
        __name__,
        {
            "CheckpointMeta": "deal.training.checkpoint",
            "DifficultyBranch": "deal.training.difficulty",
            "TrainConfig": "deal.training.config",
            "WithDifficulty": "deal.training.difficulty",
            "build_network": "deal.training.networks",
            "joint_loss": "deal.training.losses",
            "load_checkpoint": "deal.training.checkpoint",
            "save_checkpoint": "deal.training.checkpoint",
            "train": "deal.training.trainer",
        },
    )

__all__ = [
    "CheckpointMeta",
    "DifficultyBranch",
    "TrainConfig",
    "WithDifficulty",
    "build_network",
    "joint_loss",
    "load_checkpoint",
    "save_checkpoint",
    "train",
]


def __dir__() -> list[str]:
    return sorted(__all__)
