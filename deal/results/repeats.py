"""Ids that stand in two parts of one folder, and which of their rows counts.

Hosts whose locks do not reach each other (a mount without a lock service) may both score an item.
Nothing is wrong with either row: the bits are equal. So the rule is short: a row that is ok counts
before any other, then the one whose part comes first. Readers leave out the others; the next run
over the folder removes them. Two images that a manifest gives one id are no such rows, and refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

import pyarrow as pa

from deal.errors import ResultsError
from deal.machine.arrow import compute as pc
from deal.results.parts import read_ids, read_part
from deal.results.schema import STATUSES

__all__ = ["NONE", "SecondRows", "second_rows", "without"]

SecondRows: TypeAlias = Mapping[Path, pa.Array]
"""Part of the images → ids of rows in it that do not count."""

NONE: SecondRows = MappingProxyType({})

_READ = ("id", "status", "uri", "source_version")
_LAST = {status: place for place, status in enumerate(("ok", "duplicate", "skipped", "error"))}
assert set(_LAST) == set(STATUSES)


def second_rows(parts: Sequence[Path]) -> SecondRows:
    """Find the rows that do not count, in parts of ``images/`` of one or many folders.

    Raises
    ------
    ResultsError
        An id is in two folders or twice in one part, where nothing tells which row is meant, or
        stands for two images.
    """
    ids = pa.chunked_array([read_ids(part) for part in parts], pa.string())
    if pc.count_distinct(ids).as_py() == len(ids):
        return NONE
    counts = pc.value_counts(ids)
    repeated = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
    del ids, counts
    rows: dict[str, list[tuple[int, int]]] = defaultdict(list)
    images: dict[str, tuple[str, str]] = {}
    for place, part in enumerate(parts):
        table = read_part(part, list(_READ))
        table = table.filter(pc.is_in(table.column("id"), repeated))
        columns = (table.column(name).to_pylist() for name in _READ)
        for item_id, status, uri, version in zip(*columns, strict=True):
            rows[item_id].append((_LAST.get(status, len(_LAST)), place))
            if uri and version:
                _check_same(item_id, images.setdefault(item_id, (uri, version)), (uri, version))
    second = defaultdict(list)
    for item_id, found in rows.items():
        where = [parts[place] for _, place in found]
        folders = [str(part.parent.parent) for part in where]
        real = {part.resolve() for part in where}
        if len({part.parent for part in real}) > 1 or len(real) < len(where):
            raise ResultsError(
                f"the id {item_id!r} stands in two rows ({' and '.join(folders)}); name each "
                "output once, and outputs of different pools apart"
            )
        for _, place in sorted(found)[1:]:
            second[parts[place]].append(item_id)
    return {part: pa.array(names, pa.string()) for part, names in second.items()}


def _check_same(item_id: str, first: tuple[str, str], other: tuple[str, str]) -> None:
    """Refuse an id of two images; one that moved keeps its version, a changed one its uri."""
    if first[0] != other[0] and first[1] != other[1]:
        raise ResultsError(
            f"the id {item_id!r} stands for two images, {first[0]!r} and {other[0]!r}: give each "
            "row of the manifest an id of its own, and score it into another output"
        )


def without(table: pa.Table, second: SecondRows, part: Path) -> pa.Table:
    """Of the rows of a part of ``images/`` those that count; ``id`` is a column of the table."""
    if part not in second:
        return table
    return table.filter(pc.invert(pc.is_in(table.column("id"), second[part])))
