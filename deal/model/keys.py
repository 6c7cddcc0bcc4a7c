"""Check the value of each key of the model contract (the table is in `deal.model.spec`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from deal.errors import ModelError
from deal.model.dropout import DropoutLayer
from deal.model.head import DifficultyHead
from deal.model.strict_json import shown

__all__ = [
    "FORMAT",
    "LARGEST_BATCH",
    "LARGEST_INPUT",
    "LARGEST_SIDE",
    "PRECISIONS",
    "checked",
    "read_keys",
]

FORMAT = 1
"""Version of the model contract this release reads and writes."""

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
"""Precisions of the weights and most of the arithmetic; inputs and outputs may differ."""

LARGEST_SIDE = 65_535
"""Largest height or width of an input, in pixels."""

LARGEST_INPUT = 2**28
"""Pixels of an input."""

LARGEST_BATCH = 4096
"""Largest number of images that a graph takes at once."""

_MOST_CLASSES = 256  # DEAL_MAX_CLASSES of the kernel
_LARGEST_MULTIPLE = 4096
_LARGEST_LEVEL = 1.5  # largest mean and std; larger values are meant for levels of 0…255


def checked(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Values of one source in the form of ModelSpec; ModelError names source, key and remedy."""
    if not isinstance(values, Mapping):
        raise ModelError(f"{source} must map keys to values, such as {{'input_size': [240, 320]}}")
    result, errors = read_keys(values, source)
    if errors:
        raise errors[0]
    return result


def read_keys(values: Mapping[str, Any], source: str) -> tuple[dict[str, Any], list[ModelError]]:
    """The valid values of one source in the form of ModelSpec, and an error per other value."""
    result, errors = {}, []
    for key, value in values.items():
        if key not in READERS:
            known = ", ".join(READERS)
            errors.append(ModelError(f"{source}: unknown key {shown(key)}; known are {known}"))
            continue
        try:
            result[key] = READERS[key](value)
        except ModelError as error:
            errors.append(ModelError(f"{source}: {error}"))
        except ValueError as error:
            errors.append(ModelError(f"{source}: {key} {error}, not {shown(value)}"))
    return result, errors


def _choice(*names: str, reserved: tuple[str, ...] = ()) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value in names:
            return str(value)
        later = f" ({', '.join(reserved)}: reserved for later versions)" if reserved else ""
        raise ValueError(f"must be {' or '.join(names)}{later}")

    return read


def _whole(low: int, high: int = 2**31 - 1) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        above = f" and at most {high}" if high < 2**31 - 1 else ""
        raise ValueError(f"must be a whole number, at least {low}{above}")

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
    what = f"must be names, or the number of classes, at most {_MOST_CLASSES}"
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST_CLASSES:
        return tuple(f"class_{index}" for index in range(value))
    is_list = isinstance(value, (list, tuple)) and 0 < len(value) <= _MOST_CLASSES
    if is_list and all(isinstance(name, str) for name in value):
        return tuple(value)
    raise ValueError(what)


def _palette(value: Any) -> tuple[tuple[int, ...], ...]:
    what = "a list of [r, g, b] in 0…255"
    colours = tuple(tuple(_listed(colour, 3, what)) for colour in _listed(value, None, what))
    if all(_is_level(part) for colour in colours for part in colour):
        return colours
    raise ValueError(f"must be {what}")


def _pad_value(value: Any) -> tuple[int, int, int]:
    parts = [value] * 3 if _is_level(value) else value
    if isinstance(parts, (list, tuple)) and len(parts) == 3 and all(map(_is_level, parts)):
        return parts[0], parts[1], parts[2]
    raise ValueError("must be a level of 0…255, or three levels for red, green and blue")


def _is_level(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255


def _size(value: Any) -> tuple[int, int]:
    side = _whole(1, LARGEST_SIDE)
    height, width = map(side, _listed(value, 2, "[H, W], both positive"))
    if height * width > LARGEST_INPUT:
        raise ValueError(f"must be [H, W] of at most {LARGEST_INPUT} pixels")
    return height, width


def _channels(positive: bool) -> Callable[[Any], tuple[float, ...]]:
    what = f"three {'positive ' if positive else ''}numbers (of 0…1)"

    def read(value: Any) -> tuple[float, ...]:
        numbers = _listed(value, 3, what)
        are_numbers = all(map(_is_number, numbers))
        if are_numbers and max(map(abs, numbers)) > _LARGEST_LEVEL:
            raise ValueError(f"must be {what}: these are for levels 0…255, so divide them by 255")
        if are_numbers and (not positive or min(numbers) > 0):
            return tuple(float(n) for n in numbers)
        raise ValueError(f"must be {what}")

    return read


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return isinstance(value, int) or math.isfinite(value)


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
            DropoutLayer(_name(entry["input"]), _whole(1, 65_536)(entry["channels"]), entry["rate"])
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
    "input_layout": _choice("nhwc", "nchw"),
    "output_layout": _choice("nchw", "nhwc"),
    "input_size": _optional(_size),
    "size_multiple": _whole(1, _LARGEST_MULTIPLE),
    "batch": _optional(_whole(1, LARGEST_BATCH)),
    "resize": _choice("stretch", "none", "letterbox", "crop"),
    "pad_value": _pad_value,
    "pad_position": _choice("center", "top-left"),
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
