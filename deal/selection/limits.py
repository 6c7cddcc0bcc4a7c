"""Limits of bytes, in total and per window of time, and of images per window.

Limits follow the gap and near-duplicates, as they do on a rig (`deal.Stream`). The images of a
window, and those of the pool, are gone through in rank order. An image beyond ``window_budget`` is
skipped. The first image whose bytes no longer fit ends the list of its window, or that of the pool:
a smaller and worse one that would still fit is not taken. So the result does not depend on the
order in which images come, and a rig can keep to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal.errors import ResultsError, UsageError
from deal.selection.amounts import parse_bytes, parse_duration
from deal.selection.sources import Sources

__all__ = ["LimitRule", "Limits", "Measures", "file_sizes", "read_measures", "read_times"]

Measures = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Times in nanoseconds and sizes in bytes, int64 [k] each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of bytes and windows; None does not limit.

    Attributes
    ----------
    max_bytes : int, optional
        Bytes that all images take together.
    window_ns : int, optional
        Length of a window; windows are ``timestamp_ns // window_ns``.
    window_budget : int, optional
        Images of a window.
    window_bytes : int, optional
        Bytes of a window.

    Raises
    ------
    UsageError
        A window has no limits, limits have no window, or a window has no length.
    """

    max_bytes: int | None = None
    window_ns: int | None = None
    window_budget: int | None = None
    window_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.window_budget is not None and not (
            type(self.window_budget) is int and self.window_budget > 0
        ):
            raise UsageError(
                f"window_budget must be a whole number of at least 1, not {self.window_budget!r}"
            )
        if self.window_ns is None and (self.window_budget or self.window_bytes):
            raise UsageError("window_budget and window_bytes need a window, such as window='1h'")
        if self.window_ns is not None and not (self.window_budget or self.window_bytes):
            raise UsageError("a window needs window_budget or window_bytes, its limits")
        if self.window_ns == 0:
            raise UsageError("a window must last longer than 0")

    @classmethod
    def of(
        cls,
        *,
        max_bytes: int | str | None = None,
        window: int | str | None = None,
        window_budget: int | None = None,
        window_bytes: int | str | None = None,
    ) -> Limits:
        """Read the limits as users write them: ``2GB``, ``1h``; raises UsageError."""
        return cls(
            max_bytes=parse_bytes(max_bytes, "max_bytes"),
            window_ns=parse_duration(window, "window"),
            window_budget=window_budget,
            window_bytes=parse_bytes(window_bytes, "window_bytes"),
        )

    def __bool__(self) -> bool:
        return self.max_bytes is not None or self.window_ns is not None

    @property
    def counts_bytes(self) -> bool:
        """Whether the sizes of images are needed."""
        return self.max_bytes is not None or self.window_bytes is not None

    def to_dict(self) -> dict[str, Any]:
        """The limits that are set, as JSON values."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in values.items() if value is not None}


class LimitRule:
    """Keeps a `deal.selection.greedy.Choice` within the limits; it is asked last of all rules.

    Parameters
    ----------
    limits : Limits
    read : callable
        `Measures` of rows.

    Attributes
    ----------
    spent : int
        Bytes of the rows that were taken; 0 if sizes are not needed.
    """

    def __init__(self, limits: Limits, read: Callable[[NDArray[np.int64]], Measures]) -> None:
        self._limits = limits
        self._read = read
        self.spent = 0
        self.closed = False  # the next row of the order did not fit
        self._codes: dict[int, int] = {}  # window → number of its entry below
        self._images = np.zeros(0, np.int64)
        self._bytes = np.zeros(0, np.int64)
        self._closed = np.zeros(0, bool)
        self._rows = np.empty(0, np.int64)  # those in memory, ascending
        self._sizes = np.empty(0, np.int64)
        self._windows = np.empty(0, np.int64)

    def load(self, rows: NDArray[np.int64]) -> None:
        """Read times and sizes of rows that come next; those of earlier rows are forgotten."""
        self._rows = np.unique(rows)
        times, self._sizes = self._read(self._rows)
        length = self._limits.window_ns
        windows = np.zeros_like(times) if length is None else times // length
        found, inverse = np.unique(windows, return_inverse=True)
        codes = [self._codes.setdefault(window, len(self._codes)) for window in found.tolist()]
        self._windows = np.array(codes, np.int64)[inverse.reshape(-1)]
        more = len(self._codes) - len(self._closed)
        self._images = np.append(self._images, np.zeros(more, np.int64))
        self._bytes = np.append(self._bytes, np.zeros(more, np.int64))
        self._closed = np.append(self._closed, np.zeros(more, bool))

    def allows(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each of these rows may still come; True for rows that are not loaded."""
        if self.closed:
            return np.zeros(len(rows), bool)
        place = np.searchsorted(self._rows, rows)
        place[place == len(self._rows)] = 0
        loaded = self._rows[place] == rows if len(self._rows) else np.zeros(len(rows), bool)
        full = self._closed.copy()
        if self._limits.window_budget is not None:
            full |= self._images >= self._limits.window_budget
        allowed = np.ones(len(rows), bool)
        allowed[loaded] = ~full[self._windows[place[loaded]]]
        return allowed

    def admits(self, row: int) -> bool:
        """Whether a loaded row that all else allows fits; if not, it may end a list."""
        window, size = self._measures(row)
        limits = self._limits
        if self.closed or self._closed[window]:
            return False
        if limits.window_budget is not None and self._images[window] >= limits.window_budget:
            return False
        if limits.window_bytes is not None and self._bytes[window] + size > limits.window_bytes:
            self._closed[window] = True
            return False
        self.closed = limits.max_bytes is not None and self.spent + size > limits.max_bytes
        return not self.closed

    def take(self, row: int) -> None:
        """Count a loaded row."""
        window, size = self._measures(row)
        self._images[window] += 1
        self._bytes[window] += size
        self.spent += size

    def check_included(self, count: int) -> None:
        """Raise ResultsError if the rows taken so far, whatever the limits, are too large."""
        most = self._limits.max_bytes
        if most is not None and self.spent > most:
            raise ResultsError(
                f"the {count} included images take {self.spent:,} bytes, more than the limit of "
                f"{most:,}: give a larger limit or a shorter list"
            )

    def _measures(self, row: int) -> tuple[int, int]:
        place = int(np.searchsorted(self._rows, row))
        assert self._rows[place] == row, f"row {row} is not loaded"
        return int(self._windows[place]), int(self._sizes[place])


