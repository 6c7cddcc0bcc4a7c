"""Difficulty of the same logits by several heads, and by one head computed in other ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.polynomial import Chebyshev, Polynomial
from numpy.typing import NDArray

from deal import _native
from deal.engines.base import Engine
from deal.errors import ModelError, UsageError
from deal.fitting.attention import pair_means
from deal.fitting.measures import UNCERTAINTIES
from deal.fitting.pixels import resize, softmax
from deal.fitting.runner import Runner
from deal.kernel.statistics import difficulty_grid
from deal.model.head import DifficultyHead
from deal.pool.ids import path_to_id
from deal.types import EngineOutput

__all__ = ["ALL_PAIRS", "PRODUCTS", "Variant", "find_heads", "find_variants"]

ALL_PAIRS = "difficulty, all pairs"
"""Name of the head's attention without a polynomial."""

PRODUCTS = tuple(f"ds:{name}" for name in UNCERTAINTIES)
"""Difficulty times an uncertainty, by the name of the acquisition function."""

_DEGREES = (1, 2, 3)  # the kernel has 4
_MAX_POLYNOMIAL_CLASSES = 44  # of the kernel

Float = NDArray[np.float32]
Size = tuple[int, int]


@dataclass(frozen=True)
class Variant:
    """One way to compute a difficulty map.

    Attributes
    ----------
    name : str
        Name of the score.
    source : str
        Where the head comes from, in words.
    head : DifficultyHead or None
        None is the difficulty that the network's graph gives.
    attention : int
        As :func:`deal.kernel.statistics.difficulty_grid` takes it.
    degree : int, optional
        Of a polynomial in place of ``exp``, computed in NumPy.
    """

    name: str
    source: str
    head: DifficultyHead | None
    attention: int = _native.ATTENTION_AUTO
    degree: int | None = None

    def map(self, run: Runner, output: EngineOutput, size: Size) -> Float:
        """Difficulty float32 [H, W] of one image."""
        z, align = output.logits, run.engine.spec.align_corners
        if self.head is None:
            return run.difficulty_map(z, None, output.difficulty, size)
        if self.degree is not None:
            grid = _polynomial_grid(z, self.head, align, self.degree)
        elif self.attention != _native.ATTENTION_AUTO:
            grid = difficulty_grid(
                z, self.head, align_corners=align, attention=self.attention, threads=run.threads
            )
        else:
            return run.difficulty_map(z, self.head, None, size)
        return run.difficulty_map(z, None, grid[:, None], size)


def _polynomial_grid(logits: Any, head: DifficultyHead, align_corners: bool, degree: int) -> Float:
    """Difficulty before the sigmoid [1, gh, gw], with a polynomial in place of ``exp`` on 0…1.

    It interpolates ``exp`` at Chebyshev's points, which is close to the best of its degree.
    """
    grid = head.grid or logits.shape[2:]
    p = softmax(resize(logits[0], grid, align_corners)).reshape(logits.shape[1], -1)
    values = np.asarray(head.weight, np.float32) @ p
    if head.uncertainty_weight is not None:
        values += np.asarray(head.uncertainty_weight, np.float32) @ (p * (1 - p))
    fitted = Chebyshev.interpolate(np.exp, degree, domain=[0, 1])
    coefficients = fitted.convert(kind=Polynomial, domain=[0, 1], window=[0, 1]).coef

    def kernel(products: Float) -> Float:
        value = np.full_like(products, coefficients[-1])
        for coefficient in coefficients[-2::-1]:
            value *= products
            value += np.float32(coefficient)
        return value

    a = np.float32(head.gamma) * pair_means(p, values[None], kernel)[0] + values
    return np.asarray(a + np.float32(head.bias), np.float32).reshape(1, *grid)


def find_heads(engine: Engine, files: Sequence[str | Path]) -> list[Variant]:
    """The model's own difficulty, and those of head files, named by their stem.

    The first is called ``difficulty``.

    Raises
    ------
    UsageError
        The model has no difficulty and no file is given, or two scores would share a name.
    ModelError
        A file is not a head, or its head has another number of classes.
    """
    spec = engine.spec
    heads = []
    if spec.difficulty_name is not None:
        heads.append(Variant("difficulty", "output of the model's graph", None))
    elif spec.difficulty_head is not None:
        heads.append(Variant("difficulty", "metadata of the model", spec.difficulty_head))
    for path in map(Path, files):
        head = DifficultyHead.load(path)
        if head.num_classes != spec.num_classes:
            raise ModelError(
                f"difficulty head {path} has {head.num_classes} weights, model {spec.path} "
                f"{spec.num_classes} classes: give a head that was fitted on this model"
            )
        name = path_to_id(path.stem) if heads else "difficulty"
        heads.append(Variant(name, f"file {path_to_id(path.name)}", head))
    if not heads:
        raise UsageError(
            f"model {spec.path} has no difficulty: give --difficulty-head FILE (deal fit-head "
            "makes one)"
        )
    taken = {*UNCERTAINTIES, "difficulty"}
    for variant in heads[1:]:
        if variant.name in taken or set(variant.name) & set(",:"):  # of computed scores
            raise UsageError(
                f"{variant.source}: the file's name becomes the name of a score, so it has to "
                "differ from the others and to hold no comma or colon: rename the file"
            )
        taken.add(variant.name)
    return heads


def find_variants(
    main: Variant, num_classes: int, logits_grid: Size, grids: Sequence[Size], ablations: bool
) -> tuple[list[Variant], list[Variant]]:
    """The same head on other grids, with gamma 0, and with its attention computed in other ways.

    Parameters
    ----------
    main : Variant
    num_classes : int
    logits_grid : (h, w)
    grids : sequence of (h, w)
        Attention grids to try.
    ablations : bool
        Also the grid of the logits, gamma = 0, polynomials of degree 1 to 4, and all pairs.

    Raises
    ------
    UsageError
        Variants are asked for, but the difficulty comes from the network's graph, not from a head.
    """
    head = main.head
    if head is None:
        if grids or ablations:
            raise UsageError(
                "--grid and --ablations need a difficulty head; this model's graph gives the "
                "difficulty itself"
            )
        return [], []
    own = head.grid or logits_grid
    asked = dict.fromkeys([*grids, *([logits_grid] if ablations else [])])
    others = [
        Variant(
            f"difficulty, grid {h}x{w}",
            main.source,
            replace(head, grid=(h, w)),
        )
        for h, w in asked
        if (h, w) != own
    ]
    if not ablations:
        return others, []
    others.append(Variant("difficulty, gamma 0", main.source, replace(head, gamma=0.0)))
    attention = [
        Variant(f"difficulty, degree {degree}", main.source, head, degree=degree)
        for degree in _DEGREES
    ]
    if num_classes <= _MAX_POLYNOMIAL_CLASSES:
        fourth = Variant("difficulty, degree 4", main.source, head, _native.ATTENTION_POLYNOMIAL)
        attention.append(fourth)
    attention.append(Variant(ALL_PAIRS, main.source, head, _native.ATTENTION_DIRECT))
    return others, attention
