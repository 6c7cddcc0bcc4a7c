"""An acquisition function bound to its options, ready to score tables part by part."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, Literal, Unpack

import numpy as np
from numpy.typing import NDArray

from deal._options import takes
from deal.acquisitions.columns import Chunk, Scores, Table, chunks, column_names
from deal.acquisitions.lookup import find
from deal.acquisitions.options import OF_PLUGINS, AcquisitionOptions, function_options
from deal.acquisitions.registry import TABLES, Acquisition, acquisition_names, registered
from deal.errors import DealError, ResultsError, UsageError
from deal.types import COMMITTEE_COLUMNS

__all__ = ["Bound", "acquisition_options", "acquisition_scores", "bind", "required_columns"]

_REMEDIES = {
    "difficulty": "the model has no difficulty: score with a model of `deal train`, or with a head "
    "file as --difficulty-head (`deal fit-head` fits one)",
    "committee": "they come from a committee: score with several members (--model given more than "
    "once, --flip or --dropout-passes)",
    "other": "score the pool again, or choose another acquisition function",
}


@dataclass(frozen=True, slots=True)
class Bound:
    """A function with its options and the table that it scores; :func:`bind` makes it.

    Attributes
    ----------
    name : str
        The canonical name: ``ds:none`` for ``ds``.
    options : dict
        The value of every option, defaults included, as JSON values.
    table : ``images`` or ``regions``
    classes : tuple of str, or None
        Class names of the model, length C.
    columns : tuple of str
        Columns that :meth:`scores` and :meth:`totals` read, beside ``status`` if the table has it.
    class_columns : tuple of str
        Columns that :meth:`class_shares` reads; empty if the score has no parts by class.
    """

    name: str
    options: dict[str, Any]
    table: str
    classes: tuple[str, ...] | None
    columns: tuple[str, ...]
    class_columns: tuple[str, ...]
    _entry: Acquisition

    @property
    def needs_totals(self) -> bool:
        """Whether a score depends on totals over the pool."""
        return self._entry.totals is not None

    @property
    def greedy(self) -> bool:
        """Whether the function picks rows one by one and has no scores."""
        return self._entry.greedy

    def stored_as(self, column: str) -> Bound:
        """The same function, where a table holds its scores in a column already."""
        entry = replace(
            self._entry, function=lambda columns: columns[column], class_sums=None, totals=None
        )
        return replace(self, columns=(column,), class_columns=(), _entry=entry)

    def totals(self, table: Table) -> NDArray[np.int64]:
        """Compute totals over the usable rows of a part of the pool; add them over all parts.

        Returns
        -------
        ndarray of int64
            The shape depends on the function and is usually [C]. A 0-d zero, which can be added to
            any shape, if no row is usable or no totals are needed.
        """
        total = np.zeros((), dtype=np.int64)
        if self._entry.totals is None:
            return total
        for chunk in self._read(table, self.columns):
            if chunk.usable.any():
                total = total + self._call(self._entry.totals, chunk, np.int64)
        return total

    def scores(self, table: Table, totals: NDArray[np.int64] | None = None) -> Scores:
        """Score every row; higher is labeled sooner.

        Parameters
        ----------
        table : mapping of str to array [n] or [n, K], or pyarrow.Table
        totals : ndarray of int64, optional
            Totals of the whole pool, if the function needs them.

        Returns
        -------
        ndarray of float64 [n]
            NaN for rows whose ``status`` is not ``ok`` and rows with nulls.

        Raises
        ------
        ResultsError
            A column that the function reads is missing, or null in every row that is ok.
        UsageError
            The function needs totals or class names that were not given.
        """
        if self.greedy:
            raise UsageError(
                f"acquisition {self.name!r} picks rows one by one and has no scores: use "
                "deal.select"
            )
        self._check_totals(totals)
        parts: list[Scores] = []
        any_ok = any_usable = False
        for chunk in self._read(table, self.columns):
            scores = np.full(len(chunk.ok), np.nan)
            any_ok |= bool(chunk.ok.any())
            if chunk.usable.any():
                any_usable = True
                scores[chunk.usable] = self._values(self._entry.function, chunk, totals, 1)
            parts.append(scores)
        if any_ok and not any_usable:
            self._refuse(self.columns, "hold no values in")
        return np.concatenate(parts) if parts else np.empty(0)

    def class_shares(
        self, table: Table, totals: NDArray[np.int64] | None = None
    ) -> NDArray[np.float64] | None:
        """Share of the score that each predicted class has, float64 [n, C]; None without shares.

        Rows sum to 1, or are 0 if the row has no score or a score of 0. Parameters and errors are
        those of :meth:`scores`.
        """
        sums = self._entry.class_sums
        if not self.class_columns or sums is None:
            return None
        self._check_totals(totals)
        parts: list[tuple[Chunk, Scores]] = []
        width = 0 if self.classes is None else len(self.classes)
        for chunk in self._read(table, self.class_columns):
            values = np.zeros((0, width))
            if chunk.usable.any():
                if isinstance(sums, str):
                    values = np.asarray(chunk.columns[sums], dtype=np.float64)
                else:
                    values = self._values(sums, chunk, totals, 2)
            width = max(width, values.shape[1])
            parts.append((chunk, values))
        return np.concatenate([_shares(*part, width) for part in parts] or [np.zeros((0, width))])

    def _check_totals(self, totals: NDArray[np.int64] | None) -> None:
        if self.needs_totals and totals is None:
            raise UsageError(
                f"acquisition {self.name!r} needs totals of the whole pool: add bound.totals(part) "
                "over its parts, or give acquisition_scores the pool as one table"
            )

    def _read(self, table: Table, columns: Sequence[str]) -> Any:
        present = set(column_names(table))
        missing = [column for column in columns if column not in present]
        if missing:
            self._refuse(missing, "lack")
        return chunks(table, columns)

    def _refuse(self, columns: Sequence[str], verb: str) -> None:
        kind = "other"
        if any("difficulty" in column for column in columns):
            kind = "difficulty"
        elif any(column in COMMITTEE_COLUMNS for column in columns):
            kind = "committee"
        raise ResultsError(
            f"acquisition {self.name!r}: the results {verb} {', '.join(columns)}; {_REMEDIES[kind]}"
        )

    def _call(
        self,
        function: Callable[..., Any],
        chunk: Chunk,
        dtype: type[np.generic],
        totals: NDArray[np.int64] | None = None,
    ) -> NDArray[Any]:
        """Call a function on a chunk; an error in a user's function becomes one line."""
        given = {**self.options, "classes": self.classes, "table": self.table, "totals": totals}
        try:
            return np.asarray(function(chunk.columns, **_named(function, given)), dtype=dtype)
        except DealError:
            raise
        except Exception as error:
            raise UsageError(
                f"acquisition {self.name!r} fails ({type(error).__name__}: {error}): repair the "
                "function (DEAL_DEBUG=1 shows where)"
            ) from error

    def _values(
        self,
        function: Callable[..., Any],
        chunk: Chunk,
        totals: NDArray[np.int64] | None,
        ndim: int,
    ) -> NDArray[np.float64]:
        """Call a function on a chunk and check that its result is [n] or [n, C]."""
        values = self._call(function, chunk, np.float64, totals)
        rows = int(chunk.usable.sum())
        if values.ndim != ndim or len(values) != rows:
            raise UsageError(
                f"acquisition {self.name!r} returned shape {values.shape} for {rows} rows"
            )
        if np.isinf(values).any():
            raise UsageError(
                f"acquisition {self.name!r} returned infinite values: return finite values, or "
                "NaN to leave a row out"
            )
        return values


