"""The difficulty head: C + 2 or 2C + 2 numbers that turn logits into a difficulty map."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deal.errors import ModelError, UsageError
from deal.kernel.statistics import difficulty_map
from deal.model.strict_json import read_json_object, shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DifficultyHead"]

_KEYS = {"gamma", "weight", "bias", "grid"}
_OPTIONAL = {"uncertainty_weight"}
_LISTS = ("weight", "grid", "uncertainty_weight")
_NULLABLE = ("grid", "uncertainty_weight")
_MOST_CELLS = 2**24  # largest attention grid


@dataclass(frozen=True)
class DifficultyHead:
    """Parameters of the probability attention module and its 1×1 convolution.

    With class probabilities ``p_i`` on the attention grid and ``v_i = weight · p_i``::

        a_j = gamma · Σ_i exp(p_j · p_i) v_i / Σ_i exp(p_j · p_i) + v_j + bias
        D   = sigmoid(resize(a))

    Source: Xie et al., arXiv 2010.08705, section 3.2; the convolution commutes with the average.
    The parameter ``uncertainty_weight`` is our addition. With it ``v_i = Σ_c p_ic (weight_c +
    uncertainty_weight_c (1 − p_ic))``; without it, a cell that is undecided between two classes
    can only get a value between their weights.

    Parameters
    ----------
    gamma : float
        Strength of the attention.
    weight : sequence of float, length C
        One weight per class.
    bias : float
    grid : (h, w) or None
        Attention grid (60×80 for CamVid in the paper); None means the logits' own grid.
    uncertainty_weight : sequence of float, length C, optional
        Weights of the variance p(1 − p) of each class. None, or all 0, is the paper's head.

    Raises
    ------
    UsageError
        A parameter is not finite, ``weight`` is empty, ``grid`` is not two positive numbers, or
        ``uncertainty_weight`` does not have as many numbers as ``weight``.
    """

    gamma: float
    weight: tuple[float, ...]
    bias: float
    grid: tuple[int, int] | None = None
    uncertainty_weight: tuple[float, ...] | None = None

    def __init__(
        self,
        gamma: float,
        weight: Sequence[float] | NDArray[Any],
        bias: float,
        grid: Sequence[int] | None = None,
        uncertainty_weight: Sequence[float] | NDArray[Any] | None = None,
    ) -> None:
        (strength,), (offset,) = _floats("gamma", [gamma]), _floats("bias", [bias])
        values = _floats("weight", weight)
        if not values or not all(map(math.isfinite, (strength, offset, *values))):
            raise UsageError(
                "difficulty head: gamma, bias and at least one weight are needed, all finite"
            )
        size = None
        if grid is not None:
            size = _size(grid)
            if size is None or math.prod(size) > _MOST_CELLS:
                raise UsageError(
                    "difficulty head: grid must be two positive whole numbers [h, w], of at most "
                    f"{_MOST_CELLS} cells, or null; not {shown(grid)}"
                )
        extra = None
        if uncertainty_weight is not None:
            extra = _floats("uncertainty_weight", uncertainty_weight)
            if len(extra) != len(values) or not all(map(math.isfinite, extra)):
                raise UsageError(
                    f"difficulty head: uncertainty_weight must be {len(values)} finite numbers, as "
                    f"many as weight, or left out; not {shown(uncertainty_weight)}"
                )
        object.__setattr__(self, "gamma", strength)
        object.__setattr__(self, "weight", values)
        object.__setattr__(self, "bias", offset)
        object.__setattr__(self, "grid", size)
        object.__setattr__(self, "uncertainty_weight", extra if extra and any(extra) else None)

    @property
    def num_classes(self) -> int:
        """C, the number of classes the head was fitted for."""
        return len(self.weight)

    def to_dict(self) -> dict[str, Any]:
        """The head as JSON values, as in model metadata and head files."""
        grid = None if self.grid is None else list(self.grid)
        values = {"gamma": self.gamma, "weight": list(self.weight), "bias": self.bias, "grid": grid}
        if self.uncertainty_weight is not None:
            values["uncertainty_weight"] = list(self.uncertainty_weight)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DifficultyHead:
        """Read the head from metadata; ModelError on missing, unknown or malformed keys."""
        if not set(values) >= _KEYS or not set(values) <= _KEYS | _OPTIONAL:
            raise ModelError(
                f"difficulty_head has the keys {shown(sorted(map(str, values)))}; it needs "
                f"{sorted(_KEYS)}, and may also have {sorted(_OPTIONAL)}"
            )
        for key, value in values.items():
            if value is None and key in _NULLABLE:
                continue
            if key not in _LISTS and not _is_number(value):
                raise ModelError(f"difficulty_head: {key} must be a number, not {shown(value)}")
            if key in _LISTS and not _are_numbers(value):
                raise ModelError(
                    f"difficulty_head: {key} must be a list of numbers, not {shown(value)}"
                )
        try:
            return cls(**values)
        except (TypeError, ValueError, OverflowError) as error:
            raise ModelError(f"difficulty_head cannot be read: {error}") from error

    @classmethod
    def load(cls, path: str | Path) -> DifficultyHead:
        """Read a head file (JSON, as written by ``deal fit-head``); raises ModelError.

        The file may also hold ``provenance``, which is ignored here.
        """
        values = read_json_object(Path(path), "difficulty head")
        values.pop("provenance", None)
        try:
            return cls.from_dict(values)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error

    def difficulty_map(
        self,
        logits: Any,
        *,
        size: tuple[int, int],
        align_corners: bool = True,
        threads: int | None = None,
        stream: Any | None = None,
        out: Any | None = None,
    ) -> Any:
        """Compute the difficulty of every raster pixel.

        Parameters
        ----------
        logits : array [B, C, h, w], float32, float16 or bfloat16, any strides
        size : (H, W) of the raster
        align_corners : bool
            The sampling convention of all resizes, as in PyTorch's ``interpolate``.
        threads : int or None
            None takes every core this process may use.
        stream : optional
            The CUDA stream of device logits, as :func:`deal.score_logits` takes it.
        out : array of float32 [B, H, W], C-contiguous, optional
            The array to fill and return. Device logits require one on the same device.

        Returns
        -------
        ndarray of float32 [B, H, W], in 0…1; or ``out``

        Raises
        ------
        UsageError
            Shapes or dtypes do not fit, or logits are not finite.
        """
        return difficulty_map(
            logits,
            self,
            size=size,
            align_corners=align_corners,
            threads=threads,
            stream=stream,
            out=out,
        )


def _floats(name: str, numbers: Any) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in numbers)
    except (TypeError, ValueError, OverflowError):
        shape = getattr(numbers, "shape", None)
        what = shown(numbers) if shape is None else f"an array of shape {list(shape)}"
        raise UsageError(
            f"difficulty head: {name} must be one number for each class, in one dimension (the "
            f"weights of a convolution: conv.weight.flatten()), not {what}"
            if name in _LISTS
            else f"difficulty head: {name} must be a number, not {shown(numbers[0])}"
        ) from None


def _size(grid: Any) -> tuple[int, int] | None:
    """A grid as two whole numbers from 1 on, also of 6.0 and 8.0; None if it is none."""
    try:
        height, width = (int(number) for number in grid)
        is_size = (height, width) == tuple(grid) and min(height, width) >= 1
    except (TypeError, ValueError, OverflowError):
        return None
    return (height, width) if is_size else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _are_numbers(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(map(_is_number, value))
