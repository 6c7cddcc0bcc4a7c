"""Read JSON from files and metadata strictly, with limits on its size.

Python's own reader takes the last of repeated keys, NaN, integers of any length, and any depth.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from deal.errors import ModelError

__all__ = ["json_object", "parse_json", "read_json_object", "shown"]

DEEPEST = 64
"""Largest depth of lists and objects within each other."""

LARGEST_FILE = 64 * 2**20
"""Bytes of a side-car or head."""

_MOST_DIGITS = 40  # of an integer; no value that deal reads is longer


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises
    ------
    ValueError
        The text is not JSON, an object has a key twice, a number is not finite as a double, or
        lists and objects are nested more than ``DEEPEST`` deep.
    """
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_not_finite,
            parse_float=_float,
            parse_int=_integer,
        )
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    level = [value]
    for _ in range(DEEPEST):
        level = [
            item
            for holder in level
            if isinstance(holder, (dict, list))
            for item in (holder.values() if isinstance(holder, dict) else holder)
        ]
        if not level:
            return value
    raise ValueError(_TOO_DEEP)


def read_json_object(path: Path, what: str) -> dict[str, Any]:
    """Read the object in a JSON file that people write; errors call the file ``what``.

    Raises ModelError if the file cannot be read, is larger than ``LARGEST_FILE``, is not a regular
    file, or is refused by :func:`parse_json`.
    """
    try:
        if not path.is_file() and path.exists():
            raise ModelError(f"{what} {path} is not a regular file")
        if path.stat().st_size > LARGEST_FILE:
            raise ModelError(f"{what} {path} is larger than {LARGEST_FILE // 2**20} MiB")
        text = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{what} {path}: {error.strerror}") from error
    return json_object(text, f"{what} {path}")


def json_object(text: str | bytes, source: str) -> dict[str, Any]:
    """The object in a JSON text; ModelError names ``source``."""
    try:
        values = parse_json(text)
    except ValueError as error:
        raise ModelError(f"{source} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{source}: expected a JSON object, not {type(values).__name__}")
    return values


def shown(value: Any) -> str:
    """The text of a value for errors: at most its beginning."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


_TOO_DEEP = f"lists and objects are nested more than {DEEPEST} deep"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:80]!r} occurs twice in one object")
    return values


def _not_finite(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


def _integer(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"the number {text[:40]}… is too large")
    return int(text)
