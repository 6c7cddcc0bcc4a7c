"""The scores of a batch of images: columns, regions and failures, joined from groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal.errors import ItemError
from deal.types import Statistics

__all__ = ["BatchScores", "Columns", "failure_of", "joined", "stacked", "tabulated"]

Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class BatchScores:
    """Result of :meth:`deal.scoring.session.Session.score_batch`; n images of the batch are ok.

    Attributes
    ----------
    ok : ndarray of int64 [n]
        Indices of these n images in the batch, ascending.
    columns : dict of column name to ndarray [n] or [n, K]
    regions : dict of column name to ndarray [m], or None without regions
        One row per region that is not empty, in the order of ``image`` (an index in the batch) and
        ``region``.
    failures : dict of index in the batch to ItemError
    """

    ok: NDArray[np.int64]
    columns: Columns
    regions: Columns | None
    failures: dict[int, ItemError]


def joined(parts: Sequence[BatchScores], failures: dict[int, ItemError]) -> BatchScores:
    """Join parts to one batch, in the order of the images; the first part decides the columns."""
    failures = dict(sorted(failures.items()))
    if len(parts) == 1:
        only = parts[0]
        copied = None if only.regions is None else dict(only.regions)
        return BatchScores(only.ok, dict(only.columns), copied, failures)
    ok = np.concatenate([part.ok for part in parts])
    order = np.argsort(ok)
    regions = [part.regions for part in parts if part.regions is not None]
    table = stacked(regions) if regions else None
    if table is not None:
        rows = np.argsort(table["image"], kind="stable")
        table = {name: values[rows] for name, values in table.items()}
    columns = {name: values[order] for name, values in stacked([p.columns for p in parts]).items()}
    return BatchScores(ok[order], columns, table, failures)


def stacked(tables: Sequence[Mapping[str, NDArray[Any]]]) -> Columns:
    """Stack tables that have the same columns."""
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def tabulated(
    batches: Iterable[BatchScores], images: Sequence[NDArray[np.uint8]], none: BatchScores
) -> tuple[Columns, Columns | None]:
    """Make tables with one row per image, failures included, from successive batches.

    Parameters
    ----------
    batches : iterable of BatchScores
    images : sequence of ndarray of uint8 [H, W, 3]
        The images of all batches; rows of failed images still have their size.
    none : BatchScores
        The scores of an empty batch, which decide the columns.

    Returns
    -------
    images, regions
        The return values of :meth:`deal.Scorer.score_with_regions`.
    """
    n = len(images)
    columns = {
        name: np.full((n, *empty.shape[1:]), np.nan if empty.dtype.kind == "f" else 0, empty.dtype)
        for name, empty in none.columns.items()
    }
    columns["status"] = np.full(n, "ok", dtype=object)
    columns["error_code"] = np.full(n, None, dtype=object)
    columns["error"] = np.full(n, None, dtype=object)
    tables = []
    start = 0
    for batch in batches:
        if batch.regions is not None:
            tables.append({**batch.regions, "image": batch.regions["image"] + start})
        for name, values in batch.columns.items():
            columns[name][start + batch.ok] = values
        for index, error in batch.failures.items():
            row = start + index
            columns["status"][row] = "error"
            columns["error_code"][row], columns["error"][row] = error.code, error.message
            columns["height"][row], columns["width"][row] = images[row].shape[:2]
        start += len(batch.ok) + len(batch.failures)
    return columns, stacked(tables) if tables else none.regions


def failure_of(stats: Statistics, row: int) -> ItemError | None:
    """The reason why an image of a batch has no statistics; None if it has some."""
    if stats.nonfinite[row]:
        return ItemError(
            "nonfinite",
            f"{stats.nonfinite[row]} of the network's outputs are NaN or infinite",
        )
    if not stats.images["n_pixels"][row]:
        return ItemError("mask", "the mask leaves no pixel of the raster to score")
    return None
