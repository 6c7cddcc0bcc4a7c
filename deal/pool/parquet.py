"""Parquet tables that hold images, as Hugging Face's data sets do, and other binary columns.

A Parquet file holds images if `image_column` finds a column of them; another one is a manifest.
Row groups are streamed page by page, so that a large one never lies in memory.
"""

# Names may be millions and need not be UTF-8: plain strings, not Path objects.
# ruff: noqa: PTH113

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

from deal.errors import ItemError, PoolError
from deal.pool.decode import is_image
from deal.pool.ids import path_to_id
from deal.pool.inside import InOrder, check_size
from deal.pool.manifest import Describing
from deal.pool.manifest_tables import column_values
from deal.pool.parent import Parent
from deal.pool.remote_file import RemoteFile
from deal.pool.schemes import is_remote
from deal.text import one_line
from deal.types import MAX_PIXELS, Decoded, FailedItem, PoolItem

__all__ = ["TableCell", "image_column", "list_parquet", "locate_in_parquet"]

_SUFFIX = ".parquet"
_AT_ONCE = 16  # images that a batch holds
_LISTED = 4096  # rows that are described at once
_BUFFER = 2**20
_FAR_BUFFER = 2**23  # of a file in a store: a request each
_OWN = ("id", "sequence", "camera", "timestamp_ns", "timestamp")


@dataclass(frozen=True, slots=True)
class TableCell(InOrder):
    """An image in a column of a Parquet file.

    Attributes
    ----------
    parent : Parent
    column : str
        Path of the column, such as ``image.bytes``.
    row : int
        Counts from 0, over the whole file.
    """

    parent: Parent
    column: str
    row: int

    def version(self) -> str:
        """``<size>-<mtime_ns>`` of the file, as it was when it was listed."""
        return self.parent.stamp

    def fetch(self, max_pixels: int = MAX_PIXELS) -> Callable[[], bytes | Decoded]:
        """See `InOrder`."""
        with self.parent.opened():
            data = _cursor(self.parent, self.column).at(self.row)
        if data is None:
            raise ItemError("io", f"row {self.row} has no bytes in the column {self.column!r}")
        check_size(len(data), max_pixels)
        return lambda: data


class _Column(NamedTuple):
    name: str  # as --image-column takes it
    path: str  # of the leaf


def image_column(path: str, wanted: str | None = None, endpoint: str | None = None) -> str | None:
    """The path of the column that holds images, such as ``image.bytes``; None for a manifest.

    Parameters
    ----------
    path : str
    wanted : str, optional
        ``--image-column``.
    endpoint : str, optional
        ``--endpoint-url``.

    Raises
    ------
    PoolError
        The file cannot be read, it has no such column, or several hold images.
    """
    try:
        parent = Parent.of(path, endpoint)
    except ItemError as error:
        raise PoolError(f"{path_to_id(path)!r}: {error.message}") from error
    return _image_column(parent, wanted)


@lru_cache(maxsize=64)
def _image_column(parent: Parent, wanted: str | None) -> str | None:
    import pyarrow

    shown = repr(path_to_id(parent.path))
    try:
        with _opened(parent) as file:
            schema = file.schema_arrow
            columns = list(_binary_columns(schema))
            if wanted is not None:
                for column in columns:
                    if wanted in (column.name, column.path):
                        return column.path
                names = ", ".join(repr(column.name) for column in columns) or "none"
                raise PoolError(
                    f"{shown} has no column {wanted!r} that could hold images; binary columns: "
                    f"{names}"
                )
            if any(name.strip().lower() == "uri" for name in schema.names):
                return None
            nested = [column for column in columns if column.name != column.path]
            found = nested or [column for column in columns if _begins_with_image(file, column)]
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise PoolError(f"{shown} is not a readable Parquet file: {one_line(error)}") from error
    if len(found) > 1:
        found = [column for column in found if column.name.lower() == "image"] or found
    if len(found) > 1:
        names = ", ".join(repr(column.name) for column in found)
        raise PoolError(f"{shown} holds images in {names}: choose one by --image-column NAME")
    return found[0].path if found else None


def list_parquet(
    path: str,
    relative: str,
    wanted: str | None,
    say: Callable[[str], None],
    endpoint: str | None = None,
) -> Iterator[PoolItem | FailedItem]:
    """List the rows of a table that holds images.

    Parameters
    ----------
    path : str
    relative : str
        What ids begin with where no column ``id`` has them.
    wanted : str, optional
        ``--image-column``.
    say : callable
        Called with notes for the user.
    endpoint : str, optional
        ``--endpoint-url``.

    Raises
    ------
    PoolError
        The file is a manifest, or a value of the known columns is malformed.
    """
    import pyarrow

    shown = path_to_id(relative)
    try:
        parent = Parent.of(path, endpoint)
        with _opened(parent) as file:
            column = _image_column(parent, wanted)
            if column is None:
                place = "copy it here" if is_remote(path) else "name it by itself"
                raise PoolError(
                    f"{shown!r} has no column of images: choose one by --image-column NAME, or, if "
                    f"it is a manifest, {place}"
                )
            own = column if column == _image_column(parent, None) else None
            rows = _described(file, column, lambda note: say(f"{shown}: {note}"), path)
            for row, (item_id, known) in enumerate(rows):
                place = f"{row}" if own else f"{column}/{row}"
                yield PoolItem(
                    item_id or path_to_id(f"{relative}#{row}"),
                    f"{path if is_remote(path) else path_to_id(path)}#{place}",
                    TableCell(parent, column, row),
                    parent.stamp,
                    **known,
                )
    except ItemError as error:
        reason = error.message
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        reason = f"the table is damaged: {one_line(error)}"
    else:
        return
    item = PoolItem(f"{shown}#", path_to_id(path), TableCell(Parent(path, ""), "", 0), "")
    yield FailedItem(item, "io", reason)


