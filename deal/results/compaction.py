"""``compact``: few parts of many, and one row of an item that has two.

A part of merged rows is written first, and then the parts that it holds go. A kill between leaves
rows twice, which readers count once (:mod:`deal.results.repeats`) and the next call puts in order.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from deal._options import check_whole
from deal.machine.files import sync_folder, writing
from deal.pool.ids import Shard
from deal.pool.remote_path import place
from deal.results.lock import changing_alone
from deal.results.partfile import Part
from deal.results.parts import (
    FOLDERS,
    list_parts,
    merged_name,
    part_shard,
    publish_tables,
)
from deal.results.reading import list_results, open_part
from deal.results.repeats import SecondRows, second_rows, without

__all__ = ["Compacted", "compact"]

_FEWEST, _MOST, _PARTS = 2048, 65_536, 128
Source = str | os.PathLike[str]
_PIECE_ROWS = 8192


@dataclass(frozen=True, slots=True)
class Compacted:
    """What :func:`compact` did.

    Attributes
    ----------
    rows : int
        Image rows of the output, each item once.
    before, after : int
        Parts of images.
    removed : int
        Second rows of an item that went.
    """

    rows: int
    before: int
    after: int
    removed: int


def compact(output: Source, *, part_rows: int | None = None) -> Compacted:
    """Merge small parts of an output into fewer.

    A part of at least half as many rows as wanted stays as it is. Rows keep their bits, and
    nothing is lost or doubled if the process is killed.

    Parameters
    ----------
    output : path
        A folder, or one in object storage, that no run of ``deal-score`` is writing; engines may.
    part_rows : int, optional
        At most so many rows per part. By default a 128th of the rows, from 2,048 to 65,536.

    Raises
    ------
    UsageError
        ``part_rows`` is not a whole number of at least 1.
    ResultsError
        The folder holds no results, or a part is damaged or was not written by deal.
    OutputError
        A run writes the output, or it cannot be written.
    """
    check_whole(1, part_rows=part_rows)
    root = place(output)
    list_results(root)
    with writing(root), changing_alone(root):
        parts = list_results(root)
        counts: dict[Path, int] = {}
        alike: dict[tuple[Shard | None, str], list[Path]] = defaultdict(list)
        for path in parts:
            part = open_part(path) or Part(path)
            with part:
                counts[path] = part.rows
                kind = (part_shard(path.name), part.footer.get("deal.schema", ""))
            alike[kind].append(path)
        second = second_rows(parts)
        for path, ids in second.items():
            counts[path] -= len(ids)
        wanted = part_rows or min(max(sum(counts.values()) // _PARTS, _FEWEST), _MOST)
        for paths in alike.values():
            small = [path for path in paths if 2 * counts[path] < wanted or path in second]
            for group in _groups(small, counts, wanted):
                if len(group) > 1 or group[0] in second:
                    _merge(root, group, second)
    removed = sum(len(ids) for ids in second.values())
    return Compacted(sum(counts.values()), len(parts), len(list_parts(root / "images")), removed)


def _groups(parts: list[Path], counts: dict[Path, int], most: int) -> Iterator[list[Path]]:
    """Parts in their order, in groups of at most ``most`` rows."""
    group: list[Path] = []
    rows = 0
    for part in parts:
        if group and rows + counts[part] > most:
            yield group
            group, rows = [], 0
        group.append(part)
        rows += counts[part]
    if group:
        yield group


def _merge(root: Path, parts: list[Path], second: SecondRows) -> None:
    """Put the rows of some parts into one: regions first, since the image rows decide."""
    name = merged_name(root, parts)
    for folder in reversed(FOLDERS):
        tables = _rows(root / folder, parts, second)
        first = next(tables, None)
        if first is not None:
            publish_tables(first.schema, chain([first], tables), root / folder / name)
    for folder in FOLDERS:
        for part in parts:
            (root / folder / part.name).unlink(missing_ok=True)
        if (root / folder).exists():
            sync_folder(root / folder)


def _rows(folder: Path, parts: list[Path], second: SecondRows) -> Iterator[pa.Table]:
    """The rows that count of some parts, in pieces; regions of images without one are left out."""
    for part in parts:
        path = folder / part.name
        if not path.exists():
            continue
        with Part(path) as opened:
            images = without(_ids(part), second, part).column("id")
            for batch in opened.batches(opened.columns, _PIECE_ROWS):
                rows = pa.Table.from_batches([batch])
                rows = rows.filter(pc.is_in(rows.column("id"), images.combine_chunks()))
                if len(rows):
                    yield rows.replace_schema_metadata(opened.metadata)


def _ids(part: Path) -> pa.Table:
    with Part(part) as opened:
        return opened.read(["id"])
