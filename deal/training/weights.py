"""Start a network from the weights of another training."""

from __future__ import annotations

from pathlib import Path

import torch

from deal.errors import UsageError
from deal.training.checkpoint import CheckpointMeta, load_checkpoint
from deal.training.difficulty import WithDifficulty
from deal.training.mobilenet import load_imagenet_weights
from deal.training.networks import DeepLab

__all__ = ["load_weights", "refuse_other"]

# Parameters that depend on the classes, besides those of the difficulty branch.
_CLASSIFIER = "decoder.classifier."


def load_weights(module: WithDifficulty, meta: CheckpointMeta, path: str | Path) -> None:
    """Load the weights of a file, except those that depend on its classes.

    Parameters
    ----------
    module : WithDifficulty
        A :class:`DeepLab` with its difficulty branch, as ``meta`` describes it.
    meta : CheckpointMeta
    path
        torchvision's MobileNetV2 state dict, which becomes the backbone of a network of width 1; or
        a checkpoint of `deal train` with the same network and width and any classes, from which
        everything but the classifier and the difficulty branch is loaded.

    Raises
    ------
    ModelError
        The file cannot be read, or is neither of the two.
    UsageError
        The weights belong to another network or width.
    """
    network = module.module
    assert isinstance(network, DeepLab)
    if not _is_checkpoint(path):
        load_imagenet_weights(network.backbone, path)
        return
    start, old = load_checkpoint(path)
    refuse_other(f"weights {path}", old, meta, ("network", "width"))
    values = start.module.state_dict()
    shared = {name: value for name, value in values.items() if not name.startswith(_CLASSIFIER)}
    network.load_state_dict(shared, strict=False)


def refuse_other(
    what: str, theirs: CheckpointMeta, ours: CheckpointMeta, names: tuple[str, ...]
) -> None:
    """Raise UsageError if a checkpoint and this run differ in one of these fields."""
    for name in names:
        if getattr(theirs, name) != getattr(ours, name):
            raise UsageError(
                f"{what} has {name} {getattr(theirs, name)}, but this run has {getattr(ours, name)}"
            )


def _is_checkpoint(path: str | Path) -> bool:
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # the function that loads the file next says what is wrong
        return False
    return isinstance(values, dict) and "format" in values
