"""One part on disk: a Parquet file whose every byte is covered by a checksum.

The footer's entry ``deal.checksums`` holds CRC-32 sums in hexadecimal digits: first of all that
follows the columns (footer, its length, the file's last four bytes), taken with zeros in place of
this sum itself; then of each column, its chunks one after the other. Reading checks
the first sum when a part is opened and those of the columns that it reads. Pages have checksums of
the format's own too, for other readers.

Parts of versions without these sums are read as well; what can be known of their values is checked.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import pyarrow as pa

from deal.errors import ResultsError
from deal.machine.arrow import parquet
from deal.machine.files import check_regular
from deal.pool.remote_path import RemotePath
from deal.results.remote_part import RemotePart

__all__ = ["Part", "deal_metadata", "write_part", "write_tables"]

_KEY = b"deal.checksums"
_ZEROS = b"crc32:00000000"
_OWN = re.compile(rb"crc32:[0-9a-f]{8}")
_TAIL = 8  # bytes: length of the footer, "PAR1"
_FIRST_READ = 1 << 16
_READ = 1 << 22
_GROUP_ROWS = 8192


class Part:
    """A part that is open for reading; a context manager.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    path : Path
    rows : int
    footer : dict of str to str
        The ``deal.*`` entries of its metadata, but for the checksums.
    tag : dict or None
        Of a part in a store: which version of it was opened.

    Raises
    ------
    FileNotFoundError
        There is none.
    ResultsError
        It is damaged, or cannot be read. Reading raises it, too.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = -1  # as long as that is not known
        with self._reading():
            self._file, self.tag = _open(path)
            try:
                self._check_end()
                # Said not to read ahead, since most parts are small: a fifth less time.
                self._parquet = parquet.ParquetFile(self._file, pre_buffer=False)
                metadata = self._parquet.metadata
                entries = metadata.metadata or {}
                self.footer = deal_metadata(entries)
                own = entries.get(_KEY)
                self._sums = None if own is None else own.split()[1:]
                self.rows = metadata.num_rows
            except BaseException:
                self._file.close()
                raise

    def __enter__(self) -> Part:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._parquet.close()
        self._file.close()

    @property
    def metadata(self) -> dict[bytes, bytes]:
        """The footer as metadata of a table."""
        return {key.encode(): value.encode() for key, value in self.footer.items()}

    @property
    def columns(self) -> list[str]:
        """Names of the columns it has."""
        return list(self._parquet.schema_arrow.names)

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Columns as a table, with the metadata; all by default."""
        with self._reading():
            self._check_columns(columns)
            return self._checked(self._parquet.read(columns=columns, use_threads=False))

    def batches(self, columns: Sequence[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Columns in batches of at most so many rows, or all at once where there are no more."""
        if self.rows <= batch_rows:  # half the time of a small part
            yield from self.read(columns).to_batches()
            return
        with self._reading():
            self._check_columns(columns)
            batches = self._parquet.iter_batches(batch_rows, columns=columns, use_threads=False)
        while True:
            with self._reading():
                batch = next(batches, None)
                if batch is None:
                    return
                self._checked(batch)
            yield batch

    def _checked(self, values: pa.Table | pa.RecordBatch) -> pa.Table | pa.RecordBatch:
        if self._sums is None:
            values.validate(full=True)
        return values

    def _check_end(self) -> None:
        """Check all that follows the columns, before anything is believed."""
        size = self._file.size()
        end = self._at(max(size - _FIRST_READ, 0), min(size, _FIRST_READ))
        if len(end) < _TAIL or not end.endswith(b"PAR1"):
            raise ValueError("it does not end as Parquet does")
        length = int.from_bytes(end[-_TAIL:-4], "little") + _TAIL
        if length > size:
            raise ValueError("its footer is longer than the file")
        end = end[-length:] if length <= len(end) else self._at(size - length, length)
        key = end.rfind(_KEY)
        own = None if key < 0 else _OWN.search(end, key)
        if own is None:
            return
        start, stop = own.span()
        if int(end[stop - 8 : stop], 16) != zlib.crc32(end[:start] + _ZEROS + end[stop:]):
            raise ValueError("the checksum of its footer does not fit")

    def _check_columns(self, columns: Sequence[str] | None) -> None:
        if self._sums is None:
            return
        metadata = self._parquet.metadata
        names = _leaves(metadata.schema)
        known = dict.fromkeys(names)
        if len(known) != len(self._sums):
            raise ValueError("it has other columns than it was written with")
        sums = dict(zip(known, self._sums, strict=True))
        wanted = known if columns is None else [name for name in columns if name in known]
        for name, chunks in _chunks(metadata, names, wanted).items():
            pieces = (
                self._at(at, min(_READ, start + size - at))
                for start, size in chunks
                for at in range(start, start + size, _READ)
            )
            if _sum(pieces) != int(sums[name], 16):
                raise ValueError(f"the checksum of its column {name!r} does not fit")

    def _at(self, start: int, size: int) -> bytes:
        data: bytes = self._file.read_at(size, start)
        if len(data) != size:
            raise ValueError("it has become shorter")
        return data

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """ResultsError that says what to do, for whatever a reader of damaged files raises."""
        try:
            yield
        except (FileNotFoundError, ResultsError):
            raise
        except OSError as error:
            if error.errno is not None:
                raise ResultsError(f"{self.path} cannot be read: {error.strerror}") from error
            raise self._damaged(error) from error
        except (pa.ArrowException, ValueError, OverflowError) as error:
            if isinstance(error, MemoryError):
                raise
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> ResultsError:
        delete, images = "it", "its images are"
        if self.path.parent.name == "regions":
            delete = f"it and {self.path.parent.parent / 'images' / self.path.name}"
        elif self.rows >= 0:
            images = f"its {self.rows} images are"
        reason = " ".join(str(error).split())[:200]
        return ResultsError(
            f"{self.path} is damaged ({reason}): delete {delete}, and run the same deal-score "
            f"command again; {images} scored again"
        )


