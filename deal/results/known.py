"""What an output knows of the items stored in it, in a few dozen bytes an item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from deal.machine.arrow import compute as pc
from deal.pool.digests import DigestMap, digest
from deal.types import PoolItem

__all__ = ["DESCRIPTION", "Known", "redescribed"]

DESCRIPTION = ("sequence", "camera", "timestamp_ns", "attributes")
"""Columns that the pool gives, whatever the image shows."""

# A value of the map of items: 39 bits of the digest of source_version, one that says whether the
# row was skipped, and 24 of the part's index.
_PART_BITS = 24
_SKIPPED = 1 << _PART_BITS


class Known:
    """Items whose rows are stored: from which version of the file, in which part, described how."""

    def __init__(self) -> None:
        self._where = DigestMap()
        self._leaders = DigestMap()
        self._descriptions = DigestMap()  # of items without one there is no entry
        self._parts: list[str] = []
        self.skipped = 0
        """Items whose row says that they were only screened; they are not done."""

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, item_id: str) -> bool:
        return digest(item_id) in self._where

    def is_done(self, item_id: str, source_version: str) -> bool:
        """Whether there is a row of the item, made from this version of its file."""
        value = self._where.get(digest(item_id))
        return value is not None and value >> _PART_BITS == _version(source_version)

    def is_skipped(self, item_id: str, source_version: str | None = None) -> bool:
        """Whether there is a row of the item that was only screened, of this version if given."""
        value = self._where.get(digest(item_id))
        if value is None or not value & _SKIPPED:
            return False
        return source_version is None or value >> _PART_BITS == _version(source_version) | 1

    def part(self, item_id: str) -> str | None:
        """Name of the part that holds the item's row; None for one that is not stored."""
        value = self._where.get(digest(item_id))
        return None if value is None else self._parts[value & ((1 << _PART_BITS) - 1)]

    def leader(self, item_id: str) -> int | None:
        """Digest of the id that a row loaded from disk repeats; None if it repeats none."""
        return self._leaders.get(digest(item_id)) or None

    def differs(self, item: PoolItem) -> bool:
        """Whether the pool gives something else of the item than a row loaded from disk has.

        What it does not give does not count.
        """
        text = _text(item.sequence, item.camera, item.timestamp_ns, item.attributes)
        return text != "" and self._descriptions.get(digest(item.id)) != digest(text)

    def store(
        self, part: str, ids: Sequence[str], versions: Sequence[str], skipped: Sequence[bool] = ()
    ) -> None:
        """Note the rows of a part that was written, and which of them are ``skipped``; or none."""
        index = len(self._parts)
        self._parts.append(part)
        marks = skipped or [False] * len(ids)
        for item_id, version, mark in zip(ids, versions, marks, strict=True):
            key = digest(item_id)
            if self.skipped:
                self.skipped -= bool((self._where.get(key) or 0) & _SKIPPED)
            self.skipped += mark
            self._where[key] = (_version(version) | mark) << _PART_BITS | index

    def load(self, part: str, rows: pa.Table) -> None:
        """Note the rows of a part that was read."""
        ids = rows.column("id").to_pylist()
        skipped = pc.equal(rows.column("status"), "skipped").to_pylist()
        self.store(part, ids, rows.column("source_version").to_pylist(), skipped)
        if len(self._leaders):  # an item whose better row is in this part
            for item_id in ids:
                if self.leader(item_id) is not None:
                    self._leaders[digest(item_id)] = 0
        repeated = rows.filter(pc.equal(rows.column("status"), "duplicate"))
        pairs = (repeated.column(name).to_pylist() for name in ("id", "duplicate_of"))
        for item_id, leader in zip(*pairs, strict=True):
            self._leaders[digest(item_id)] = digest(leader or "")
        if all(_is_empty(rows.column(name)) for name in DESCRIPTION):
            return
        for item_id, values in zip(ids, _values(rows), strict=True):
            self.describe(item_id, *values)

    def describe(
        self,
        item_id: str,
        sequence: str | None,
        camera: str | None,
        timestamp_ns: int | None,
        attributes: Mapping[str, str],
    ) -> None:
        """Note what a row says of its item."""
        if text := _text(sequence, camera, timestamp_ns, attributes):
            self._descriptions[digest(item_id)] = digest(text)


def redescribed(rows: pa.Table, items: Mapping[str, PoolItem]) -> tuple[pa.Table, int]:
    """Rows with what the pool gives of some items now, and how many of them that changed."""
    changed = 0
    described: list[tuple[Any, ...]] = []
    for item_id, old in zip(rows.column("id").to_pylist(), _values(rows), strict=True):
        new: tuple[Any, ...] = old
        item = items.get(item_id)
        if item is not None:
            given = (item.sequence, item.camera, item.timestamp_ns, dict(item.attributes))
            new = tuple(b if b not in (None, {}) else a for a, b in zip(old, given, strict=True))
            changed += new != old
        described.append(new)
    if changed:
        for name, column in zip(DESCRIPTION, zip(*described, strict=True), strict=True):
            field = rows.schema.field(name)
            rows = rows.set_column(
                rows.schema.get_field_index(name), field, pa.array(list(column), field.type)
            )
    return rows, changed


def _values(rows: pa.Table) -> zip[tuple[str | None, str | None, int | None, dict[str, str]]]:
    sequence, camera, time, attributes = (rows.column(name).to_pylist() for name in DESCRIPTION)
    return zip(sequence, camera, time, [dict(pairs or ()) for pairs in attributes], strict=True)


def _is_empty(column: pa.ChunkedArray) -> bool:
    if column.null_count == len(column):
        return True
    return pa.types.is_map(column.type) and not any(len(chunk.keys) for chunk in column.chunks)


def _text(
    sequence: str | None,
    camera: str | None,
    timestamp_ns: int | None,
    attributes: Mapping[str, str],
) -> str:
    if sequence is None and camera is None and timestamp_ns is None and not attributes:
        return ""
    return repr((sequence, camera, timestamp_ns, sorted(attributes.items())))


def _version(source_version: str) -> int:
    return digest(source_version) >> _PART_BITS & ~1
