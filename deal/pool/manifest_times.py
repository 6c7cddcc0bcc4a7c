"""Times of a manifest → nanoseconds: numbers of any unit, ISO texts, typed values."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from deal.pool.manifest_tables import Stamp

__all__ = ["UNITS", "is_missing", "nanoseconds", "number", "unit_of"]

UNITS = {"seconds": 10**9, "milliseconds": 10**6, "microseconds": 10**3, "nanoseconds": 1}
"""Name → nanoseconds in one."""

# Seconds since 1970 at the beginning of 1990 and of 2100: what a time that counts from 1970 is
# taken to lie between. In another unit no number of this span is in it.
_FIRST, _LAST = 631_152_000, 4_102_444_800

_MISSING = frozenset({"", "nan", "nat", "none", "null", "<na>", "n/a", "na"})
_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d(?::\d\d)?))?(?:[.,](\d+))?"
    r"\s*(?:([Zz]|UTC)|([+-]\d\d):?(\d\d)?)?",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1)


def is_missing(value: Any) -> bool:
    """Whether a value is none: null, NaN or NaT, as such or as text."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and value.strip().lower() in _MISSING)


def number(value: Any) -> Decimal | None:
    """The exact number that a value is, or that its text tells; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        return None
    try:
        found = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        return None
    return found if found.is_finite() and abs(found.adjusted()) < 40 else None


def unit_of(value: Any) -> str | None:
    """The unit in which a number is a time between 1990 and 2100, if any; ``text`` for a date."""
    found = number(value)
    if found is None:
        return "text" if nanoseconds(value, "text") is not None else None
    for name, size in UNITS.items():
        if _FIRST <= found * size / 10**9 < _LAST:
            return name
    return None


def nanoseconds(value: Any, unit: str) -> int | None:
    """A value of the unit in nanoseconds; None if it is none, or does not fit into 64 bits."""
    if isinstance(value, Stamp):
        return value.nanoseconds
    if unit == "text":
        found = _from_iso(value) if isinstance(value, str) else None
    else:
        exact = number(value)
        found = None if exact is None else round(exact * UNITS[unit])
    return found if found is not None and -(2**63) <= found < 2**63 else None


def _from_iso(text: str) -> int | None:
    match = _ISO.fullmatch(text.strip())
    if match is None:
        return None
    day, time, fraction, _, hours, minutes = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day} {time or '00:00'}")
    except ValueError:
        return None
    seconds = (moment - _EPOCH) // timedelta(seconds=1)
    if hours is not None:
        east = 3600 * int(hours) + 60 * int(minutes or 0) * (-1 if hours[0] == "-" else 1)
        seconds -= east
    return seconds * 10**9 + int(((fraction or "") + "000000000")[:9])
