"""``[training]``: deal's own, or a command that trains whatever network."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from deal.errors import UsageError
from deal.loop.records import record
from deal.training.recipe import Recipe

__all__ = ["CommandConfig", "TrainingConfig", "training_config"]

# Of a recipe, said before work; PyTorch is not imported to ask it.
_CHOICES = {
    "network": ("light", "paper"),
    "precision": ("fp32", "bf16"),
    "device": ("auto", "cpu", "cuda"),
    "compile": (None, "default", "reduce-overhead"),
}


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Recipe):
    """Training by deal: exactly one of ``epochs`` and ``steps``; else as `deal train` has them.

    Attributes
    ----------
    epochs : int, optional
        Passes over the labeled images: more labels, more steps.
    steps : int, optional
        Of the optimizer, the same in every round.
    weights : str, optional
        As of `deal train`, relative to the folder of the configuration.
    threads : int
        Of PyTorch on the CPU; results repeat bit for bit with the same number. 0 is every core.
    """

    epochs: int | None = None
    steps: int | None = None
    threads: int = 0

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise UsageError(
                "[training] needs either epochs or steps; or command, to train with your own"
            )
        self.check(lambda name: f"[training] {name}", ("epochs", "steps"))
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                allowed = " or ".join(choice for choice in choices if choice)
                raise UsageError(f"[training] {name} must be {allowed}, not {value!r}")

    def shared(self) -> dict[str, Any]:
        """What all runs of an experiment have in common; devices and compiling may differ."""
        values = asdict(self)
        del values["device"], values["compile"]
        if not self.uncertainty:  # of runs before there was such a key, too
            del values["uncertainty"]
        if self.weights is not None:
            values["weights"] = Path(self.weights).name
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandConfig:
    """Training by a command, once a round.

    Attributes
    ----------
    command : tuple of str
        Program and arguments, started without a shell in the working folder. In each ``{labeled}``
        stands for a CSV file with the columns ``id``, ``image`` and ``label`` (absolute paths),
        ``{output}`` for the ONNX file to write, ``{seed}`` for the run's seed; ``{{`` for a brace.
    """

    batch_size: ClassVar[int] = 1
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
                    f"[training] command: {part!r} is not understood ({error}); a brace itself is "
                    "written twice"
                ) from error
            for _, name, specification, conversion in fields:
                if name is None:
                    continue
                if name not in self.places or specification or conversion:
                    raise UsageError(
                        f"[training] command: {part!r} is not understood: there are {known}, as "
                        "they stand here; a brace itself is written twice"
                    )
                found.add(name)
        if lacking := [name for name in self.needed if name not in found]:
            raise UsageError(
                f"[training] command lacks {{{lacking[0]}}}: without it what is trained cannot "
                f"depend on the round; there are {known}"
            )

    def arguments(self, **values: str) -> list[str]:
        """The command with its places filled."""
        return [part.format(**values) for part in self.command]

    def shared(self) -> dict[str, Any]:
        """What all runs of an experiment have in common."""
        return asdict(self)


def training_config(values: Any) -> TrainingConfig | CommandConfig:
    """Read the table ``[training]``; UsageError as of :func:`deal.loop.records.record`."""
    if isinstance(values, Mapping) and "command" in values:
        others = sorted(values.keys() - {"command"})
        if others:
            raise UsageError(
                f"[training] {others[0]} does not go with command, which trains as it likes"
            )
        return record(CommandConfig, values, "[training]")
    return record(TrainingConfig, values, "[training]")
