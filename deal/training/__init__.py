"""Training in PyTorch: networks, difficulty branch, losses, data sets and the loop."""

from deal.training.checkpoint import CheckpointMeta, load_checkpoint, save_checkpoint
from deal.training.config import TrainConfig
from deal.training.difficulty import DifficultyBranch, WithDifficulty
from deal.training.losses import joint_loss
from deal.training.networks import build_network
from deal.training.trainer import train

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
