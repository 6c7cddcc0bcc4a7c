"""What a batch of images scored: columns, regions and failures, put together from groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal.errors import ItemError

__all__ = ["BatchScores", "Columns", "joined", "stacked"]

Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class BatchScores:
    """What :meth:`deal.Scorer.score_batch` found, n images of the batch being ok.

    Attributes
    ----------
    ok : ndarray of int64 [n]
        Their indices in the batch, ascending.
    columns : dict of column name to ndarray [n] or [n, K]
    regions : dict of column name to ndarray [m], or None without regions
        One row a region that is not empty, in the order of ``image`` (an index in the batch) and
        ``region``.
    failures : dict of index in the batch to ItemError
    """

    ok: NDArray[np.int64]
    columns: Columns
    regions: Columns | None
    failures: dict[int, ItemError]


def joined(parts: Sequence[BatchScores], failures: dict[int, ItemError]) -> BatchScores:
    """One batch of its parts, in the order of the images; the first part decides the columns."""
    ok = np.concatenate([part.ok for part in parts])
    order = np.argsort(ok)
    regions = [part.regions for part in parts if part.regions is not None]
    table = stacked(regions) if regions else None
    if table is not None:
        rows = np.argsort(table["image"], kind="stable")
        table = {name: values[rows] for name, values in table.items()}
    columns = {name: values[order] for name, values in stacked([p.columns for p in parts]).items()}
    return BatchScores(ok[order], columns, table, dict(sorted(failures.items())))


def stacked(tables: Sequence[Columns]) -> Columns:
    """Tables of the same columns, one below the other."""
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
