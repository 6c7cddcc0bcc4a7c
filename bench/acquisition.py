"""How long does ranking a scored pool anew take?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from deal.acquisitions import acquisition_names, bind
from deal.bench.failed import FailedCheckError
from deal.bench.report import Report, Row
from deal.bench.timing import interleave, spread
from deal.results.schema import IMAGE_COLUMNS, images_schema, to_table

__all__ = ["pool_table", "run"]


def pool_table(rows: int, classes: int) -> pa.Table:
    """Made-up statistics of a pool: every column that an acquisition function reads."""
    rng = np.random.default_rng(0)
    ids = [f"frames/{row:08}.jpg" for row in range(rows)]
    columns: dict[str, Any] = {"id": ids, "uri": ids, "source_version": ids}
    columns["status"] = ["ok"] * rows
    for name in IMAGE_COLUMNS:
        if name.endswith("_mean"):
            columns[name] = rng.random(rows)
        elif name.endswith(("_hist", "_hist_image")):
            columns[name] = rng.integers(0, 1000, (rows, 240), dtype=np.int32)
        elif name.startswith("class_"):
            columns[name] = rng.integers(1, 10_000, (rows, classes))
    columns["n_pixels"] = columns["class_pixels"].sum(axis=1)
    return to_table(columns, images_schema(), classes)


def run(*, rows: int = 100_000, classes: int = 19, rounds: int = 5) -> Report:
    """Time every function on one table, its pass for totals of the pool included.

    Raises
    ------
    FailedCheckError
        A function scores a part of the table differently from the whole.
    """
    table = pool_table(rows, classes)
    names = [f"class {number}" for number in range(classes)]
    calls = {}
    for name in acquisition_names("images"):
        options: dict[str, Any] = {"focus": names[:3]} if name.startswith("focus:") else {}
        bound = bind(name, classes=names, **options)
        if bound.greedy or bound.name != name:
            continue
        totals = bound.totals(table)
        part = slice(rows // 3, rows // 3 + 100)
        if not np.array_equal(bound.scores(table[part], totals), bound.scores(table, totals)[part]):
            raise FailedCheckError(f"{name} scores a part of the table differently from the whole")
        calls[name] = lambda bound=bound: bound.scores(table, bound.totals(table))
    seconds = interleave(calls, rounds=rounds)
    return Report(
        question="acquisition",
        settings={"rows": rows, "classes": classes, "rounds": rounds},
        rows=tuple(Row(name, spread(values).scaled(1e3), "ms") for name, values in seconds.items()),
    )
