"""The difficulty head: C + 2 numbers that turn logits into a difficulty map."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deal.errors import ModelError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DifficultyHead"]

_KEYS = {"gamma", "weight", "bias", "grid"}


@dataclass(frozen=True)
class DifficultyHead:
    """Parameters of the probability attention module and its 1×1 convolution.

    With class probabilities ``p_i`` on the attention grid and ``v_i = weight · p_i``::

        a_j = gamma · Σ_i exp(p_j · p_i) v_i / Σ_i exp(p_j · p_i) + v_j + bias
        D   = sigmoid(resize(a))

    Source: Xie et al., arXiv 2010.08705, section 3.2; the convolution commutes with the average.

    Parameters
    ----------
    gamma : float
        Strength of the attention.
    weight : sequence of float, length C
        One weight a class.
    bias : float
    grid : (h, w) or None
        Attention grid (60×80 for CamVid in the paper); None means the logits' own grid.

    Raises
    ------
    UsageError
        A parameter is not finite, ``weight`` is empty, or ``grid`` is not two positive numbers.
    """

    gamma: float
    weight: tuple[float, ...]
    bias: float
    grid: tuple[int, int] | None = None

    def __init__(
        self,
        gamma: float,
        weight: Sequence[float] | NDArray[Any],
        bias: float,
        grid: Sequence[int] | None = None,
    ) -> None:
        values = tuple(float(w) for w in weight)
        if not values or not all(map(math.isfinite, (float(gamma), float(bias), *values))):
            raise UsageError(
                "difficulty head: gamma, bias and at least one weight, all finite, are needed"
            )
        size = None
        if grid is not None:
            size = tuple(int(n) for n in grid)
            if len(size) != 2 or min(size) < 1 or size != tuple(grid):
                raise UsageError(
                    "difficulty head: grid must be two positive whole numbers [h, w], or null; "
                    f"not {grid!r}"
                )
        object.__setattr__(self, "gamma", float(gamma))
        object.__setattr__(self, "weight", values)
        object.__setattr__(self, "bias", float(bias))
        object.__setattr__(self, "grid", size)

    @property
    def num_classes(self) -> int:
        """C, the number of classes the head was fitted for."""
        return len(self.weight)

    def to_dict(self) -> dict[str, Any]:
        """The head as it stands in model metadata and head files."""
        grid = None if self.grid is None else list(self.grid)
        return {"gamma": self.gamma, "weight": list(self.weight), "bias": self.bias, "grid": grid}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DifficultyHead:
        """Read the head from metadata; ModelError on missing, unknown or malformed keys."""
        if set(values) != _KEYS:
            raise ModelError(
                f"difficulty_head has the keys {sorted(values)}; it needs exactly {sorted(_KEYS)}"
            )
        try:
            return cls(values["gamma"], values["weight"], values["bias"], values["grid"])
        except (TypeError, ValueError) as error:
            raise ModelError(f"difficulty_head cannot be read: {error}") from error

    @classmethod
    def load(cls, path: str | Path) -> DifficultyHead:
        """Read a head file (JSON, as written by ``deal fit-head``); raises ModelError.

        Beside the head's own keys the file may hold ``provenance``, which is for people.
        """
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ModelError(f"difficulty head {path}: {error.strerror}") from error
        except ValueError as error:
            raise ModelError(f"difficulty head {path} is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise ModelError(f"difficulty head {path}: expected a JSON object")
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
        """Difficulty of every raster pixel.

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
            Filled and returned; device logits need one on their device.

        Returns
        -------
        ndarray of float32 [B, H, W], in 0…1; or ``out``

        Raises
        ------
        UsageError
            Shapes or dtypes do not fit, or logits are not finite.
        """
        from deal.regions import difficulty_map

        return difficulty_map(
            logits,
            self,
            size=size,
            align_corners=align_corners,
            threads=threads,
            stream=stream,
            out=out,
        )
