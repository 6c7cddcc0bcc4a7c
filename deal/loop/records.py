"""Frozen records of what a TOML file holds, with errors that name the key."""

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
    """Errors of deal in here begin with the table of the configuration that they are about."""
    try:
        yield
    except DealError as error:
        raise type(error)(f"{where} {error}") from error


def record(kind: type[_T], values: Any, where: str) -> _T:
    """Make a dataclass of a mapping, every key known and every value of its field's kind.

    Parameters
    ----------
    kind : type
        A dataclass whose fields are numbers, text, booleans, tuples of them, mappings, and records.
    values : mapping
    where : str
        What errors call it.

    Raises
    ------
    UsageError
        An unknown key, one that is missing, or a value of another kind.
    """
    if not isinstance(values, Mapping):
        raise UsageError(f"{where} must be a table")
    known = {item.name: item for item in fields(kind)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"
            raise UsageError(f"{where} has no key {key!r}: {hint}")
    for name, item in known.items():
        if item.default is MISSING and item.default_factory is MISSING and name not in values:
            raise UsageError(f"{where} needs {name}")
    hints = typing.get_type_hints(kind)
    checked = {key: _value(value, hints[key], f"{where} {key}") for key, value in values.items()}
    return kind(**checked)


def _value(value: Any, kind: Any, where: str) -> Any:
    """The value as the kind of a field wants it; UsageError where it cannot be."""
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
    raise UsageError(f"{where} cannot be {value!r}: it takes {_kind_text(kind)}")


_KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def _kind_text(kind: Any) -> str:
    arguments = [each for each in typing.get_args(kind) if each not in (type(None), Ellipsis)]
    if typing.get_origin(kind) is tuple:
        return f"a list of {' and '.join(map(_kind_text, arguments))}"
    return " or ".join(map(_kind_text, arguments)) or _KINDS.get(kind, "a table")
