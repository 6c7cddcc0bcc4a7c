"""``[training]``: deal's own training, or a command that trains any network."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from deal._options import check_threads
from deal.errors import UsageError
from deal.loop.records import named, record
from deal.training.recipe import NETWORKS, PIXELWISE, Recipe, last_stage

__all__ = ["CommandConfig", "TrainingConfig", "training_config"]

# Values that a recipe allows, checked before any work without importing PyTorch.
_CHOICES = {
    "network": NETWORKS,
    "optimizer": ("sgd", "adamw"),
    "precision": ("fp32", "bf16"),
    "device": ("auto", "cpu", "cuda"),
    "compile": (None, "default", "reduce-overhead"),
}


_WITHOUT_EFFECT = (
    *("batch_size", "alpha", "crop", "scale", "blur", "color_jitter"),
    *("precision", "compile", "cache", "ema", "fit_steps"),
)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Recipe):
    """Training by deal: exactly one of ``epochs`` and ``steps``, and options of `deal train`.

    Attributes
    ----------
    epochs : int, optional
        Passes over the labeled images; rounds with more labels take more steps.
    steps : int, optional
        Steps of the optimizer, the same in every round.
    weights : str, optional
        As in `deal train`, relative to the folder of the configuration.
    pixels : int, optional
        Train the decoder alone, with this many labeled pixels per step, on features that the frozen
        encoder gives once for all runs. Needs ``steps``, ``weights``, ``freeze`` of the whole
        encoder, and a network whose decoder works pixel by pixel.
    fit_steps : int
        Steps of the decoder alone before all layers are trained, 1024 labeled pixels each, on such
        features; 0 for none. Needs ``weights`` and a network whose decoder works pixel by pixel.
    threads : int
        Threads of PyTorch on the CPU; 0 means every core. Results are bit-identical for the same
        number.
    """

    epochs: int | None = None
    steps: int | None = None
    pixels: int | None = None
    fit_steps: int = 0
    threads: int = 0

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise UsageError(
                "[training] needs either epochs or steps; or a command, to train your own network"
            )
        self.check(lambda name: f"[training] {name}", ("epochs", "steps", "pixels"))
        if self.keeps is not None and self.weights is None and self.pixels is None:
            raise UsageError(
                f"[training] {self.keeps} would keep an encoder of random weights: give weights "
                "(imagenet, or a file)"
            )
        if self.threads < 0:
            raise UsageError(
                f"[training] threads must be a number, or 0 for every core, not {self.threads}"
            )
        with named("[training]"):
            check_threads(threads=self.threads or None)
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                allowed = " or ".join(choice for choice in choices if choice)
                raise UsageError(f"[training] {name} must be {allowed}, not {value!r}")
        if self.fit_steps < 0:
            raise UsageError(f"[training] fit_steps must not be negative, not {self.fit_steps}")
        if self.pixels is not None:
            self._check_pixels()
        elif self.fit_steps:
            self._check_pixelwise("fit_steps")
            if self.weights is None:
                raise UsageError(
                    "[training] fit_steps fits the decoder on features of a pretrained encoder: "
                    'give weights ("imagenet", or a file)'
                )

    def _check_pixels(self) -> None:
        """Refuse settings without which features cannot be kept, and those without an effect."""
        self._check_pixelwise("pixels")
        last = last_stage(self.network)
        needed = {"steps": "how many", "weights": '"imagenet", or a file', "freeze": str(last)}
        for name, example in needed.items():
            value = getattr(self, name)
            if value is None or (name == "freeze" and value != last):
                raise UsageError(
                    f"[training] pixels trains the decoder alone, on features of the frozen "
                    f"encoder: give {name} ({example})"
                )
        if self.device == "cuda":
            raise UsageError("[training] pixels trains on the CPU: leave out device")
        defaults = {item.name: item.default for item in fields(self)}
        for name in _WITHOUT_EFFECT:
            if getattr(self, name) != defaults[name]:
                raise UsageError(
                    f"[training] {name} has no effect with pixels, which trains on features of "
                    "whole images on the CPU: leave it out"
                )

    def _check_pixelwise(self, key: str) -> None:
        if self.network not in PIXELWISE:
            raise UsageError(
                f"[training] {key} needs network {' or '.join(PIXELWISE)}, whose decoder works "
                f"pixel by pixel, not {self.network}"
            )

    @property
    def least_images(self) -> int:
        """Fewest labeled images that can be trained on."""
        return self.batch_size if self.pixels is None else 1

    def shared(self) -> dict[str, Any]:
        """Settings that all runs of an experiment share; devices and compiling may differ."""
        values = asdict(self)
        del values["device"], values["compile"]
        if self.pixels is None:
            del values["pixels"]
        if not self.fit_steps:
            del values["fit_steps"]
        for name in self.younger():  # as in runs that are older than these keys
            del values[name]
        if self.weights is not None:
            values["weights"] = Path(self.weights).name
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandConfig:
    """Training by a command, which runs once per round.

    Attributes
    ----------
    command : tuple of str
        Program and arguments, started without a shell in the working folder. In each argument
        ``{labeled}`` stands for a CSV file with the columns ``id``, ``image`` and ``label``
        (absolute paths), ``{output}`` for the ONNX file to write, ``{seed}`` for the seed of the
        run, and ``{{`` for a brace.
    """

    least_images: ClassVar[int] = 1
    uncertainty: ClassVar[bool] = False
    needed: ClassVar[tuple[str, ...]] = ("labeled", "output")
    places: ClassVar[tuple[str, ...]] = (*needed, "seed")

    command: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.command:
            raise UsageError("[training] command is empty: give a program and its arguments")
        known = ", ".join(f"{{{name}}}" for name in self.places)
        found = set()
        for part in self.command:
            try:
                fields = list(string.Formatter().parse(part))
            except ValueError as error:
                raise UsageError(
                    f"[training] command: {part!r} is not understood ({error}); write a literal "
                    "brace twice"
                ) from error
            for _, name, specification, conversion in fields:
                if name is None:
                    continue
                if name not in self.places or specification or conversion:
                    raise UsageError(
                        f"[training] command: {part!r} is not understood: use {known}, exactly as "
                        "written here; write a literal brace twice"
                    )
                found.add(name)
        if lacking := [name for name in self.needed if name not in found]:
            raise UsageError(
                f"[training] command lacks {{{lacking[0]}}}: without it the training cannot "
                f"depend on the round; the command may use {known}"
            )

    def arguments(self, **values: str) -> list[str]:
        """The command with its placeholders filled."""
        return [part.format(**values) for part in self.command]

    def shared(self) -> dict[str, Any]:
        """Settings that all runs of an experiment share."""
        return asdict(self)


def training_config(values: Any) -> TrainingConfig | CommandConfig:
    """Read the table ``[training]``; UsageError as from :func:`deal.loop.records.record`."""
    if isinstance(values, Mapping) and "command" in values:
        others = sorted(values.keys() - {"command"})
        if others:
            raise UsageError(
                f"[training] {others[0]} cannot be used with command, which trains by itself"
            )
        return record(CommandConfig, values, "[training]")
    return record(TrainingConfig, values, "[training]")