def bind(
    name: str,
    *,
    table: str = "images",
    classes: Sequence[str] | None = None,
    seed: int = 0,
    **options: Any,
) -> Bound:
    """Check a function's options and bind them.

    Parameters
    ----------
    name : str
        One of :func:`acquisition_names`.
    table : ``images`` or ``regions``
        The table whose rows are scored.
    classes : sequence of str, optional
        Class names of the model; needed if an option names classes.
    seed : int
        Seed of functions that take one; the others ignore it.
    **options
        Options of the function; None stands for the default.

    Raises
    ------
    UsageError
        A name, table, option, value or class is unknown, or the function cannot score the table.
    """
    entry = find(name)
    if not isinstance(seed, Integral):
        raise UsageError(f"seed must be a whole number, not {seed!r}")
    if table not in TABLES:
        raise UsageError(f"table must be images or regions, not {table!r}")
    if table not in entry.tables:
        others = ", ".join(acquisition_names(table))
        raise UsageError(
            f"acquisition {entry.name!r} scores {' and '.join(entry.tables)}, not {table}; "
            f"functions that score {table}: {others}"
        )
    names = None if classes is None else tuple(classes)
    given = {key: value for key, value in options.items() if value is not None}
    values = _options(entry, given, int(seed))
    if entry.check is not None:
        values.update(entry.check(**_named(entry.check, {**values, "classes": names})))
    columns = tuple(entry.requires(**_named(entry.requires, {**values, "table": table})))
    class_columns: tuple[str, ...] = ()
    if table == "images" and entry.class_sums is not None:
        class_columns = (entry.class_sums,) if isinstance(entry.class_sums, str) else columns
    return Bound(entry.name, values, table, names, columns, class_columns, entry)


