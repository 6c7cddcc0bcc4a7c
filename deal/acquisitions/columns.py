"""Stored statistics as NumPy columns, chunk by chunk: from a pyarrow table or a mapping."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from deal.errors import ResultsError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Chunk", "Columns", "Scores", "Table", "chunks", "column_names", "has_status", "is_ok"]

Columns: TypeAlias = Mapping[str, NDArray[Any]]
Scores: TypeAlias = NDArray[np.float64]
Table: TypeAlias = "Mapping[str, Any] | pa.Table"

# Rows converted to NumPy at a time: a histogram column of this many rows takes 8 MB, near a cache.
CHUNK_ROWS = 8_192


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive rows of a table.

    Attributes
    ----------
    columns : mapping of column name to ndarray [m] or [m, K]
        Columns of the m usable rows, C-contiguous; those of numbers.
    ok : ndarray of bool [n]
        Rows whose ``status`` is ``ok``.
    usable : ndarray of bool [n]
        Rows that are ok and hold no null.
    """

    columns: Columns
    ok: NDArray[np.bool_]
    usable: NDArray[np.bool_]


def column_names(table: Table) -> list[str]:
    """Names of the columns of a table or mapping."""
    if isinstance(table, Mapping):
        return list(table)
    if not hasattr(table, "column_names") or not hasattr(table, "schema"):
        raise UsageError(
            f"a mapping of column names to arrays or a pyarrow.Table is needed, not a "
            f"{type(table).__name__}"
        )
    return list(table.column_names)


def chunks(table: Table, names: Sequence[str]) -> Iterator[Chunk]:
    """Yield columns ``names`` of a table, and its ``status`` if it has one, chunk by chunk."""
    present = column_names(table)
    reads = list(dict.fromkeys([*names, *(["status"] if "status" in present else [])]))
    return _of_mapping(table, reads) if isinstance(table, Mapping) else _of_table(table, reads)


def _of_mapping(columns: Mapping[str, Any], names: Sequence[str]) -> Iterator[Chunk]:
    arrays = {name: np.asarray(columns[name]) for name in names}
    lengths = {name: len(array) if array.ndim else None for name, array in arrays.items()}
    rows = next(iter(lengths.values()), 0)
    if rows is None or len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise UsageError(f"the columns need one value per row, as many in each; rows: {told}")
    ok = arrays["status"] == "ok" if "status" in arrays else np.ones(rows, dtype=bool)
    # Contiguous rows: the order in which NumPy sums a row depends on the layout in memory.
    yield Chunk({name: np.ascontiguousarray(array[ok]) for name, array in arrays.items()}, ok, ok)


def _of_table(table: pa.Table, names: Sequence[str]) -> Iterator[Chunk]:
    import pyarrow as pa

    for batch in table.select(names).to_batches(CHUNK_ROWS):
        ok = np.ones(batch.num_rows, dtype=bool)
        if "status" in names:
            ok = is_ok(batch.column("status"))
        usable = ok.copy()
        for column in batch.columns:
            usable &= column.is_valid().to_numpy(False)
        # Usually all rows are usable, and copying lists takes longer than scoring them.
        rows = batch if usable.all() else batch.filter(pa.array(usable))
        read = [name for name in names if name != "status"]  # texts would become objects
        yield Chunk({name: _to_numpy(name, rows.column(name)) for name in read}, ok, usable)


def is_ok(status: pa.Array | pa.ChunkedArray) -> NDArray[np.bool_]:
    """Which values of a column ``status`` are ``ok``, bool [n]."""
    return has_status(status, "ok")


def has_status(status: pa.Array | pa.ChunkedArray, which: str) -> NDArray[np.bool_]:
    """Which values of a column ``status`` are this one, bool [n]."""
    import pyarrow.compute as pc

    return np.asarray(pc.fill_null(pc.equal(status, _scalar(which)), _scalar(False)))


@cache
def _scalar(value: str | bool) -> pa.Scalar:
    """A value as Arrow has it; to make one from Python's may take longer than to compare rows."""
    import pyarrow as pa

    return pa.scalar(value)


def _to_numpy(name: str, array: pa.Array) -> NDArray[Any]:
    """Scalars become [n], lists of K become [n, K]; there are no nulls left."""
    import pyarrow.compute as pc
    import pyarrow.types as pt

    if not any(one(array.type) for one in (pt.is_list, pt.is_large_list, pt.is_fixed_size_list)):
        return np.asarray(array.to_numpy(zero_copy_only=False))
    lengths = pc.unique(pc.list_value_length(array)).to_pylist()
    if len(lengths) > 1:
        raise ResultsError(
            f"column {name} holds lists of {lengths[0]} and of {lengths[1]} values: results of "
            "models with different classes cannot be ranked together; select from each alone"
        )
    flat = array.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat.reshape(len(array), -1) if lengths else flat)
