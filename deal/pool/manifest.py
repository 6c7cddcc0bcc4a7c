r"""Manifests: lists of images as text, CSV, TSV, JSON lines or Parquet.

Columns: ``uri`` (required), ``id``, ``sequence``, ``camera``, ``timestamp_ns`` (integer, or a
timestamp in Parquet); every other column goes into the attributes as text. A text manifest has one
``uri`` a line and nothing else; spaces are part of the name, empty lines are skipped.

What is meant is taken, and a note says so: names of columns in other case or with spaces round
them; ``image``, ``file_name``, ``filepath`` or ``path`` for ``uri``; ``timestamp`` with dates or
with numbers whose unit their size tells, for ``timestamp_ns``; semicolons and tabs for commas;
UTF-16 with a byte order mark. Null, NaN and NaT are missing values.

A ``uri`` is a path, relative to the manifest's folder, a ``file://`` URI, whose percent-escapes
are decoded, or an address (``s3://``, ``gs://``, ``az://``, ``https://``). The column
``source_version`` of an address saves asking for it.

A path that no file has may be one as ``selection.csv`` and results write it: with ``%XX`` for bytes
that are not UTF-8 and for such escapes themselves (:mod:`deal.pool.manifest_items` finds it).

Names that are not UTF-8 stand as they are in text and CSV, as ``\udcXX`` escapes in JSON lines, and
in a column of binary type in Parquet. A line of a text manifest cannot hold a newline: use any of
the others.
"""

# Names may be millions and need not be UTF-8: plain strings, not Path objects.
# ruff: noqa: PTH100, PTH117, PTH118, PTH120

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from deal.errors import PoolError
from deal.pool.manifest_tables import (
    Stamp,
    batch_rows,
    malformed,
    read_rows,
    reading_table,
    simple_columns,
    table_batches,
)
from deal.pool.manifest_times import Times
from deal.pool.schemes import REMOTE, is_remote

__all__ = [
    "MANIFEST_SUFFIXES",
    "OWN",
    "Described",
    "Describing",
    "ManifestRow",
    "ParquetRows",
    "path_of_uri",
    "read_manifest",
]

MANIFEST_SUFFIXES = (".txt", ".csv", ".tsv", ".jsonl", ".parquet")

OWN = ("uri", "id", "source_version", "sequence", "camera", "timestamp_ns", "timestamp")
"""Columns that mean something, whatever their case."""

_LONGEST = 200  # characters of a value that are shown
_FOR_URI = ("image", "file_name", "filepath", "path")


@dataclass(frozen=True, slots=True)
class Described:
    """What the columns of a table say of an image.

    Attributes
    ----------
    timestamp_ns : int or None
        Nanoseconds; the epoch is the user's.
    """

    id: str | None
    sequence: str | None
    camera: str | None
    timestamp_ns: int | None
    source_version: str | None
    attributes: Mapping[str, str]