def acquisition_options(name: str, *, seed: int = 0, **options: Any) -> dict[str, Any]:
    """Return the value of every option of a function, defaults included; raises UsageError."""
    return bind(name, seed=seed, **options).options


def required_columns(name: str, *, table: str = "images", **options: Any) -> tuple[str, ...]:
    """Return the columns that an acquisition function reads; raises UsageError as :func:`bind`."""
    return bind(name, table=table, **options).columns


@takes(AcquisitionOptions, function_options, otherwise=OF_PLUGINS)
def acquisition_scores(
    columns: Table,
    name: str,
    *,
    seed: int = 0,
    classes: Sequence[str] | None = None,
    table: Literal["images", "regions"] = "images",
    **options: Unpack[AcquisitionOptions],
) -> Scores:
    """Score every row of a table that holds the whole pool; higher is labeled sooner.

    Parameters
    ----------
    columns : mapping of str to array [n] or [n, K], or pyarrow.Table
        Stored statistics (`read_results`, `read_regions`) or `Statistics.images`.
    name : str
        One of :func:`acquisition_names`.
    seed : int
        Seed of ``random``; the other functions ignore it.
    classes : sequence of str, optional
        Class names of the model; by default those that a stored table carries.
    table : ``images`` or ``regions``
        Whether rows are images or regions.

    Returns
    -------
    ndarray of float64 [n]
        NaN for rows whose ``status`` is not ``ok`` and rows with nulls.

    Raises
    ------
    UsageError
        A name, option, value or class is unknown, the function cannot score the table, or
        ``columns`` is no table.
    ResultsError
        A column that the function reads is missing, or null in every row that is ok.
    """
    column_names(columns)  # refuses what is no table
    if classes is None:
        classes = _stored_classes(columns)
    bound = bind(name, table=table, classes=classes, seed=seed, **function_options(**options))
    return bound.scores(columns, bound.totals(columns) if bound.needs_totals else None)


def _stored_classes(table: Table) -> list[str] | None:
    if isinstance(table, Mapping):
        return None
    stored = (table.schema.metadata or {}).get(b"deal.classes")
    return None if stored is None else list(json.loads(stored))


def _options(entry: Acquisition, given: Mapping[str, Any], seed: int) -> dict[str, Any]:
    known = entry.options
    for option in given:
        if option not in known:
            takers = [other.name for other in registered().values() if option in other.options]
            does = "does" if len(takers) == 1 else "do"
            hint = f"; only {', '.join(takers)} {does}" if takers else ""
            raise UsageError(f"acquisition {entry.name!r} takes no {option}{hint}")
    values = {**known, **{key: _typed(key, known[key], value) for key, value in given.items()}}
    if "seed" in values:
        values["seed"] = seed
    for option, value in values.items():
        if value is inspect.Parameter.empty:
            raise UsageError(f"acquisition {entry.name!r} needs a value for the option {option}")
    return values


def _typed(option: str, default: Any, value: Any) -> Any:
    """Read a value or its text as a number or bool if the option's default is a number or bool."""
    if type(default) is bool:
        if str(value).lower() not in ("true", "false"):
            raise UsageError(f"{option} must be true or false, not {value!r}")
        return str(value).lower() == "true"
    for kind, what in ((int, "a whole number"), (float, "a number")):
        if type(default) is kind:
            try:
                number = kind(value)
            except (TypeError, ValueError, OverflowError):
                number = None
            if number is None or (not isinstance(value, str) and number != value):
                raise UsageError(f"{option} must be {what}, not {value!r}")
            return number
    return value


def _named(function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords that a function names; all options if the function takes any keyword."""
    parameters = inspect.signature(function).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return dict(given)
    return {key: value for key, value in given.items() if key in parameters}


def _shares(chunk: Chunk, values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    shares = np.zeros((len(chunk.ok), width))
    sums = values.sum(axis=1, keepdims=True)
    parts = np.divide(values, sums, out=np.zeros_like(values), where=sums > 0)
    if len(parts):
        shares[chunk.usable] = parts
    return shares
