"""Signatures of stored rows: the thumbnails that near-duplicates are found by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deal.errors import ResultsError
from deal.pool.signature import BYTES, centred
from deal.selection.rows import Rows
from deal.selection.sources import Sources

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["distances", "has_thumbnails", "read_signatures"]


def read_signatures(
    rows: Rows, some: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Signatures uint8 [k, 192] of some rows, and which of them are stored, bool [k]."""
    return _of(rows.source, rows.numbers[some])


def _of(stored: Sources, rows: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    import pyarrow as pa

    def summary(piece: pa.Table) -> pa.Table:
        # What one source lacks another may have, so it is null instead of missing.
        lacks = "thumbnail" not in piece.column_names
        column = pa.nulls(len(piece)) if lacks else piece.column("thumbnail")
        return pa.table({"thumbnail": column.cast(pa.binary(BYTES))})

    if not len(rows) or not stored.has("thumbnail"):
        return np.zeros((len(rows), BYTES), np.uint8), np.zeros(len(rows), bool)
    try:
        column = stored.take(rows, ["thumbnail"], summary).column("thumbnail").combine_chunks()
    except pa.ArrowInvalid as error:
        raise ResultsError(
            f"the column thumbnail must hold {BYTES} bytes per row ({error}): leave it out, or "
            "give the output folder of deal-score"
        ) from error
    known = column.is_valid().to_numpy(zero_copy_only=False)
    data = np.frombuffer(column.buffers()[1], np.uint8).reshape(-1, BYTES)
    return data[column.offset : column.offset + len(column)], known


def has_thumbnails(rows: Rows, order: NDArray[np.int64], *, must: bool) -> bool:
    """Whether there is a column of thumbnails; those of an earlier version are null.

    With ``must``, ResultsError if none is stored.
    """
    known = read_signatures(rows, order[:1024])[1] if must else np.ones(1, bool)
    if len(order) and not known.any():
        raise ResultsError(
            "near_duplicates compares thumbnails, which these results lack, as an earlier version "
            "stored them: score the pool again (deal-score --overwrite), or give near_duplicates "
            "off"
        )
    return len(order) > 0 and rows.source.has("thumbnail")


def distances(stored: Sources, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    """Distances of pairs of rows of the pool, of the pairs where both have a signature."""
    rows = np.unique(np.concatenate([a, b]))
    signatures, known = _of(stored, rows)
    first, second = np.searchsorted(rows, a), np.searchsorted(rows, b)
    both = known[first] & known[second]
    one, other = signatures[first[both]], signatures[second[both]]
    return np.asarray(np.abs(centred(one) - centred(other)).sum(axis=1))
