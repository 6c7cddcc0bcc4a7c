"""Amounts of time and memory as users write them: ``2s``, ``1h``, ``500MB``."""

from __future__ import annotations

import re
from fractions import Fraction

from deal.errors import UsageError

__all__ = ["LONGEST", "LONGEST_TEXT", "names_bytes", "parse_bytes", "parse_duration"]

_AMOUNT = re.compile(r"(\d+(?:\.\d+)?) ?([A-Za-z]*)")
_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 10**9,
    "min": 60 * 10**9,
    "h": 3600 * 10**9,
}
_BYTES = {"B": 1, "": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_BYTES |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_MOST = 2**52
LONGEST = 2**60  # nanoseconds, as on a rig: two of them and a time still fit 64 bits
LONGEST_TEXT = 100  # digits of a number; Python reads no more than 4300
_A_TIME = "a time such as 2s, 500ms, 10min or 1h"


def parse_duration(value: str | int | None, name: str) -> int | None:
    """Read ``2s``, ``500ms``, ``10min`` or ``1h`` as nanoseconds; a number is nanoseconds already.

    None stays None. Raises UsageError, which calls the value ``name``, for what is no duration, or
    a longer one than 2⁶⁰ nanoseconds.
    """
    if value is None:
        return None
    whole = type(value) is int and value >= 0
    found = value if whole else _amount(value, _NANOSECONDS, name, _A_TIME)
    assert isinstance(found, int)
    if found > LONGEST:
        raise UsageError(f"{name} {value!r}: write a time of at most 36 years, such as 1h")
    return found


def parse_bytes(value: str | int | None, name: str) -> int | None:
    """Read ``2GB``, ``500MB`` or ``1.5GiB`` as bytes; a number is bytes already. See above."""
    if value is None:
        return None
    if type(value) is int and 0 < value <= _MOST:
        return value
    amount = _amount(value, _BYTES, name, "an amount such as 2GB, 500MB or 1.5GiB")
    if amount == 0:
        raise UsageError(f"{name} {value!r}: write an amount above 0, such as 2GB")
    return amount


def names_bytes(text: str) -> bool:
    """Whether a text is an amount with a unit of bytes, such as ``2GB``."""
    match = _AMOUNT.fullmatch(text)
    return match is not None and match[2] != "" and match[2] in _BYTES


def _amount(value: object, units: dict[str, int], name: str, such: str) -> int:
    match = _AMOUNT.fullmatch(value.strip()) if isinstance(value, str) else None
    if (
        match is not None
        and len(match[1]) <= LONGEST_TEXT
        and match[2] in units
        and (match[2] or units is _BYTES)
    ):
        amount = Fraction(match[1]) * units[match[2]]
        if amount.denominator == 1 and (units is _NANOSECONDS or amount <= _MOST):
            return int(amount)
    raise UsageError(f"{name} {value!r}: write {such}")
