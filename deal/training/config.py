"""The frozen configuration of a training run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deal.errors import UsageError
from deal.training.recipe import Recipe, check_seed

__all__ = ["TrainConfig"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Recipe):
    """All settings that decide the result of a training run; sizes are (H, W) in pixels.

    Attributes
    ----------
    dataset, data, size, scenes
        See :func:`deal.training.data.load_dataset`.
    hold_out : str or None
        See :func:`deal.training.data.held_out`.
    output : str
        Folder of checkpoints and metrics.
    epochs : int
    seed : int
    start_from : str or None
        Checkpoint of the same network and classes from which the training starts.
    validate_every : int
        Epochs between validations; the last epoch is always validated.
    """

    dataset: str
    output: str
    data: str | None = None
    size: tuple[int, int] | None = None
    scenes: int = 500
    hold_out: str | None = None
    epochs: int = 100
    head_lr_factor: float = 10.0
    seed: int = 0
    start_from: str | None = None
    validate_every: int = 1

    def validate(self) -> None:
        """Raise UsageError for options that cannot work or do not go together."""
        if self.weights is not None and self.start_from is not None:
            raise UsageError("--weights and --start-from exclude each other")
        check_seed("--seed", self.seed)
        self.check(lambda name: f"--{name.replace('_', '-')}", ("epochs", "validate_every"))
        if self.keeps is not None and self.weights is None and self.start_from is None:
            raise UsageError(
                f"--{self.keeps.replace('_', '-')} would keep an encoder of random weights: give "
                "--weights (imagenet, or a file) or --start-from"
            )

    def recipe(self) -> dict[str, Any]:
        """The configuration without folders and device, which differ between machines."""
        recipe = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
            if key not in ("data", "output", "device", "start_from")
        }
        if self.weights is not None:
            recipe["weights"] = Path(self.weights).name
        return {key: value for key, value in recipe.items() if key not in self.younger()}
