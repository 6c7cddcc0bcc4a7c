"""Keys of the model contract: what each may hold, checked one by one (table in ``deal.model``)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from deal.errors import ModelError
from deal.model.dropout import DropoutLayer
from deal.model.head import DifficultyHead

__all__ = ["FORMAT", "PRECISIONS", "checked"]

FORMAT = 1
"""Version of the model contract this release reads and writes."""

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
"""Of weights and of most arithmetic; inputs and outputs stay as the contract has them."""


def checked(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Values of one source as ModelSpec wants them; ModelError names source, key and remedy."""
    result = {}
    for key, value in values.items():
        if key not in READERS:
            raise ModelError(f"{source}: unknown key {key!r}; known are {', '.join(READERS)}")
        try:
            result[key] = READERS[key](value)
        except ValueError as error:
            raise ModelError(f"{source}: {key} {error}, not {value!r}") from error
    return result


def _choice(*names: str, reserved: tuple[str, ...] = ()) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value in names:
            return str(value)
        later = f" ({', '.join(reserved)}: reserved for later versions)" if reserved else ""
        raise ValueError(f"must be {' or '.join(names)}{later}")

    return read


def _whole(low: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and value >= low:
            return value
        raise ValueError(f"must be a whole number, at least {low}")

    return read


def _optional(reader: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else reader(value)


def _listed(value: Any, length: int | None, what: str) -> list[Any]:
    if isinstance(value, (list, tuple)) and length in (None, len(value)):
        return list(value)
    raise ValueError(f"must be {what}")


def _format(value: Any) -> int:
    if value == FORMAT and not isinstance(value, bool):
        return FORMAT
    raise ValueError(f"must be {FORMAT} for this version of deal: upgrade deal or re-export")


def _classes(value: Any) -> tuple[str, ...]:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return tuple(f"class_{index}" for index in range(value))
    names = _listed(value, None, "names, or how many there are")
    if names and all(isinstance(name, str) for name in names):
        return tuple(names)
    raise ValueError("must be names, or how many there are")


def _palette(value: Any) -> tuple[tuple[int, ...], ...]:
    what = "a list of [r, g, b] in 0…255"
    colours = tuple(tuple(_listed(colour, 3, what)) for colour in _listed(value, None, what))
    if all(isinstance(part, int) and 0 <= part <= 255 for colour in colours for part in colour):
        return colours
    raise ValueError(f"must be {what}")


def _size(value: Any) -> tuple[int, int]:
    height, width = _listed(value, 2, "[H, W], both positive")
    return _whole(1)(height), _whole(1)(width)


def _channels(positive: bool) -> Callable[[Any], tuple[float, ...]]:
    what = f"three {'positive ' if positive else ''}numbers (of 0…1)"

    def read(value: Any) -> tuple[float, ...]:
        numbers = _listed(value, 3, what)
        are_numbers = all(isinstance(n, (int, float)) and math.isfinite(n) for n in numbers)
        if are_numbers and (not positive or min(numbers) > 0):
            return tuple(float(n) for n in numbers)
        raise ValueError(f"must be {what}")

    return read


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError("must be true or false")


def _mapping(value: Any) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    raise ValueError("must be an object")


def _dropout(value: Any) -> tuple[DropoutLayer, ...]:
    what = 'a list of {"input": name, "channels": C, "rate": above 0 and below 1}'
    layers = []
    for entry in _listed(value, None, what):
        is_layer = isinstance(entry, Mapping) and set(entry) == {"input", "channels", "rate"}
        if not (is_layer and isinstance(entry["rate"], float) and 0 < entry["rate"] < 1):
            raise ValueError(f"must be {what}")
        layers.append(
            DropoutLayer(_name(entry["input"]), _whole(1)(entry["channels"]), entry["rate"])
        )
    return tuple(layers)


def _name(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise ValueError("must be a name")


READERS: dict[str, Callable[[Any], Any]] = {
    "format": _format,
    "classes": _classes,
    "palette": _optional(_palette),
    "ignore_index": _optional(_whole(-(2**31))),
    "input_format": _choice("rgb8", "bgr8", "float-rgb", "float-bgr", reserved=("nv12",)),
    "input_size": _optional(_size),
    "size_multiple": _whole(1),
    "resize": _choice("stretch", "none", reserved=("letterbox", "crop")),
    "interpolation": _choice("bilinear-antialias", "bicubic-antialias", "nearest"),
    "mean": _optional(_channels(positive=False)),
    "std": _optional(_channels(positive=True)),
    "align_corners": _flag,
    "output_kind": _choice("logits", "probabilities", reserved=("scores",)),
    "activation": _choice("softmax", "sigmoid"),
    "difficulty_head": _optional(lambda value: DifficultyHead.from_dict(_mapping(value))),
    "dropout": _dropout,
    "precision": _optional(_choice(*PRECISIONS)),
    "provenance": _mapping,
    "output": _name,
}
