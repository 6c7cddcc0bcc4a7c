"""What the JSON files of an experiment hold, so that a damaged one is an error with its name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["EXPERIMENT", "RUN", "TIMING", "full_metrics", "misshapen", "round_metrics"]


class _Maybe(str):
    """A key that may be missing, as it is in older files."""


_OWN_TRAINING = {
    "network": str,
    "width": float,
    "weights": (str, None),
    "epochs": (int, None),
    "steps": (int, None),
    _Maybe("pixels"): (int, None),
    "batch_size": int,
    "lr": float,
    "precision": str,
}
_ROUNDS = {
    "pool_subset": (str, None),
    _Maybe("regions"): (str, None),
    _Maybe("label"): str,
    _Maybe("sieve"): float,
    _Maybe("budget"): (str, None),
}
EXPERIMENT: Mapping[str, Any] = {
    "data": {"dataset": str, "evaluate": str, "size": ([int], None)},
    "training": ({"command": [str]}, _OWN_TRAINING),
    "rounds": _ROUNDS,
    "images": int,
    "counts": [int],
    "classes": [str],
    "drives": {str: (str, None)},
}
RUN: Mapping[str, Any] = {
    "method": str,
    "seed": int,
    "counts": [int],
    "settings": {_Maybe("selection"): dict},
}
TIMING: Mapping[str, Any] = {
    "seconds": float,
    _Maybe("batch_seconds"): float,
    _Maybe("device"): str,
}

_AUROC = ("difficulty", "entropy", "margin", "least-confidence")
_LABELS = {"images": int, "clicks": int, "unlabeled": int, "pixels": int, "wrong": (float, None)}


def round_metrics(classes: Sequence[str]) -> dict[str, Any]:
    """The shape of ``metrics.json`` of a round."""
    return {
        **full_metrics(classes),
        "accuracy": float,
        "auroc": dict.fromkeys(_AUROC, (float, None)),
        _Maybe("labels"): _LABELS,
    }


def full_metrics(classes: Sequence[str]) -> dict[str, Any]:
    """The shape of ``metrics.json`` of full supervision."""
    return {"miou": float, "iou": dict.fromkeys(classes, (float, None))}


def misshapen(value: Any, shape: Any, where: str = "") -> str | None:
    """What is wrong with a value, such as ``"it lacks iou"``; None if it has the shape.

    A shape is a type (``float`` is any finite number), None, a list with the shape of each item, a
    tuple of alternatives, or a mapping: of keys to shapes, other keys being free, or of ``str`` to
    the shape of each value.
    """
    if isinstance(shape, tuple):
        wrong = [misshapen(value, choice, where) for choice in shape]
        return wrong[-1] if None not in wrong else None
    if isinstance(shape, Mapping) and isinstance(value, Mapping):
        return _wrong_item(value, shape, where)
    if isinstance(shape, list) and isinstance(value, list):
        wrong = [misshapen(item, shape[0], where) for item in value]
        return next((text for text in wrong if text), None)
    return None if _fits(value, shape) else f"{where or 'it'} has a value of another kind"


def _fits(value: Any, shape: Any) -> bool:
    if shape is None or isinstance(value, bool):
        return value is shape
    if shape is float:
        return isinstance(value, (int, float)) and abs(value) < math.inf
    return isinstance(shape, type) and isinstance(value, shape)


def _wrong_item(value: Mapping[str, Any], shape: Mapping[Any, Any], where: str) -> str | None:
    if str in shape:
        shape = dict.fromkeys(value, shape[str])
    for key, inner in shape.items():
        path = f"{where} {key}".strip()
        if key not in value:
            if not isinstance(key, _Maybe):
                return f"it lacks {path}"
        elif wrong := misshapen(value[key], inner, path):
            return wrong
    return None
