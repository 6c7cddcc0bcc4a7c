"""The frozen configuration of a training run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deal.errors import UsageError

__all__ = ["TrainConfig"]


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides the result of a training run; sizes are (H, W) in pixels.

    Attributes
    ----------
    dataset, data, size, scenes
        See :func:`deal.training.data.load_dataset`.
    network, width
        See :func:`deal.training.networks.build_network`.
    output : str
        Folder of checkpoints and metrics.
    epochs, batch_size : int
    lr : float
        Of the backbone at the start; falls to 0 by the poly schedule.
    head_lr_factor : float
        Times ``lr`` for ASPP, decoder and difficulty branch.
    momentum, weight_decay : float
    alpha : float
        Weight of the difficulty loss.
    class_balance : bool
        Weight the cross entropy of class c by 1/ln(1.1 + share of c).
    grid : (h, w) or None
        Attention grid.
    crop : (h, w) or None
        None takes the size of the images.
    scale : (low, high)
    blur, color_jitter : float
    seed : int
    precision : str
        ``fp32`` or ``bf16`` (autocast; parameters and evaluation stay float32).
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    weights : str or None
        torchvision's MobileNetV2 state dict.
    start_from : str or None
        Checkpoint of the same network and classes to go on from.
    validate_every : int
        Epochs between validations; the last epoch is always validated.
    """

    dataset: str
    output: str
    data: str | None = None
    size: tuple[int, int] | None = None
    scenes: int = 500
    network: str = "light"
    width: float = 1.0
    epochs: int = 100
    batch_size: int = 4
    lr: float = 0.01
    head_lr_factor: float = 10.0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    alpha: float = 1.0
    class_balance: bool = False
    grid: tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    scale: tuple[float, float] = (0.5, 2.0)
    blur: float = 0.5
    color_jitter: float = 0.0
    seed: int = 0
    precision: str = "fp32"
    device: str = "auto"
    weights: str | None = None
    start_from: str | None = None
    validate_every: int = 1

    def validate(self) -> None:
        """Raise UsageError for options that cannot work or do not go together."""
        for name in ("epochs", "validate_every", "width", "lr"):
            if getattr(self, name) <= 0:
                raise UsageError(f"--{name.replace('_', '-')} must be positive")
        if self.batch_size < 2:
            raise UsageError("--batch-size must be at least 2: batch normalisation needs a batch")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise UsageError("--scale needs LOW and HIGH with 0 < LOW <= HIGH")
        if self.weights is not None and self.start_from is not None:
            raise UsageError("--weights and --start-from exclude each other")
        if self.weights is not None and self.width != 1:
            raise UsageError("--weights are those of width 1; leave out --width")

    def recipe(self) -> dict[str, Any]:
        """The configuration without what only this machine knows: folders and device."""
        recipe = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
            if key not in ("data", "output", "device", "start_from")
        }
        if self.weights is not None:
            recipe["weights"] = Path(self.weights).name
        return recipe
