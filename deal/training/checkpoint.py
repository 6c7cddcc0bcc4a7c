"""Checkpoints: a plain dictionary, read with ``weights_only=True``, written atomically."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from deal.errors import ModelError
from deal.machine.files import replacing
from deal.training.difficulty import WithDifficulty
from deal.training.networks import build_network

__all__ = [
    "CheckpointMeta",
    "build_module",
    "load_checkpoint",
    "save_atomically",
    "save_checkpoint",
]

_FORMAT = 1


@dataclass(frozen=True)
class CheckpointMeta:
    """Facts about a trained network and its input.

    Attributes
    ----------
    network : str
        ``paper`` or ``light``.
    width : float
    classes : tuple of str
    palette : tuple of (r, g, b)
    ignore_index : int
    mean, std : tuple of 3 float
        Mean and deviation of values in 0…1; the network applies them itself to RGB in 0…255.
    align_corners : bool
    grid : (h, w) or None
        Attention grid of the difficulty branch.
    input_size : (H, W)
        Size of the images in training; evaluation resizes to it.
    provenance : mapping
        Data, recipe and measured results, for people.
    uncertainty : bool
        Whether the difficulty branch has weights of uncertainty; older files lack the key.
    """

    network: str
    width: float
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    ignore_index: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    align_corners: bool
    grid: tuple[int, int] | None
    input_size: tuple[int, int]
    provenance: Mapping[str, Any]
    uncertainty: bool = False


def build_module(meta: CheckpointMeta) -> WithDifficulty:
    """Build the network that ``meta`` describes, freshly initialised."""
    network = build_network(
        meta.network, len(meta.classes), width=meta.width, mean=meta.mean, std=meta.std
    )
    return WithDifficulty(
        network,
        len(meta.classes),
        grid=meta.grid,
        align_corners=meta.align_corners,
        uncertainty=meta.uncertainty,
    )


def save_atomically(values: Mapping[str, Any], path: Path) -> None:
    """Write a file with ``torch.save``, whole or not at all."""
    with replacing(path, alone=True) as file:
        torch.save(dict(values), file)


def save_checkpoint(path: Path, module: WithDifficulty, meta: CheckpointMeta) -> None:
    """Write ``module`` and ``meta`` to ``path``, whole or not at all."""
    state = {key: value.detach().cpu() for key, value in module.state_dict().items()}
    values = {"format": _FORMAT, **asdict(meta), "state_dict": state}
    if not meta.uncertainty:
        del values["uncertainty"]
    save_atomically(values, path)


def load_checkpoint(path: str | Path) -> tuple[WithDifficulty, CheckpointMeta]:
    """Read a checkpoint written by ``deal train``.

    Returns
    -------
    module : WithDifficulty
        The network on the CPU, in evaluation mode. It takes RGB [B,3,H,W] in 0…255.
    meta : CheckpointMeta

    Raises
    ------
    ModelError
        The file cannot be read, or is not such a checkpoint.
    """
    try:
        values: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises pickle, zip, OS and runtime errors alike
        if isinstance(error, OSError):
            raise ModelError(f"checkpoint {path} cannot be read: {error.strerror}") from error
        raise ModelError(f"{path} is not a checkpoint of `deal train`, or is damaged") from error
    if not isinstance(values, dict) or values.get("format") != _FORMAT:
        raise ModelError(f"{path} is not a checkpoint of `deal train` (format {_FORMAT})")
    values = {"uncertainty": False, **values}
    fields = CheckpointMeta.__dataclass_fields__
    missing = [key for key in (*fields, "state_dict") if key not in values]
    if missing:
        raise ModelError(f"checkpoint {path} lacks {', '.join(missing)}; train again")
    meta = CheckpointMeta(**{key: values[key] for key in fields})
    module = build_module(meta)
    try:
        module.load_state_dict(values["state_dict"])
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"checkpoint {path} does not fit its own network: {reason}") from error
    return module.eval(), meta
