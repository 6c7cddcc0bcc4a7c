"""Times of a manifest → nanoseconds: numbers of any unit, ISO texts, typed values; their unit."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from deal.errors import PoolError
from deal.pool.manifest_tables import Stamp, malformed

__all__ = ["Times"]

_UNITS = {"seconds": 10**9, "milliseconds": 10**6, "microseconds": 10**3, "nanoseconds": 1}
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


class Times:
    """Nanoseconds of each row; what all rows together tell of the unit."""

    def __init__(self, path: str, say: Callable[[str], None]) -> None:
        self._path = path
        self._say = say
        self._unit: str | None = None  # of the column timestamp, once it is known
        self._foreign = False  # the column timestamp is no time that can be read
        self._seen: set[str | None] = set()  # units that values of timestamp_ns could have
        self._count = 0

    def __call__(self, line: int, values: dict[str, Any]) -> int | None:
        """The time of a row, whose column is taken out of the values."""
        if "timestamp_ns" in values:
            return self._exact(line, values.pop("timestamp_ns"))
        value = values.get("timestamp")
        value = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        if self._foreign:
            return None
        if _is_missing(value):
            values.pop("timestamp", None)
            return None
        if self._unit is None and not isinstance(value, Stamp):
            self._unit = _unit_of(value)
            if self._unit is None:
                self._foreign = True
                self._say(
                    "its column 'timestamp' is an attribute, since it holds neither dates nor times"
                    " since 1970; call it 'timestamp_ns' if it counts nanoseconds"
                )
                return None
        found = _nanoseconds(value, self._unit or "nanoseconds")
        if found is None or (self._unit not in (None, "text") and _unit_of(value) != self._unit):
            raise malformed(
                self._path, line, f"'timestamp' is {value!r}, not in {self._unit} as those before"
            )
        what = "dates" if self._unit in (None, "text") else self._unit
        self._say(f"its column 'timestamp' is the time of the images, read as {what}")
        del values["timestamp"]
        return found

    def count(self, column: Any) -> None:
        """Of whole numbers of ``timestamp_ns``: how many there are, and in which units."""
        import pyarrow.compute as pc

        ends = pc.min_max(column).as_py()
        self._count += len(column) - column.null_count
        if ends["min"] is not None and len(self._seen) < 2:
            # Units are spans of numbers, one above the other: both ends in one, all in one.
            self._seen |= {_unit_of(ends["min"]), _unit_of(ends["max"])}

    def check(self) -> None:
        """PoolError if all of ``timestamp_ns`` is in another unit."""
        if self._count > 1 and len(self._seen) == 1:
            (unit,) = self._seen
            if unit not in (None, "nanoseconds"):
                raise PoolError(
                    f"manifest {self._path!r}: every 'timestamp_ns' is a time between 1990 and "
                    f"2100 if it counts {unit}, and next to nothing in nanoseconds: call the "
                    f"column 'timestamp', or multiply it by {_UNITS[str(unit)]}"
                )

    def _exact(self, line: int, value: Any) -> int | None:
        value = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        if isinstance(value, Stamp):
            return value.nanoseconds
        if _is_missing(value):
            return None
        exact = _number(value)
        found = _nanoseconds(value, "nanoseconds")
        if exact is None or found is None or exact != found:
            raise malformed(
                self._path,
                line,
                f"'timestamp_ns' is {value!r}, not a 64-bit integer (dates and other units go into "
                "a column 'timestamp')",
            )
        if isinstance(value, float) or (isinstance(value, str) and value.strip("+-0123456789 ")):
            self._say("its 'timestamp_ns' are floating-point numbers, which are exact to 256 ns")
        self._count += 1
        if len(self._seen) < 2:
            self._seen.add(_unit_of(exact))
        return found


def _is_missing(value: Any) -> bool:
    """Whether a value is none: null, NaN or NaT, as such or as text."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and value.strip().lower() in _MISSING)


def _number(value: Any) -> Decimal | None:
    """The exact number that a value is, or that its text tells; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        return None
    try:
        found = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        return None
    return found if found.is_finite() and abs(found.adjusted()) < 40 else None


def _unit_of(value: Any) -> str | None:
    """The unit in which a number is a time between 1990 and 2100, if any; ``text`` for a date."""
    found = _number(value)
    if found is None:
        return "text" if _nanoseconds(value, "text") is not None else None
    for name, size in _UNITS.items():
        if _FIRST <= found * size / 10**9 < _LAST:
            return name
    return None


def _nanoseconds(value: Any, unit: str) -> int | None:
    """A value of the unit in nanoseconds; None if it is none, or does not fit into 64 bits."""
    if isinstance(value, Stamp):
        return value.nanoseconds
    if unit == "text":
        found = _from_iso(value) if isinstance(value, str) else None
    else:
        exact = _number(value)
        found = None if exact is None else round(exact * _UNITS[unit])
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
