"""Check a network's outputs for noise against its contract when the model is opened.

A model with a wrong contract would score a whole pool without an error. If an output is certainly
wrong, the model is refused with the remedy; if it may be intended, it is a doubt, which the run
reports and records.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from deal.errors import ModelError
from deal.model.consistency import check_channels
from deal.model.graph import output_remedy
from deal.model.spec import ModelSpec
from deal.types import EngineOutput

__all__ = ["compare_runs", "examine"]

_SUM_TOLERANCE = 1e-2  # channel sums of half-precision probabilities differ from 1 by up to this
_UNSTABLE = 1e-3  # as a share of the logits' range; other orders of summation stay far below
_UNIFORM = 0.999  # as a share of ln C, the largest entropy


def examine(spec: ModelSpec, output: EngineOutput, batch: int) -> list[str]:
    """Check a network's output for noise against the contract.

    Parameters
    ----------
    spec : ModelSpec
    output : EngineOutput
        Unconverted output with channels first, as NumPy arrays.
    batch : int
        Number of images in the batch.

    Returns
    -------
    list of str
        Doubts, one sentence each.

    Raises
    ------
    ModelError
        Shapes do not fit, or the graph ends in argmax, softmax or sigmoid.
    """
    _check_shapes(spec, output, batch)
    z = output.logits
    if not np.isfinite(z).all():
        return [f"{_where(spec)} is not finite for noise: images may fail (nonfinite)"]
    doubts = _check_values(spec, z)
    if (z == z[:, :, :1, :1]).all():
        return [
            *doubts,
            f"{_where(spec)} is the same at every pixel of noise: is it the right output?",
        ]
    entropy = _entropy(spec, z)
    if entropy >= _UNIFORM * math.log(spec.num_classes):
        doubts.append(
            f"the classes are nearly equally likely everywhere (entropy {entropy:.4f} of at most "
            f"{math.log(spec.num_classes):.4f}) for noise: are mean, std and output_kind those of "
            "the training?"
        )
    return doubts


def compare_runs(spec: ModelSpec, first: EngineOutput, second: EngineOutput) -> list[str]:
    """Doubts about two outputs for one input, which should be bit-identical.

    Raises ModelError if they differ by more than rounding, since the network is then random.
    """
    for name, a, b in (
        (spec.output_name, first.logits, second.logits),
        (spec.difficulty_name, first.difficulty, second.difficulty),
    ):
        if a is None or b is None or np.array_equal(a, b, equal_nan=True):
            continue
        a, b = a.astype(np.float64), b.astype(np.float64)
        change, spread = float(np.nanmax(np.abs(a - b))), float(np.nanmax(a) - np.nanmin(a))
        if change > _UNSTABLE * spread:
            raise ModelError(
                f"model {spec.path}: output {name!r} differs between two runs of one input (by "
                f"{change:.3g}): it is random, like dropout that was exported in training mode: "
                "export it after model.eval()"
            )
        return [
            f"output {name!r} differs in its last digits between two runs of one input: scores "
            "will not repeat bit for bit"
        ]
    return []


def _check_shapes(spec: ModelSpec, output: EngineOutput, batch: int) -> None:
    z = output.logits
    if z.ndim != 4 or z.dtype not in (np.float32, np.float16):
        is_label_map = z.dtype.kind in "iub" or z.ndim == 3
        raise ModelError(
            f"{_where(spec)} is {z.dtype} {list(z.shape)}, not floating [N,C,h,w]: "
            + output_remedy(is_label_map)
        )
    if spec.output_layout == "nchw" and spec.channels == z.shape[3] != z.shape[1]:
        raise ModelError(
            f"{_where(spec)} is {list(z.shape)}, with its {spec.channels} channels last: set "
            "output_layout to nhwc"
        )
    check_channels(spec, z.shape[1])
    for name, array, rank in (
        (spec.output_name, z, 4),
        (spec.difficulty_name, output.difficulty, 4),
        (spec.embedding_name, output.embedding, 2),
    ):
        if array is not None and (array.ndim != rank or len(array) != batch):
            raise ModelError(
                f"model {spec.path}: output {name!r} has the shape {list(array.shape)} for a "
                f"batch of {batch}; it must have rank {rank} and the batch first: re-export it "
                "with a dynamic batch"
            )
    if output.difficulty is not None and output.difficulty.shape[1] != 1:
        raise ModelError(
            f"model {spec.path}: output 'difficulty' has {output.difficulty.shape[1]} channels; "
            "export one, before the sigmoid"
        )


def _check_values(spec: ModelSpec, z: NDArray[np.floating]) -> list[str]:
    where = _where(spec)
    low, high = float(z.min()), float(z.max())
    varies = bool((z != z[:, :, :1, :1]).any())  # a constant may have any value
    if varies and np.isin(z, (0, 1)).all():
        raise ModelError(
            f"{where} has only the values 0 and 1: argmax or a threshold is baked in, and such a "
            "mask has no uncertainty: re-export the logits without it"
        )
    is_softmax = spec.activation == "softmax"
    is_within = low >= 0 and high <= 1 + _SUM_TOLERANCE
    sums_to_one = bool(np.abs(z.sum(axis=1, dtype=np.float32) - 1).max() < _SUM_TOLERANCE)
    if spec.output_kind == "probabilities":
        if not is_within:
            raise ModelError(
                f"{where} is not probabilities (its values leave 0…1): set output_kind to logits"
            )
        if is_softmax and not sums_to_one:
            raise ModelError(
                f"{where} is not probabilities of classes (its values do not sum to 1): "
                "set output_kind to logits; if it is a sigmoid for each class, which is not "
                "supported, re-export with a softmax"
            )
        return []
    if is_softmax and is_within and sums_to_one:
        raise ModelError(
            f"{where} is probabilities, softmax is baked in: re-export the logits without it, "
            "or set output_kind to probabilities"
        )
    if low < 0 or high > 1 or not varies:
        return []
    found = "is within 0…1 for noise, as a sigmoid's is"
    if "output_kind" in spec.stated:
        return [f"{where} {found}, but output_kind is logits: is a sigmoid baked in?"]
    if is_softmax:
        raise ModelError(
            f"{where} {found}: a sigmoid for each class seems to be baked in, but deal needs one "
            "class per pixel: re-export with a softmax; if these are logits, state output_kind "
            "logits"
        )
    raise ModelError(
        f"{where} {found}: a sigmoid seems to be baked in: set output_kind to probabilities; if "
        "these are logits, state output_kind logits"
    )


def _entropy(spec: ModelSpec, z: NDArray[np.floating]) -> float:
    """Mean entropy of the pixels, in nats."""
    z = z.astype(np.float64)
    if spec.activation == "sigmoid":
        if spec.output_kind == "probabilities":
            p = np.concatenate([1 - z, z], axis=1)
        else:
            p = np.concatenate([np.zeros_like(z), z], axis=1)
            p = np.exp(p - p.max(axis=1, keepdims=True))
    elif spec.output_kind == "probabilities":
        p = z
    else:
        p = np.exp(z - z.max(axis=1, keepdims=True))
    p = np.maximum(p / p.sum(axis=1, keepdims=True), 1e-300)
    return float(-(p * np.log(p)).sum(axis=1).mean())


def _where(spec: ModelSpec) -> str:
    return f"model {spec.path}: output {spec.output_name!r}"