def _open(path: Path) -> tuple[pa.NativeFile, dict[str, str] | None]:
    if not isinstance(path, RemotePath):
        check_regular(path)
        return pa.OSFile(str(path), "rb"), None
    data, tag = RemotePart.opened(path)
    return (pa.BufferReader(data) if isinstance(data, bytes) else pa.PythonFile(data, "r")), tag


def deal_metadata(metadata: Mapping[bytes, bytes] | None) -> dict[str, str]:
    """Those entries of a file's or table's metadata that deal wrote, but for checksums."""
    return {
        key.decode(): value.decode()
        for key, value in (metadata or {}).items()
        if key.startswith(b"deal.") and key != _KEY
    }


def write_part(table: pa.Table, file: BinaryIO) -> None:
    """Write a table, with its metadata and the checksums; the file is made in memory."""
    write_tables(table.schema, [table], file)


def write_tables(schema: pa.Schema, tables: Iterable[pa.Table], file: BinaryIO) -> None:
    """Write tables of one schema as one part, in row groups of at least 8192 rows."""
    metadata = {k: v for k, v in (schema.metadata or {}).items() if k != _KEY}
    schema = schema.with_metadata(metadata or None)
    sink = pa.BufferOutputStream()
    blank = b" ".join([_ZEROS, *[b"00000000"] * len(schema)])
    with parquet.ParquetWriter(
        sink, schema, compression="zstd", write_page_checksum=True
    ) as writer:
        for table in _gathered(tables):
            writer.write_table(table.replace_schema_metadata(schema.metadata))
        writer.add_key_value_metadata({_KEY: blank})
    data = bytearray(sink.getvalue())
    written = parquet.read_metadata(pa.BufferReader(data))
    leaves = _leaves(written.schema)
    columns = _chunks(written, leaves, dict.fromkeys(leaves))
    view = memoryview(data)
    sums = (_sum(view[at : at + size] for at, size in chunks) for chunks in columns.values())
    value = b" ".join([_ZEROS, *(b"%08x" % one for one in sums)])
    start = data.rindex(blank)
    view[start : start + len(blank)] = value
    end = len(data) - int.from_bytes(data[-_TAIL:-4], "little") - _TAIL
    view[start : start + len(_ZEROS)] = b"crc32:%08x" % zlib.crc32(view[end:])
    file.write(data)


def _gathered(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= _GROUP_ROWS:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def _leaves(schema: parquet.ParquetSchema) -> tuple[str, ...]:
    """The column to which each leaf of a schema belongs, as chunks of a file are counted."""
    global _last
    if _last is None or not _last[0].equals(schema):
        paths = (schema.column(index).path for index in range(len(schema)))
        _last = schema, tuple(path.partition(".")[0] for path in paths)
    return _last[1]


# All parts of an output have one schema, and to walk through it takes longer than to read a column.
_last: tuple[parquet.ParquetSchema, tuple[str, ...]] | None = None


def _chunks(
    metadata: parquet.FileMetaData, leaves: Sequence[str], columns: Iterable[str]
) -> dict[str, list[tuple[int, int]]]:
    """Of each of the columns, where in the file its chunks are, and how long: in bytes."""
    found: dict[str, list[tuple[int, int]]] = {name: [] for name in columns}
    indices = [index for index, name in enumerate(leaves) if name in found]
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for index in indices:
            chunk = row_group.column(index)
            start = chunk.data_page_offset
            if chunk.has_dictionary_page:
                start = min(start, chunk.dictionary_page_offset)
            found[leaves[index]].append((start, chunk.total_compressed_size))
    return found


def _sum(pieces: Iterable[bytes | memoryview]) -> int:
    total = 0
    for piece in pieces:
        total = zlib.crc32(piece, total)
    return total