class ManifestRow(NamedTuple):
    """One image of a manifest.

    Attributes
    ----------
    path : str
        Absolute, in ``os.fsdecode`` form; or an address.
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
    source_version: str | None
    attributes: Mapping[str, str]
    line: int


def read_manifest(
    path: str, say: Callable[[str], None] = lambda note: None
) -> Iterator[ManifestRow]:
    """Stream the rows of a manifest; the suffix tells the format.

    Parameters
    ----------
    path : str
    say : callable, optional
        Called with each note for the user: what was taken for something else.

    Raises
    ------
    PoolError
        The manifest cannot be read, lacks the column ``uri``, has a malformed row, or its times
        are ambiguous (known at its end); the message names file and line.
    """
    folder = os.path.dirname(os.path.abspath(path))
    columns = _Columns(path, say)
    describe = Describing(path, say)
    try:
        for line, raw in read_rows(path, columns.is_uri, columns.check, say):
            values = columns.named(raw)
            uri = values.pop("uri", None)
            yield _row(path, folder, line, uri, describe(line, values))
        describe.check()
    except OSError as error:
        raise PoolError(f"manifest {path!r} cannot be read: {error.strerror or error}") from error


class ParquetRows:
    """The rows of a manifest in Parquet, in batches and one by one.

    Parameters
    ----------
    path : str
    say : callable
        Called with notes for the user.

    Raises
    ------
    PoolError
        It cannot be read, or lacks the column ``uri``.

    Attributes
    ----------
    total : int
    """

    def __init__(self, path: str, say: Callable[[str], None]) -> None:
        self._path = path
        self._folder = os.path.dirname(os.path.abspath(path))
        self._columns = _Columns(path, say)
        self._describe = Describing(path, say)
        with reading_table(path) as file:
            self._columns.check(list(file.schema_arrow.names))
            self.total: int = file.metadata.num_rows

    def meant(self, batch: Any) -> list[str]:
        """Names of the columns by what they mean."""
        return [self._columns.named({name: name}).popitem()[0] for name in batch.schema.names]

    def batches(self, first: int, last: int) -> Iterator[tuple[int, Any]]:
        """Rows from ``first`` to before ``last``: line of the first of a batch, and the batch."""
        with reading_table(self._path) as file:
            for line, batch in table_batches(file, first, last):
                yield line, simple_columns(batch)

    def one_by_one(self, line: int, batch: Any) -> Iterator[ManifestRow]:
        """The rows of a batch; PoolError."""
        for at, raw in batch_rows(batch, line):
            values = self._columns.named(raw)
            uri = values.pop("uri", None)
            yield _row(self._path, self._folder, at, uri, self._describe(at, values))

    def count_times(self, column: Any) -> None:
        """Take the numbers of ``timestamp_ns`` into what all rows together tell."""
        self._describe.count_times(column)

    def check(self) -> None:
        """Raise PoolError for what all rows together tell."""
        self._describe.check()


class Describing:
    """Makes values, by what their columns mean, what they say of an image."""

    def __init__(self, path: str, say: Callable[[str], None]) -> None:
        self._path = path
        self._times = Times(path, say)

    def __call__(self, line: int, values: dict[str, Any]) -> Described:
        """Read the values of a row; raises PoolError."""
        time = self._times(line, values)
        text = {
            name: _text_value(self._path, line, name, value)
            for name, value in values.items()
            if value not in (None, "", b"") and value == value
        }
        return Described(
            id=text.pop("id", None),
            sequence=text.pop("sequence", None),
            camera=text.pop("camera", None),
            timestamp_ns=time,
            source_version=text.pop("source_version", None),
            attributes=text,
        )

    def count_times(self, column: Any) -> None:
        """As a call for each row would, for whole numbers of ``timestamp_ns``."""
        self._times.count(column)

    def check(self) -> None:
        """Raise PoolError for what all rows together tell."""
        self._times.check()


class _Columns:
    """Names of columns as they are written → as they are meant."""

    def __init__(self, path: str, say: Callable[[str], None]) -> None:
        self._path = path
        self._say = say
        self._meant: dict[tuple[str, ...], dict[str, str]] = {}

    @staticmethod
    def is_uri(name: str) -> bool:
        return name.strip().lower() in ("uri", *_FOR_URI)

    def check(self, names: list[str]) -> None:
        repeated = {name for name in names if names.count(name) > 1}
        if repeated:
            raise self._twice(min(repeated))
        if "uri" not in self._mapping(tuple(names)).values():
            raise PoolError(
                f"manifest {self._path!r} has the columns {', '.join(map(repr, names)) or 'none'}; "
                "it needs a column 'uri' (a path relative to the manifest)"
            )

    def named(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Values of a row by what its columns mean."""
        meant = self._mapping(tuple(raw))
        return {meant[name]: value for name, value in raw.items()}

    def _mapping(self, names: tuple[str, ...]) -> dict[str, str]:
        if names not in self._meant:
            if len(self._meant) > 1000:  # JSON lines, each with columns of its own
                self._meant.clear()
            self._meant[names] = self._read(names)
        return self._meant[names]

    def _read(self, names: tuple[str, ...]) -> dict[str, str]:
        meant = {}
        for name in names:
            bare = name.strip()
            meant[name] = bare.lower() if bare.lower() in OWN else bare
        if "uri" not in meant.values():
            others = [name for name in names if name.strip().lower() in _FOR_URI]
            if len(others) > 1:
                raise PoolError(
                    f"manifest {self._path!r} has no column 'uri', but {' and '.join(others)}: "
                    "call the one with the paths 'uri'"
                )
            meant |= dict.fromkeys(others, "uri")
        values = list(meant.values())
        for name in values:
            if values.count(name) > 1:
                raise self._twice(name)
        for name, as_name in meant.items():
            if name != as_name and (as_name in OWN or name.strip() != name):
                self._say(f"its column {name!r} is taken for {as_name!r}")
        return meant

    def _twice(self, name: str) -> PoolError:
        return PoolError(f"manifest {self._path!r} has the column {name!r} twice; rename one")


