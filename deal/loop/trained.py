"""The network that a round of a loop has trained."""

from __future__ import annotations

from pathlib import Path

from deal.errors import ModelError
from deal.training.checkpoint import CheckpointMeta, load_checkpoint
from deal.training.difficulty import WithDifficulty

__all__ = ["trained"]


def trained(checkpoint: Path) -> tuple[WithDifficulty, CheckpointMeta]:
    """Read the checkpoint of a round, as :func:`deal.training.checkpoint.load_checkpoint` does.

    The ModelError of one that cannot be used says the remedy.
    """
    try:
        return load_checkpoint(checkpoint)
    except ModelError as error:
        raise ModelError(
            f"{error}: delete {checkpoint}, and the next start trains its round again"
        ) from error
