"""Manifests in Parquet, batch by batch: tens of millions of rows, of which a shard reads its own.

A shard is a range of rows, so a machine reads only the row groups that hold some of them. What a
batch says is read column by column where all its rows are plain; a batch that has anything else
(``file://``, ``..``, names that are not UTF-8, dates) goes row by row through
:mod:`deal.pool.manifest`, which gives the same.

Memory: 8 bytes per row, for the check that each id stands once.
"""

# Names may be millions and need not be UTF-8: plain strings, not Path objects.
# ruff: noqa: PTH100, PTH120

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deal.errors import PoolError
from deal.pool.ids import Shard
from deal.pool.manifest import ManifestRow, ParquetRows
from deal.pool.schemes import STORES

if TYPE_CHECKING:
    import pyarrow

__all__ = ["TableManifest"]

_ROWS = 16_384
# What has a meaning of its own in a path, or in an id that is made of one.
_ODD = r"//|(^|/)\.{1,2}(/|$)|/$|[\x00%#]|\.(tar|TAR|Tar)/"
_FAR = rf"^({'|'.join(sorted(STORES))}|https?)://"
_TEXTS = ("id", "sequence", "camera", "source_version")
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


class _Plain(NamedTuple):
    """A batch whose rows are plain, column by column."""

    uris: pyarrow.Array
    ids: pyarrow.Array | None
    is_far: bool
    is_absolute: bool