def _row(path: str, folder: str, line: int, uri: Any, said: Described) -> ManifestRow:
    try:
        local = path_of_uri(uri)
    except ValueError as error:
        raise malformed(path, line, str(error)) from error
    if is_remote(local):
        return _described(local, local, said, line)
    absolute = os.path.normpath(os.path.join(folder, local))
    relative = os.path.normpath(local)
    below = folder.rstrip("/") + "/"
    if os.path.isabs(local) and absolute.startswith(below):
        relative = absolute.removeprefix(below)
    return _described(absolute, relative, said, line)


def _described(path: str, relative: str, said: Described, line: int) -> ManifestRow:
    return ManifestRow(
        path=path,
        relative=relative,
        id=said.id,
        sequence=said.sequence,
        camera=said.camera,
        timestamp_ns=said.timestamp_ns,
        source_version=said.source_version,
        attributes=said.attributes,
        line=line,
    )


def _text_value(path: str, line: int, name: str, value: Any) -> str:
    if isinstance(value, Stamp):
        return value.text
    text: str
    if isinstance(value, bytes):
        text = value.decode("utf-8", "surrogateescape")
    elif isinstance(value, str):
        text = value
    else:
        try:
            text = json.dumps(value, default=str, ensure_ascii=False)
        except (RecursionError, ValueError, TypeError) as error:
            raise malformed(path, line, f"{name!r} cannot be stored as text ({error})") from error
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise malformed(path, line, f"{name!r} is {text[:80]!r}, which is not UTF-8") from error
    return text


def path_of_uri(value: Any) -> str:
    """A path in ``os.fsdecode`` form, or an address, that a value of ``uri`` means; ValueError."""
    uri = os.fsdecode(value) if isinstance(value, bytes) else value
    if uri is None or uri == "" or uri != uri:
        raise ValueError("no 'uri'")
    if not isinstance(uri, str) or "\0" in uri:
        raise ValueError(f"'uri' is {_shown(uri)}, not a path")
    try:
        raw = os.fsencode(uri)
    except UnicodeEncodeError as error:
        raise ValueError(f"'uri' is {_shown(uri)}, not a path") from error
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", uri)
    if scheme is None or scheme[1].lower() in REMOTE:
        return uri
    if scheme[1].lower() != "file" or not raw[7:].startswith(b"/"):
        raise ValueError(f"{_shown(uri)} is neither a path nor file:///path nor s3://…")
    local = os.fsdecode(unquote_to_bytes(raw[7:]))
    if "\0" in local:
        raise ValueError(f"'uri' is {_shown(uri)}, not a path")
    return local


def _shown(value: Any) -> str:
    """A value in an error, which may be all bytes of an image."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
