r"""Manifests: lists of images as text, CSV, JSON lines or Parquet.

Columns: ``uri`` (required), ``id``, ``sequence``, ``camera``, ``timestamp_ns`` (integer, or a
timestamp in Parquet); every other column goes into the attributes as text. A text manifest has one
``uri`` a line and nothing else; spaces are part of the name, empty lines are skipped.

A ``uri`` is a path, relative to the manifest's folder, or a ``file://`` URI, whose
percent-escapes are decoded. Names that are not UTF-8 stand as they are in text and CSV, as
``\udcXX`` escapes in JSON lines, and in a column of binary type in Parquet. A line of a text
manifest cannot hold a newline: use any of the others.
"""

# Names may be millions and need not be UTF-8: plain strings, not Path objects.
# ruff: noqa: PTH100, PTH117, PTH118, PTH120, PTH122

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from deal.errors import PoolError

if TYPE_CHECKING:
    import pyarrow

__all__ = ["MANIFEST_SUFFIXES", "ManifestRow", "read_manifest"]

MANIFEST_SUFFIXES = (".txt", ".csv", ".jsonl", ".parquet")


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One image of a manifest.

    Attributes
    ----------
    path : str
        Absolute, in ``os.fsdecode`` form.
    relative : str
        What stands for the id when the manifest gives none: the path relative to the manifest's
        folder when it was given so or lies below it, else absolute. ``os.fsdecode`` form.
    timestamp_ns : int or None
        Nanoseconds; the epoch is the user's.
    line : int
        1-based line (text, CSV, JSON lines) or row (Parquet).
    """

    path: str
    relative: str
    id: str | None
    sequence: str | None
    camera: str | None
    timestamp_ns: int | None
    attributes: Mapping[str, str]
    line: int


def read_manifest(path: str) -> Iterator[ManifestRow]:
    """Stream the rows of a manifest; the suffix tells the format.

    Raises
    ------
    PoolError
        The manifest cannot be read, lacks the column ``uri`` or has a malformed row; the message
        names file and line.
    """
    folder = os.path.dirname(os.path.abspath(path))
    suffix = os.path.splitext(path)[1].lower()
    try:
        if suffix == ".parquet":
            rows = _parquet(path)
            yield from (_row(path, folder, line, values) for line, values in rows)
            return
        # newline="\n": a carriage return may be part of a name
        newline = "" if suffix == ".csv" else "\n"
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline=newline) as file:
            rows = {".txt": _text, ".csv": _csv, ".jsonl": _jsonl}[suffix](path, file)
            yield from (_row(path, folder, line, values) for line, values in rows)
    except OSError as error:
        raise PoolError(f"manifest {path!r} cannot be read: {error.strerror or error}") from error


_Rows = Iterator[tuple[int, Mapping[str, Any]]]


def _text(path: str, file: IO[str]) -> _Rows:
    for line, text in enumerate(file, 1):
        uri = text.removesuffix("\n").removesuffix("\r")
        if uri:
            yield line, {"uri": uri}


def _csv(path: str, file: IO[str]) -> _Rows:
    reader = csv.reader(file, strict=True)
    try:
        header = next(reader, [])
        _check_columns(path, header)
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                raise _malformed(
                    path, reader.line_num, f"{len(cells)} cells under {len(header)} columns"
                )
            yield reader.line_num, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise _malformed(path, reader.line_num, str(error)) from error


def _jsonl(path: str, file: IO[str]) -> _Rows:
    for line, text in enumerate(file, 1):
        if not text.strip():
            continue
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _malformed(path, line, f"not JSON ({error})") from error
        if not isinstance(values, dict):
            raise _malformed(path, line, "not a JSON object")
        yield line, values


def _parquet(path: str) -> _Rows:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            _check_columns(path, file.schema_arrow.names)
            line = 0
            for batch in file.iter_batches(batch_size=4096):
                columns = map(_without_times, batch.schema.names, batch.columns)
                for values in zip(*(column.to_pylist() for column in columns), strict=True):
                    line += 1
                    yield line, dict(zip(batch.schema.names, values, strict=True))
    except pyarrow.ArrowException as error:
        raise PoolError(f"manifest {path!r} is not a readable Parquet file: {error}") from error


def _without_times(name: str, column: pyarrow.Array) -> pyarrow.Array:
    """Times as text, ``timestamp_ns`` as a number: Python's own stop at microseconds."""
    import pyarrow

    if not pyarrow.types.is_temporal(column.type):
        return column
    if name == "timestamp_ns" and pyarrow.types.is_timestamp(column.type):
        return column.cast(pyarrow.timestamp("ns", column.type.tz)).cast(pyarrow.int64())
    return column.cast(pyarrow.string())


def _check_columns(path: str, names: list[str]) -> None:
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise PoolError(f"manifest {path!r} has the column {min(repeated)!r} twice; rename one")
    if "uri" not in names:
        raise PoolError(
            f"manifest {path!r} has the columns {', '.join(map(repr, names)) or 'none'}; "
            "it needs a column 'uri' (a path relative to the manifest)"
        )


def _malformed(path: str, line: int, problem: str) -> PoolError:
    return PoolError(f"manifest {path!r}, line {line}: {problem}; correct or delete the line")


def _row(path: str, folder: str, line: int, values: Mapping[str, Any]) -> ManifestRow:
    local = _local_path(path, line, values.get("uri"))
    absolute = os.path.normpath(os.path.join(folder, local))
    relative = os.path.normpath(local)
    below = folder.rstrip("/") + "/"
    if os.path.isabs(local) and absolute.startswith(below):
        relative = absolute.removeprefix(below)
    text = {
        name: _text_value(path, line, name, value)
        for name, value in values.items()
        if name not in ("uri", "timestamp_ns") and value not in (None, "")
    }
    return ManifestRow(
        path=absolute,
        relative=relative,
        id=text.pop("id", None),
        sequence=text.pop("sequence", None),
        camera=text.pop("camera", None),
        timestamp_ns=_timestamp(path, line, values.get("timestamp_ns")),
        attributes=text,
        line=line,
    )


def _text_value(path: str, line: int, name: str, value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _malformed(path, line, f"{name!r} is {text!r}, which is not UTF-8") from error
    return text


def _local_path(path: str, line: int, value: Any) -> str:
    uri = os.fsdecode(value) if isinstance(value, bytes) else value
    if uri is None or uri == "":
        raise _malformed(path, line, "no 'uri'")
    if not isinstance(uri, str) or "\0" in uri:
        raise _malformed(path, line, f"'uri' is {uri!r}, not a path")
    try:
        raw = os.fsencode(uri)
    except UnicodeEncodeError as error:
        raise _malformed(path, line, f"'uri' is {uri!r}, not a path") from error
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", uri)
    if scheme is None:
        return uri
    if scheme[1].lower() != "file" or not raw[7:].startswith(b"/"):
        raise _malformed(path, line, f"{uri!r} is neither a path nor file:///path")
    local = os.fsdecode(unquote_to_bytes(raw[7:]))
    if "\0" in local:
        raise _malformed(path, line, f"'uri' is {uri!r}, not a path")
    return local


def _timestamp(path: str, line: int, value: Any) -> int | None:
    if value is None or value == "":
        return None
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d{1,19}", value, re.ASCII):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise _malformed(path, line, f"'timestamp_ns' is {value!r}, not a 64-bit integer")
    return value