class TableManifest:
    """A manifest in Parquet, as one shard reads it.

    Parameters
    ----------
    path : str
    shard : Shard
    say : callable
        Called with notes for the user.

    Raises
    ------
    PoolError
        It cannot be read, or lacks the column ``uri``.
    """

    def __init__(self, path: str, shard: Shard, say: Callable[[str], None]) -> None:
        self._path = path
        self._folder = os.path.dirname(os.path.abspath(path))
        self._rows = ParquetRows(path, say)
        first, last = (self._rows.total * (shard.index + step) // shard.count for step in (0, 1))
        self._range = first, last

    def __len__(self) -> int:
        """Rows of the shard."""
        return self._range[1] - self._range[0]

    def check(self) -> None:
        """Find out whether every row can be read and every id stands once, without a row of it.

        Raises
        ------
        PoolError
            A row is malformed, or an id stands twice.
        """
        seen: list[NDArray[np.uint64]] = []
        for line, batch in self._rows.batches(*self._range):
            plain = self._plain(batch)
            if plain is None:
                seen.append(_hashes(_array([self._id(row) for row in self._slow(line, batch)])))
            else:
                seen.append(_hashes(self._ids(plain)))
                for name, column in zip(self._rows.meant(batch), batch.columns, strict=True):
                    if name == "timestamp_ns":
                        self._rows.count_times(column)
        self._rows.check()
        self._refuse_repeated(seen)

    def rows(self) -> Iterator[ManifestRow]:
        """The rows of the shard, in their order; PoolError as :meth:`check` at a malformed one."""
        for line, batch in self._rows.batches(*self._range):
            plain = self._plain(batch)
            yield from self._slow(line, batch) if plain is None else self._fast(line, batch, plain)

    def _slow(self, line: int, batch: pyarrow.RecordBatch) -> Iterator[ManifestRow]:
        return self._rows.one_by_one(line, batch)

    def _id(self, row: ManifestRow) -> str:
        from deal.pool.ids import path_to_id

        return row.id or path_to_id(row.relative)

    def _plain(self, batch: pyarrow.RecordBatch) -> _Plain | None:
        """What the columns say, if they can be taken as they are."""
        import pyarrow
        import pyarrow.compute as pc

        kind = pyarrow.types
        uris = None
        ids = None
        for name, column in zip(self._rows.meant(batch), batch.columns, strict=True):
            is_text = kind.is_string(column.type)
            if is_text:
                try:
                    column.validate(full=True)
                except pyarrow.ArrowInvalid:
                    return None
            if name == "uri":
                uris = column if is_text else None
            elif name == "id":
                ids = column if is_text else None
                if not is_text or column.null_count or pc.any(pc.equal(column, "")).as_py():
                    return None
            elif name == "timestamp_ns":
                if not kind.is_int64(column.type):
                    return None
            elif name in ("timestamp", "source_version") or name in _TEXTS:
                if name == "timestamp" or not is_text:
                    return None
            elif not (is_text or kind.is_integer(column.type) or kind.is_floating(column.type)):
                return None
        if uris is None or uris.null_count or not len(uris):
            return None
        odd = pc.or_(pc.match_substring_regex(uris, _ODD), pc.equal(uris, ""))
        far = pc.match_substring_regex(uris, _FAR)
        is_far = bool(pc.all(far).as_py())
        if is_far:
            rest = pc.replace_substring_regex(uris, _FAR, "")
            odd = pc.match_substring_regex(rest, _ODD + "|://")
        elif pc.any(pc.match_substring(uris, "://")).as_py():
            return None
        absolute = pc.starts_with(uris, "/")
        is_absolute = bool(pc.all(absolute).as_py())
        if pc.any(odd).as_py() or (pc.any(absolute).as_py() and not is_absolute):
            return None
        return _Plain(uris, ids, is_far, is_absolute)

    def _ids(self, plain: _Plain) -> pyarrow.Array:
        return self._relative(plain) if plain.ids is None else plain.ids

    def _relative(self, plain: _Plain) -> pyarrow.Array:
        import pyarrow.compute as pc

        if not plain.is_absolute:
            return plain.uris
        below = self._folder.rstrip("/") + "/"
        inside = pc.starts_with(plain.uris, below)
        cut = pc.utf8_slice_codeunits(plain.uris, len(below))
        return pc.if_else(inside, cut, plain.uris)

    def _fast(self, line: int, batch: pyarrow.RecordBatch, plain: _Plain) -> Iterator[ManifestRow]:
        count = len(batch)
        uris = plain.uris.to_pylist()
        relatives = self._relative(plain).to_pylist() if plain.is_absolute else uris
        paths = uris
        if not (plain.is_far or plain.is_absolute):
            root = self._folder.rstrip("/") + "/"
            paths = [root + uri for uri in uris]
        known: dict[str, Any] = {} if plain.ids is None else {"id": plain.ids.to_pylist()}
        others: list[tuple[str, list[str | None]]] = []
        nothing = [None] * count
        for name, column in zip(self._rows.meant(batch), batch.columns, strict=True):
            if name in ("uri", "id"):
                continue
            if name == "timestamp_ns":
                known[name] = column.to_pylist()
            elif name in _TEXTS:
                known[name] = _texts(column)
            else:
                others.append((name, _texts(column)))
        names = ("id", "sequence", "camera", "timestamp_ns", "source_version")
        columns = (known.get(name, nothing) for name in names)
        for index, values in enumerate(zip(paths, relatives, *columns, strict=True)):
            said = {name: text for name, texts in others if (text := texts[index]) is not None}
            yield ManifestRow._make((*values, said, line + index))

    def _refuse_repeated(self, seen: list[NDArray[np.uint64]]) -> None:
        """PoolError if an id stands twice: hashes find who may, and the ids themselves tell."""
        if not seen:
            return
        every = np.sort(np.concatenate(seen))
        twice = np.unique(every[1:][every[1:] == every[:-1]])
        if not len(twice):
            return
        found: set[str] = set()
        for line, batch in self._rows.batches(*self._range):
            plain = self._plain(batch)
            ids = (
                _array([self._id(row) for row in self._slow(line, batch)])
                if plain is None
                else self._ids(plain)
            )
            for index in np.flatnonzero(np.isin(_hashes(ids), twice)).tolist():
                item_id = ids[index].as_py()
                if item_id in found:
                    raise PoolError(
                        f"{self._path!r} gives the id {item_id!r} twice; name each once"
                    )
                found.add(item_id)


def _array(texts: list[str]) -> pyarrow.Array:
    import pyarrow

    return pyarrow.array(texts, pyarrow.string())


def _hashes(texts: pyarrow.Array) -> NDArray[np.uint64]:
    """A number per text: equal texts have equal ones, and others hardly ever."""
    if not len(texts):
        return np.empty(0, np.uint64)
    offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset :][: len(texts) + 1]
    data = texts.buffers()[2]
    starts = offsets[:-1].astype(np.int64)
    lengths = np.diff(offsets).astype(np.int64)
    total = np.zeros(len(texts), np.uint64)
    values = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    longest = int(lengths.max())
    words = -(-longest // 8)
    padded = np.concatenate([values[starts[0] : starts[-1] + lengths[-1]], np.zeros(8, np.uint8)])
    starts = starts - starts[0]
    with np.errstate(over="ignore"):
        for word in range(words):
            left = np.clip(lengths - 8 * word, 0, 8)
            at = np.minimum(starts + 8 * word, len(padded) - 8)
            piece = np.zeros(len(texts), np.uint64)
            for byte in range(8):
                used = (left > byte).astype(np.uint64)
                piece |= (padded[at + byte].astype(np.uint64) * used) << np.uint64(8 * byte)
            mixed = (total ^ piece) * _FACTOR
            total = np.where(left > 0, mixed ^ (mixed >> np.uint64(29)), total)
        total = (total ^ lengths.astype(np.uint64)) * _FACTOR
    return total ^ (total >> np.uint64(32))


def _texts(column: pyarrow.Array) -> list[str | None]:
    """Values of a plain column as a row-by-row reading tells them; None where it tells nothing."""
    import pyarrow
    import pyarrow.compute as pc

    if pyarrow.types.is_floating(column.type):
        return [
            None if value is None or value != value else json.dumps(value)
            for value in column.to_pylist()
        ]
    if pyarrow.types.is_integer(column.type):
        column = column.cast(pyarrow.string())
    column = pc.if_else(pc.equal(column, ""), None, column)
    return column.to_pylist()  # type: ignore[no-any-return]
