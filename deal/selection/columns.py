"""The columns of a selection; those not needed for ranking are read for the selected rows alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions import Bound
from deal.selection.ranking import Ranking
from deal.selection.reasons import Reason, reason_of, usual_levels
from deal.selection.rows import Rows
from deal.selection.why import class_codes, class_texts, region_texts

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Texts", "read_texts", "to_table"]

_OUTLINE = ("majority_class", "x0", "y0", "x1", "y1", "polygon")


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """Columns of the selected rows that ranking did not need.

    Attributes
    ----------
    columns : dict of column name to pyarrow.ChunkedArray
        ``why`` holds codes (:func:`deal.selection.why.class_codes`), which take less memory.
    reason : Reason
    usual : ndarray of int64 [C] or None
        :func:`deal.selection.reasons.usual_levels`, if ``why`` compares with the pool.
    """

    columns: dict[str, pa.ChunkedArray]
    reason: Reason
    usual: NDArray[np.int64] | None

    def why(self, bound: Bound, rows: int) -> pa.Array | pa.ChunkedArray:
        """The text of each row; null where nothing can be said."""
        import pyarrow as pa

        if self.reason.fixed is not None:
            return pa.repeat(self.reason.fixed, rows)
        if "why" not in self.columns:
            return pa.nulls(rows, pa.string())
        return class_texts(self.reason, bound, self.columns["why"], self.usual)


def read_texts(
    rows: Rows,
    taken: NDArray[np.int64],
    bound: Bound,
    totals: NDArray[np.int64] | None,
) -> Texts:
    """Read the columns of selected rows that ranking did not need.

    The rows are read in pieces of at least ten thousand, so that wide columns and Python strings
    take memory for one piece at a time.
    """
    import pyarrow as pa

    reason = reason_of(bound)
    usual = usual_levels(rows.source) if reason.against_pool and len(taken) else None

    def summary(piece: pa.Table) -> pa.Table:
        # What one source lacks another may have, so it is null instead of missing.
        nothing = pa.nulls(len(piece), pa.string())
        kept = {"uri": piece.column("uri") if "uri" in piece.column_names else nothing}
        if reason.fixed is None:
            kept["why"] = class_codes(reason, bound, piece, totals, usual)
        if rows.regions is not None:
            kept["polygon"] = _polygons(piece)
        return pa.table(kept)

    columns = ["uri", *reason.columns, *(() if rows.regions is None else _OUTLINE)]
    table = rows.read(taken, list(dict.fromkeys(columns)), summary)
    return Texts({name: table.column(name) for name in table.column_names}, reason, usual)


def to_table(
    rows: Rows,
    taken: NDArray[np.int64],
    texts: Texts,
    bound: Bound,
    ranking: Ranking,
    described: int,
) -> pa.Table:
    """Make the table of a `Selection`; ``texts`` are of the first rows taken, so many."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def whole(column: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
        parts = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
        rest = pa.nulls(len(taken) - described, column.type)
        return pa.chunked_array([*parts, rest], column.type)

    ids = rows.ids.take(pa.array(taken))
    nothing = pa.nulls(described, pa.string())
    why = texts.why(bound, described)
    tops = None
    if rows.regions is None:
        tops = region_texts(rows.source, ranking, ids[:described])
    if tops is not None:
        why = pc.binary_join_element_wise(why, tops, "; ", null_handling="skip")
        why = pc.if_else(pc.equal(why, ""), None, why)
    numbers = pa.nulls(len(taken), pa.int32()) if rows.regions is None else rows.regions[taken]
    return pa.table(
        {
            "id": ids,
            "score": rows.scores[taken],
            "uri": whole(texts.columns.get("uri", nothing)),
            "region": numbers,
            "polygon": whole(texts.columns.get("polygon", nothing)),
            "cost": rows.costs[taken],
            "why": whole(why),
        }
    )


def _polygons(regions: pa.Table) -> pa.Array:
    """Outlines as stored; the box for regions that have no outline."""
    import pyarrow as pa

    from deal.kernel.geometry import box_outline

    present = [name for name in _OUTLINE if name in regions.column_names]
    texts: list[str | None] = []
    for row in regions.select(present).to_pylist():
        box = [row.get(name) for name in ("x0", "y0", "x1", "y1")]
        if row.get("polygon") is not None or None in box:
            texts.append(row.get("polygon"))
        else:
            texts.append(box_outline(*box))
    return pa.array(texts, pa.string())
