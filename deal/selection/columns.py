"""The columns of a selection; those not needed for ranking are read for the selected rows alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions import Bound
from deal.selection.gather import Rows
from deal.selection.ranking import Ranking
from deal.selection.reasons import Reason, reason_of, usual_levels
from deal.selection.sources import Sources
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
    stored: Sources,
    rows: Rows,
    taken: NDArray[np.int64],
    bound: Bound,
    totals: NDArray[np.int64] | None,
) -> Texts:
    """Read the columns of the selected rows that ranking did not need.

    The rows are read in pieces of at least ten thousand, so that wide columns and Python strings
    take memory for one piece at a time.
    """
    import pyarrow as pa

    reason = reason_of(bound)
    usual = usual_levels(stored) if reason.against_pool else None

    def why(piece: pa.Table) -> pa.ChunkedArray | None:
        return None if reason.fixed else class_codes(reason, bound, piece, totals, usual)

    def summary(piece: pa.Table) -> pa.Table:
        kept = {"why": why(piece)}
        if "uri" in piece.column_names:
            kept["uri"] = piece.column("uri")
        if rows.regions is not None:
            kept["polygon"] = _polygons(piece)
        return pa.table({name: column for name, column in kept.items() if column is not None})

    columns = ["uri", *reason.columns, *(() if rows.regions is None else _OUTLINE)]
    table = stored.take(taken, list(dict.fromkeys(columns)), summary)
    return Texts({name: table.column(name) for name in table.column_names}, reason, usual)


def to_table(
    stored: Sources,
    rows: Rows,
    texts: Texts,
    bound: Bound,
    ranking: Ranking,
) -> pa.Table:
    """Make the table of a `Selection` from the selected rows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    nothing = pa.nulls(len(rows), pa.string())
    why = texts.why(bound, len(rows))
    tops = region_texts(stored, ranking, rows.ids) if rows.regions is None else None
    if tops is not None:
        why = pc.binary_join_element_wise(why, tops, "; ", null_handling="skip")
        why = pc.if_else(pc.equal(why, ""), None, why)
    return pa.table(
        {
            "id": rows.ids,
            "score": rows.scores,
            "uri": texts.columns.get("uri", nothing),
            "region": pa.nulls(len(rows), pa.int32()) if rows.regions is None else rows.regions,
            "polygon": texts.columns.get("polygon", nothing),
            "cost": rows.costs,
            "why": why,
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
