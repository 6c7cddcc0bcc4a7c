"""Frozen records of the tables in a TOML file, with errors that name the key."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from deal.errors import DealError, UsageError

__all__ = ["named", "record"]

_T = TypeVar("_T")


@contextmanager
def named(where: str) -> Iterator[None]:
    """Begin the text of every `DealError` in the block with the table of the configuration."""
    try:
        yield
    except DealError as error:
        raise type(error)(f"{where} {error}") from error


def record(kind: type[_T], values: Any, where: str) -> _T:
    """Make a dataclass from a mapping; every key must be known and every value have its type.

    Parameters
    ----------
    kind : type
        A dataclass whose fields are numbers, text, booleans, tuples of them, mappings, and records.
    values : mapping
    where : str
        Name of the mapping in errors.

    Raises
    ------
    UsageError
        A key is unknown or missing, or a value has another type.
    """
    if not isinstance(values, Mapping):
        raise UsageError(f"{where} must be a table")
    known = {item.name: item for item in fields(kind)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"its keys are {', '.join(known)}"
            raise UsageError(f"{where} has no key {key!r}: {hint}")
    for name, item in known.items():
        if item.default is MISSING and item.default_factory is MISSING and name not in values:
            raise UsageError(f"{where} needs {name}")
    hints = typing.get_type_hints(kind)
    checked = {key: _value(value, hints[key], f"{where} {key}") for key, value in values.items()}
    return kind(**checked)


def _value(value: Any, kind: Any, where: str) -> Any:
    """Convert a value to the type of a field; UsageError if that is impossible."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        for choice in arguments:
            try:
                return _value(value, choice, where)
            except UsageError:
                continue
    elif origin is tuple:
        if isinstance(value, (list, tuple)):
            kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
            if len(kinds) == len(value):
                return tuple(_value(v, k, where) for v, k in zip(value, kinds, strict=True))
    elif origin is not None:
        if isinstance(value, Mapping):
            return dict(value)
    elif kind is float and type(value) in (int, float):
        return float(value)
    elif type(value) is kind:
        return value
    raise UsageError(f"{where} cannot be {value!r}: give {_kind_text(kind)}")


_KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def _kind_text(kind: Any) -> str:
    arguments = [each for each in typing.get_args(kind) if each not in (type(None), Ellipsis)]
    if typing.get_origin(kind) is tuple:
        return f"a list of {' and '.join(map(_kind_text, arguments))}"
    return " or ".join(map(_kind_text, arguments)) or _KINDS.get(kind, "a table")
