"""Files of manifests → lines of raw values: text, CSV and its relatives, JSON lines, Parquet."""

# Names need not be UTF-8: plain strings, not Path objects.
# ruff: noqa: PTH122

from __future__ import annotations

import codecs
import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import IO, TYPE_CHECKING, Any

from deal.errors import PoolError
from deal.machine.files import check_regular

if TYPE_CHECKING:
    import pyarrow

__all__ = [
    "Stamp",
    "batch_rows",
    "column_values",
    "malformed",
    "read_rows",
    "reading_table",
    "simple_columns",
    "table_batches",
]

Rows = Iterator[tuple[int, Mapping[str, Any]]]

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_BATCH = 16_384  # rows
_LONGEST_LINE = 1 << 24  # characters
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16's, with which it begins
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, slots=True)
class Stamp:
    """A time whose unit the file tells by its type: nanoseconds since 1970, and as text."""

    nanoseconds: int
    text: str


def malformed(path: str, line: int, problem: str) -> PoolError:
    """Error of one line."""
    return PoolError(f"manifest {path!r}, line {line}: {problem}; correct or delete the line")


def read_rows(
    path: str,
    is_uri: Callable[[str], bool],
    header: Callable[[list[str]], None],
    say: Callable[[str], None],
) -> Rows:
    """Stream ``(line, values by column as the file calls it)`` of a manifest.

    Parameters
    ----------
    path : str
        Its suffix tells the format.
    is_uri : callable
        Whether a column of this name may hold the paths: tells a header from other lines.
    header : callable
        Called with the names of all columns before the first row, where the file has them at
        its head; raises if they will not do.
    say : callable
        Called with a note for the user.

    Raises
    ------
    PoolError, OSError
    """
    check_regular(path)
    suffix = os.path.splitext(path)[1].lower()
    if suffix == ".parquet":
        yield from _parquet(path, header)
        return
    encoding = _encoding(path)
    errors = "surrogateescape"
    if not encoding.startswith("utf-8"):
        say(f"read as {encoding.upper()}")
        errors = "strict"
    # newline="\n": a carriage return may be part of a name
    newline = "" if suffix in (".csv", ".tsv") else "\n"
    with open(path, encoding=encoding, errors=errors, newline=newline) as file:
        lines = _lines(path, file)
        try:
            if suffix in (".csv", ".tsv"):
                yield from _csv(path, lines, suffix, is_uri, header, say)
            else:
                yield from {".txt": _text, ".jsonl": _jsonl}[suffix](path, lines)
        except UnicodeDecodeError as error:
            raise PoolError(
                f"manifest {path!r} begins as {encoding.upper()} and is not ({error.reason}): save "
                "it as UTF-8"
            ) from error


def _encoding(path: str) -> str:
    with open(path, "rb") as file:
        start = file.read(4)
    return next((name for mark, name in _BYTE_ORDER_MARKS if start.startswith(mark)), "utf-8")


def _lines(path: str, file: IO[str]) -> Iterator[str]:
    number = 0
    while text := file.readline(_LONGEST_LINE):
        number += 1
        if len(text) == _LONGEST_LINE:
            raise malformed(path, number, f"more than {_LONGEST_LINE} characters")
        yield text


def _text(path: str, lines: Iterator[str]) -> Rows:
    for line, text in enumerate(lines, 1):
        uri = text.removesuffix("\n").removesuffix("\r")
        if uri:
            yield line, {"uri": uri}


def _csv(
    path: str,
    lines: Iterator[str],
    suffix: str,
    is_uri: Callable[[str], bool],
    header: Callable[[list[str]], None],
    say: Callable[[str], None],
) -> Rows:
    first = next(lines, "")
    delimiter = own = "\t" if suffix == ".tsv" else ","
    bare = first.replace('"', "")
    for other in (own, ";", "\t", ","):
        if any(map(is_uri, bare.split(other))):
            delimiter = other
            break
    if delimiter != own:
        say(f"its columns are separated by {_SEPARATORS[delimiter]}")
    spaced = f"{delimiter} " in first
    reader = csv.reader(
        chain([first], lines), delimiter=delimiter, skipinitialspace=spaced, strict=True
    )
    try:
        names = next(reader, [])
        header(names)
        if spaced:
            say("spaces that follow a separator are no part of the values")
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(names):
                problem = f"{len(cells)} cells under {len(names)} columns"
                raise malformed(path, reader.line_num, problem)
            yield reader.line_num, dict(zip(names, cells, strict=True))
    except csv.Error as error:
        raise malformed(path, reader.line_num, str(error)) from error


