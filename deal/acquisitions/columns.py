"""Stored statistics as NumPy columns, chunk by chunk: from a pyarrow table or a mapping."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from deal.errors import ResultsError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Chunk", "Columns", "Scores", "Table", "chunks", "column_names"]

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
        Columns of the m usable rows, C-contiguous.
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
    return list(table) if isinstance(table, Mapping) else list(table.column_names)


def chunks(table: Table, names: Sequence[str]) -> Iterator[Chunk]:
    """Yield columns ``names`` of a table, and its ``status`` if it has one, chunk by chunk."""
    present = column_names(table)
    reads = list(dict.fromkeys([*names, *(["status"] if "status" in present else [])]))
    return _of_mapping(table, reads) if isinstance(table, Mapping) else _of_table(table, reads)


def _of_mapping(columns: Mapping[str, Any], names: Sequence[str]) -> Iterator[Chunk]:
    arrays = {name: np.asarray(columns[name]) for name in names}
    rows = len(next(iter(arrays.values()), ()))
    ok = arrays["status"] == "ok" if "status" in arrays else np.ones(rows, dtype=bool)
    # Contiguous rows: the order in which NumPy sums a row depends on the layout in memory.
    yield Chunk({name: np.ascontiguousarray(array[ok]) for name, array in arrays.items()}, ok, ok)


def _of_table(table: pa.Table, names: Sequence[str]) -> Iterator[Chunk]:
    import pyarrow as pa
    import pyarrow.compute as pc

    for batch in table.select(names).to_batches(CHUNK_ROWS):
        ok = np.ones(batch.num_rows, dtype=bool)
        if "status" in names:
            ok = pc.equal(batch.column("status"), "ok").fill_null(False).to_numpy(False)
        usable = ok.copy()
        for column in batch.columns:
            usable &= column.is_valid().to_numpy(False)
        # Usually all rows are usable, and copying lists takes longer than scoring them.
        rows = batch if usable.all() else batch.filter(pa.array(usable))
        arrays = map(_to_numpy, names, rows.columns)
        yield Chunk(dict(zip(names, arrays, strict=True)), ok, usable)


def _to_numpy(name: str, array: pa.Array) -> NDArray[Any]:
    """Scalars become [n], lists of K become [n, K]; there are no nulls left."""
    import pyarrow.compute as pc
    import pyarrow.types as pt

    if not pt.is_list(array.type) and not pt.is_fixed_size_list(array.type):
        return np.asarray(array.to_numpy(zero_copy_only=False))
    lengths = pc.unique(pc.list_value_length(array)).to_pylist()
    if len(lengths) > 1:
        raise ResultsError(
            f"column {name} holds lists of {lengths[0]} and of {lengths[1]} values: results of "
            "models with different classes cannot be ranked together; select from each alone"
        )
    flat = array.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat.reshape(len(array), -1) if lengths else flat)