def read_measures(stored: Sources, limits: Limits, rows: NDArray[np.int64]) -> Measures:
    """Times and sizes of rows, 0 where the limits do not need them; ResultsError if one lacks."""
    none = np.zeros(len(rows), np.int64)
    times = none if limits.window_ns is None else read_times(stored, rows, "a window")
    return times, file_sizes(stored, rows) if limits.counts_bytes else none


def read_times(stored: Sources, rows: NDArray[np.int64], what: str) -> NDArray[np.int64]:
    """The timestamps of rows, int64 [k]; ResultsError, which says ``what`` needs them."""
    table = stored.take(rows, ["timestamp_ns"])
    known = "timestamp_ns" in table.column_names
    if len(rows) and (not known or table.column("timestamp_ns").null_count):
        raise ResultsError(
            f"{what} needs a timestamp_ns of every row, and some have none: score from a manifest "
            "with a column timestamp_ns, or leave it out"
        )
    if not len(rows):
        return np.empty(0, np.int64)
    return np.asarray(table.column("timestamp_ns").to_numpy(), np.int64)


def file_sizes(stored: Sources, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bytes of the files of rows, int64 [k], from what is stored of their versions.

    Raises ResultsError where they are not known: of images inside another file, and of some web
    servers.
    """
    from deal.pool.locator import lies_inside

    table = stored.take(rows, ["uri", "source_version"])
    nothing: list[str | None] = [None] * len(rows)
    uris, versions = (
        table.column(name).to_pylist() if name in table.column_names else nothing
        for name in ("uri", "source_version")
    )
    sizes = [str(version).partition("-")[0] for version in versions]
    inside = any(lies_inside(uri or "") for uri in uris)
    if inside or not all(size.isdecimal() for size in sizes):
        raise ResultsError(
            "a limit of bytes needs the sizes of the files, which are not stored for every row"
            + (" (images inside another file have none)" if inside else "")
            + ": give a budget in images"
        )
    return np.array([int(size) for size in sizes], np.int64)