def _jsonl(path: str, lines: Iterator[str]) -> Rows:
    for line, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise malformed(path, line, f"not JSON ({error})") from error
        if not isinstance(values, dict):
            raise malformed(path, line, "not a JSON object")
        yield line, values


def _parquet(path: str, header: Callable[[list[str]], None]) -> Rows:
    with reading_table(path) as file:
        header(list(file.schema_arrow.names))
        for line, batch in table_batches(file, 0, file.metadata.num_rows):
            yield from batch_rows(batch, line)


@contextmanager
def reading_table(path: str) -> Iterator[Any]:
    """An open Parquet file; PoolError for whatever a reader of a damaged one raises."""
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except OSError as error:
        if error.errno is not None:
            raise
        raise _unreadable(path, error) from error
    except (pyarrow.ArrowException, ValueError, OverflowError) as error:
        raise _unreadable(path, error) from error


def table_batches(file: Any, first: int, last: int) -> Iterator[tuple[int, Any]]:
    """Rows from ``first`` to before ``last``: line (from 1) of the first of a batch, and the batch.

    Only row groups that hold some of them are read.
    """
    start = 0
    for group in range(file.metadata.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if start < last and start + rows > first:
            at = start
            for batch in file.iter_batches(batch_size=_BATCH, row_groups=[group]):
                skipped = max(first - at, 0)
                wanted = batch.slice(skipped, max(min(last - at, len(batch)) - skipped, 0))
                if len(wanted):
                    yield at + skipped + 1, wanted
                at += len(batch)
        start += rows


def simple_columns(batch: Any) -> Any:
    """A batch whose texts are plain strings: neither in a dictionary nor of the large type."""
    import pyarrow

    columns = []
    for column in batch.columns:
        if pyarrow.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if pyarrow.types.is_large_string(column.type):
            column = column.cast(pyarrow.string())
        columns.append(column)
    return pyarrow.RecordBatch.from_arrays(columns, names=batch.schema.names)


def batch_rows(batch: Any, line: int) -> Rows:
    """The rows of a batch, of which ``line`` is that of the first."""
    columns = map(column_values, batch.columns)
    for index, values in enumerate(zip(*columns, strict=True)):
        yield line + index, dict(zip(batch.schema.names, values, strict=True))


def _unreadable(path: str, error: Exception) -> PoolError:
    reason = " ".join(str(error).split())[:200]
    return PoolError(f"manifest {path!r} is not a readable Parquet file: {reason}")


def column_values(column: pyarrow.Array) -> list[Any]:
    """Values of a column: text as bytes, since it need not be UTF-8, times as `Stamp`."""
    import pyarrow

    kind = pyarrow.types
    if kind.is_dictionary(column.type):
        column = column.dictionary_decode()
    if kind.is_string(column.type) or kind.is_large_string(column.type):
        return column.cast(pyarrow.large_binary()).to_pylist()  # type: ignore[no-any-return]
    if kind.is_timestamp(column.type):
        # Python's own stop at microseconds.
        exact = column.cast(pyarrow.timestamp("ns", column.type.tz)).cast(pyarrow.int64())
        texts = column.cast(pyarrow.string()).to_pylist()
        return [
            None if number is None else Stamp(number, text)
            for number, text in zip(exact.to_pylist(), texts, strict=True)
        ]
    if kind.is_temporal(column.type):
        column = column.cast(pyarrow.string())
    return column.to_pylist()  # type: ignore[no-any-return]
