"""The best rows of a pool, which comes piece by piece: all that a choice by score has to know.

A pool may have any number of rows, but a choice looks at the best of them until its budget is full.
So only rows that are among the first of some order are kept, with the columns that rules need.
Orders are total, so neither pieces nor their sequence change which rows are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["NAMED", "BestRows", "First"]

NAMED = "named"
"""Column of the rows that are kept whatever their place: those of the lists of the user."""
_AT_ONCE = 1 << 19  # rows that are kept without a look
_SLACK = 1 << 17  # rows by which it pays to go through all that are kept


class First:
    """The first rows by a column descending; ties go by ``key`` descending, id, and region.

    Parameters
    ----------
    column : str
        Name of a column without nulls; rows whose ``key`` is NaN belong to no order.
    most : callable
        How many rows are wanted. It is asked once, when more rows have come than are kept anyway;
        None keeps all.
    exactly : bool
        Whether never more are wanted, even if all are kept.

    Attributes
    ----------
    column : str
    left_out : bool
        Whether there are more rows than those that are kept.
    """

    def __init__(
        self, column: str, most: Callable[[], int | None], *, exactly: bool = False
    ) -> None:
        self.column = column
        self._exactly = exactly
        self.left_out = False
        self._ask = most
        self._most: int | None = None
        self._asked = False
        self._least: Any = None

    @property
    def most(self) -> int | None:
        """How many rows are kept."""
        if not self._asked:
            self._most, self._asked = self._ask(), True
        return self._most

    def may_hold(self, scored: NDArray[np.bool_], values: NDArray[Any]) -> NDArray[np.bool_]:
        """Which rows may be among the first, bool [n], by the values of their column."""
        if self._least is None:
            return scored
        found = scored & (values >= self._least)
        self.left_out |= bool(found.sum() < scored.sum())
        return np.asarray(found)

    def found(self, table: pa.Table) -> NDArray[np.bool_]:
        """Which of all rows that are kept are the first, bool [n]."""
        if self.left_out or self._exactly:
            return self.of(table)
        return np.asarray(~np.isnan(table.column("key").to_numpy()))

    def of(self, table: pa.Table) -> NDArray[np.bool_]:
        """Which of the rows are the first, bool [n]; later ones need not come again."""
        found = np.asarray(~np.isnan(table.column("key").to_numpy()))
        found = self.may_hold(found, table.column(self.column).to_numpy()).copy()
        rows = np.flatnonzero(found)
        if self.most is None or len(rows) <= self.most:
            return found
        self.left_out = True
        values = table.column(self.column).to_numpy()[rows]
        at = len(rows) - self.most
        cut = np.partition(values, at)[at]
        self._least = cut
        found[rows[values < cut]] = False
        tied = rows[values == cut]
        surplus = len(tied) - (self.most - int((values > cut).sum()))
        if surplus:
            found[_in_order(table, tied)[len(tied) - surplus :]] = False
        return found


class BestRows:
    """Keeps the rows of a pool that are first in some order, and those that a list names.

    Parameters
    ----------
    orders : sequence of First
    """

    def __init__(self, *orders: First) -> None:
        self.orders = orders
        self._tables: list[pa.Table] = []
        self._rows = 0
        self._room = _AT_ONCE

    def add(self, columns: Mapping[str, pa.Array | NDArray[Any]]) -> None:
        """Add rows: columns ``key``, ``id``, perhaps ``region``, `NAMED`, and those of orders."""
        import pyarrow as pa
        import pyarrow.compute as pc

        scored = ~np.isnan(columns["key"])
        kept = columns[NAMED].copy()
        for order in self.orders:
            kept |= order.may_hold(scored, columns[order.column])
        if not kept.all():
            rows = np.flatnonzero(kept)
            columns = {
                name: values.take(pa.array(rows)) if isinstance(values, pa.Array) else values[rows]
                for name, values in columns.items()
            }
        # Of many rows, ids are longer together than the offsets of short strings reach.
        table = pa.table({**columns, "id": pc.cast(columns["id"], pa.large_string())})
        if len(table):
            self._tables.append(table)
            self._rows += len(table)
        if self._rows > self._room:
            self._shrink()

    def close(self, empty: pa.Table) -> tuple[pa.Table, list[NDArray[np.bool_]]]:
        """The rows that are kept, in the order in which they came, and which are in which order.

        ``empty`` is a table without rows, for a pool without any.
        """
        import pyarrow as pa

        if any(order.left_out for order in self.orders):
            self._shrink()
        table = pa.concat_tables(self._tables).combine_chunks() if self._tables else empty
        self._tables = []
        return table, [order.found(table) for order in self.orders]

    def _shrink(self) -> None:
        import pyarrow as pa

        wanted = [order.most for order in self.orders]
        if None in wanted:
            self._room = np.iinfo(np.int64).max
            return
        table = pa.concat_tables(self._tables).combine_chunks()
        kept = table.column(NAMED).to_numpy().copy()
        for order in self.orders:
            kept |= order.of(table)
        table = table.filter(pa.array(kept)).combine_chunks()
        self._tables, self._rows = [table], len(table)
        self._room = max(2 * len(table), len(table) + _SLACK)


def _in_order(table: pa.Table, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows that tie, by key descending, id (UTF-8 bytes) and region."""
    import pyarrow as pa
    import pyarrow.compute as pc

    by = [("key", "descending"), ("id", "ascending"), ("region", "ascending")]
    by = [(name, way) for name, way in by if name in table.column_names]
    columns = table.select([name for name, _ in by]).take(pa.array(rows))
    return np.asarray(rows[pc.sort_indices(columns, sort_keys=by).to_numpy()])