def locate_in_parquet(path: str, endpoint: str | None = None) -> TableCell | None:
    """The cell that a stored path ``FILE#ROW`` or ``FILE#COLUMN/ROW`` means; None if none.

    Raises ItemError (``io``).
    """
    file, _, place = path.rpartition("#")
    column, _, number = place.rpartition("/")
    if not (file.lower().endswith(_SUFFIX) and number.isdecimal()):
        return None
    if not is_remote(file) and not os.path.isfile(file):
        return None
    parent = Parent.of(file, endpoint)
    try:
        found = _image_column(parent, column or None)
    except PoolError as error:
        raise ItemError("io", str(error)) from error
    if found is None:
        raise ItemError("io", f"{path_to_id(file)} has no column of images any more")
    return TableCell(parent, found, int(number))


def _opened(parent: Parent) -> Any:
    from pyarrow import parquet

    if not parent.is_far:
        return parquet.ParquetFile(parent.path, pre_buffer=False, buffer_size=_BUFFER)
    file = RemoteFile(parent.object())
    return parquet.ParquetFile(file, pre_buffer=False, buffer_size=_FAR_BUFFER)


def _binary_columns(schema: Any) -> Iterator[_Column]:
    """Columns of bytes, and ``bytes`` in structs, at any depth of structs."""
    from pyarrow import types as kind

    def inside(name: str, field: Any) -> Iterator[_Column]:
        if _is_bytes(field.type):
            short = name.removesuffix(".bytes") if name.endswith(".bytes") else name
            yield _Column(short, name)
        elif kind.is_struct(field.type):
            for place in range(field.type.num_fields):
                child = field.type.field(place)
                yield from inside(f"{name}.{child.name}", child)

    for field in schema:
        for column in inside(field.name, field):
            if column.path == field.name or column.path.endswith(".bytes"):
                yield column


def _is_bytes(data_type: Any) -> bool:
    from pyarrow import types as kind

    if kind.is_dictionary(data_type):
        return _is_bytes(data_type.value_type)
    known = kind.is_binary, kind.is_large_binary, kind.is_binary_view, kind.is_fixed_size_binary
    return any(is_kind(data_type) for is_kind in known)


def _begins_with_image(file: Any, column: _Column) -> bool:
    """Whether the first value of a binary column is an image."""
    for batch in file.iter_batches(batch_size=_AT_ONCE, columns=[column.path]):
        for value in batch.column(0):
            if value.is_valid:
                return is_image(value.as_py())
    return False


def _described(
    file: Any, column: str, say: Callable[[str], None], path: str
) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """Id and the other known values of each row."""
    from pyarrow import types as kind

    schema = file.schema_arrow
    taken: list[str] = []
    left: list[str] = []
    for field in schema:
        plain = not kind.is_nested(field.type) and not _is_bytes(field.type)
        if column != field.name and not column.startswith(f"{field.name}."):
            (taken if plain else left).append(field.name)
    if left:
        say(f"columns of lists, structs and bytes are no attributes: {', '.join(left)}")
    describe = Describing(path, say)
    if not taken:
        for _ in range(file.metadata.num_rows):
            yield None, {}
        return
    names = [name.strip().lower() if name.strip().lower() in _OWN else name for name in taken]
    row = 0
    for batch in file.iter_batches(batch_size=_LISTED, columns=taken):
        columns = [column_values(batch.column(name)) for name in taken]
        for values in zip(*columns, strict=True):
            row += 1
            said = describe(row, dict(zip(names, values, strict=True)))
            yield (
                said.id,
                {
                    "sequence": said.sequence,
                    "camera": said.camera,
                    "timestamp_ns": said.timestamp_ns,
                    "attributes": said.attributes,
                },
            )
    describe.check()


class _Cursor:
    """Reads a column forwards; a row that lies behind begins its row group anew."""

    def __init__(self, parent: Parent, column: str) -> None:
        self._file = _opened(parent)
        self._column = column
        told = self._file.metadata
        sizes = (told.row_group(group).num_rows for group in range(told.num_row_groups))
        self._starts = [0, *accumulate(sizes)]
        self._lock = threading.Lock()
        self._group = -1
        self._first = 0  # row of the batch's first value
        self._batch: list[bytes | None] = []
        self._batches: Iterator[Any] = iter(())

    def at(self, row: int) -> bytes | None:
        """The bytes of a row; ItemError (``io``)."""
        import pyarrow

        with self._lock:
            try:
                return self._at(row)
            except (OSError, ValueError, pyarrow.ArrowException, StopIteration) as error:
                self._group = -1
                raise ItemError("io", f"the table is damaged: {one_line(error)}") from error

    def _at(self, row: int) -> bytes | None:
        from pyarrow.types import is_struct

        if not 0 <= row < self._starts[-1]:
            raise ItemError("io", f"the table has {self._starts[-1]} rows")
        group = bisect_right(self._starts, row) - 1
        if group != self._group or row < self._first:
            self._batches = self._file.iter_batches(
                batch_size=_AT_ONCE, row_groups=[group], columns=[self._column]
            )
            self._group, self._first, self._batch = group, self._starts[group], []
        while row >= self._first + len(self._batch):
            self._first += len(self._batch)
            batch = next(self._batches).column(0)
            while is_struct(batch.type):
                batch = batch.flatten()[0]
            self._batch = batch.to_pylist()
        return self._batch[row - self._first]


@lru_cache(maxsize=4)
def _cursor(parent: Parent, column: str) -> _Cursor:
    """A cursor that all threads share."""
    import pyarrow

    try:
        return _Cursor(parent, column)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise ItemError("io", f"the table is damaged: {one_line(error)}") from error
