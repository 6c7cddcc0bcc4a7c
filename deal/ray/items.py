"""A pool as a table of items, without what is stored already and what cannot be listed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from deal.errors import ItemError, PoolError, UsageError
from deal.run.batch_scorer import ITEM_COLUMNS
from deal.types import FailedItem, PoolItem

__all__ = ["Listed", "check_unique", "listed"]

_COLUMNS = ("id", "uri", "source_version", "sequence", "camera", "timestamp_ns", "attributes")
_SCHEMA = pa.schema([(name, ITEM_COLUMNS[name]) for name in _COLUMNS])
_ROWS = 4096


@dataclass(slots=True)
class Listed:
    """What a pool holds.

    Attributes
    ----------
    items : pyarrow.Table
        As `deal.BatchScorer` takes them, to be read by their uri.
    failed : list of (PoolItem, ItemError)
        What cannot even be listed.
    """

    items: pa.Table
    failed: list[tuple[PoolItem, ItemError]] = field(default_factory=list)


def listed(pool: Iterable[PoolItem | FailedItem]) -> Listed:
    """List a pool; raises what listing raises, also for an id that stands in it twice."""
    tables = [_SCHEMA.empty_table()]
    found = Listed(tables[0])
    rows: list[PoolItem] = []
    for entry in pool:
        if isinstance(entry, FailedItem):
            found.failed.append((entry.item, ItemError(entry.error_code, entry.error)))
            continue
        rows.append(entry)
        if len(rows) == _ROWS:
            tables.append(_table(rows))
            rows = []
    found.items = pa.concat_tables([*tables, _table(rows)])
    return found


def _table(items: list[PoolItem]) -> pa.Table:
    columns: dict[str, Any] = {
        name: [getattr(item, name) for item in items] for name in _COLUMNS[:-1]
    }
    columns["attributes"] = [list(item.attributes.items()) for item in items]
    return pa.table(columns, _SCHEMA)


def check_unique(ids: pa.ChunkedArray) -> None:
    """Raise PoolError for an id that stands in a table twice, UsageError for null."""
    if ids.null_count:
        raise UsageError(f"{ids.null_count} items have no id: give every image one of its own")
    if pc.count_distinct(ids).as_py() == len(ids):
        return
    counts = pc.value_counts(ids)
    twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
    raise PoolError(
        f"{len(twice)} ids stand in the pool more than once, the first of them "
        f"{twice[0].as_py()!r}: give every image an id of its own"
    )
