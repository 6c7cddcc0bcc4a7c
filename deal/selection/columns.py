"""The columns of a selection; those not needed for ranking are read for the selected rows alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions import Bound
from deal.selection.gather import Rows
from deal.selection.ranking import Ranking
from deal.selection.sources import Sources
from deal.selection.why import class_codes, class_texts, region_texts

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["read_texts", "to_table"]

_OUTLINE = ("majority_class", "x0", "y0", "x1", "y1", "polygon")


def read_texts(
    stored: Sources,
    rows: Rows,
    taken: NDArray[np.int64],
    bound: Bound,
    totals: NDArray[np.int64] | None,
) -> dict[str, pa.ChunkedArray]:
    """Read the columns of the selected rows that ranking did not need.

    The rows are read in pieces of at least ten thousand, so that wide columns and Python strings
    take memory for one piece at a time.
    """
    import pyarrow as pa

    def summary(piece: pa.Table) -> pa.Table:
        kept = {"why": class_codes(bound, piece, totals)}
        if "uri" in piece.column_names:
            kept["uri"] = piece.column("uri")
        if rows.regions is not None:
            kept["polygon"] = _polygons(piece)
        return pa.table({name: column for name, column in kept.items() if column is not None})

    columns = ["uri", *bound.class_columns, *(() if rows.regions is None else _OUTLINE)]
    table = stored.take(taken, list(dict.fromkeys(columns)), summary)
    return {name: table.column(name) for name in table.column_names}


def to_table(
    stored: Sources,
    rows: Rows,
    texts: dict[str, pa.ChunkedArray],
    bound: Bound,
    ranking: Ranking,
) -> pa.Table:
    """Make the table of a `Selection` from the selected rows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    nothing = pa.nulls(len(rows), pa.string())
    why = class_texts(bound, texts["why"]) if "why" in texts else nothing
    tops = region_texts(stored, ranking, rows.ids) if rows.regions is None else None
    if tops is not None:
        why = pc.binary_join_element_wise(why, tops, "; ", null_handling="skip")
        why = pc.if_else(pc.equal(why, ""), None, why)
    return pa.table(
        {
            "id": rows.ids,
            "score": rows.scores,
            "uri": texts.get("uri", nothing),
            "region": pa.nulls(len(rows), pa.int32()) if rows.regions is None else rows.regions,
            "polygon": texts.get("polygon", nothing),
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
